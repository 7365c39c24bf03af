"""What compression costs an index: its passages' exact embeddings beside the decoded ones.

Leaves out: the comparison of one pair (xm.index.compare), the codec (xm.index.codec).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from xm.errors import XmError
from xm.index.centroid import CentroidIndex
from xm.index.codec import reconstruction_error
from xm.index.flat import FlatIndex
from xm.index.store import Index

if TYPE_CHECKING:
    from xm.encoder import Encoder


def compressed(index: Index) -> CentroidIndex:
    """Return the index if it is a centroid index; XmError for a flat one, which has nothing to ask about."""
    if isinstance(index, CentroidIndex):
        return index
    raise XmError(
        "this index is flat: every passage is scored exactly, so there are no stages, centroids or losses to ask "
        "about; build a centroid index (--kind centroid)"
    )


def exact_vectors(index: Index, encoder: "Encoder", passage_ids: Sequence[str]) -> list[np.ndarray]:
    """Return passages' uncompressed embeddings: a flat index's own; those of a centroid index are encoded again.

    Raises:
        XmError: no passage has one of the ids.
    """
    if isinstance(index, FlatIndex):
        return [index.reconstruct(passage_id).vectors for passage_id in passage_ids]
    passages = [index.corpus.passages[index.place_of(passage_id)] for passage_id in passage_ids]
    encoded = encoder.encode_passages([passage.text for passage in passages], [one.language for one in passages])
    return [item.vectors for item in encoded]


def measure_error(index: CentroidIndex, encoder: "Encoder", *, n_passages: int, seed: int) -> dict[str, float]:
    """Encode passages drawn at random again, and compare them with what their codes are decoded to.

    Returns:
        As `xm.index.codec.reconstruction_error`.

    Raises:
        XmError: n_passages is below 1.
    """
    if n_passages < 1:
        raise XmError(f"n_passages is {n_passages}; measure at least 1")
    drawn = np.random.default_rng(seed).permutation(index.n_passages)[:n_passages]
    ids = [index.corpus.passage_ids[place] for place in np.sort(drawn).tolist()]
    return reconstruction_error(index.codec, np.concatenate(exact_vectors(index, encoder, ids)))
