"""What lies at a centroid: its tokens in context, language by language.

Leaves out: the centroids a query probes (xm.index.trace).
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from xm.errors import XmError
from xm.index.centroid import CentroidIndex
from xm.index.codec import decode
from xm.index.table import KINDS
from xm.types import NO_SPAN, Codes, Kind

_CONTEXT_CHARS = 40  # either side of a token: some six words


@dataclass(frozen=True)
class Member:
    """A token at a centroid: before and after are the text around it; cosine is that of its decoded embedding."""

    token: str
    kind: Kind
    passage_id: str
    token_index: int
    before: str
    inside: str
    after: str
    cosine: float


@dataclass(frozen=True)
class CentroidTokens:
    """The tokens at a centroid; n_tokens and members by language (XMOD code), the most frequent language first."""

    centroid_id: int
    n_tokens: dict[str, int]
    members: dict[str, tuple[Member, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as dicts, lists, numbers and strings."""
        return asdict(self)


def centroid_tokens(index: CentroidIndex, centroid_id: int, *, n: int = 10) -> CentroidTokens:
    """Show the tokens at a centroid.

    Args:
        index: of whose centroids.
        centroid_id: from 0.
        n: tokens shown of each language, those nearest to the centroid.

    Raises:
        XmError: there is no such centroid, or n is below 1.
    """
    if not 0 <= centroid_id < index.codec.n_centroids or n < 1:
        raise XmError(f"centroid_id is {centroid_id} of {index.codec.n_centroids:,}, counted from 0, and n is {n}")
    rows = np.flatnonzero(index.codes.centroid_ids == centroid_id)
    stored = np.searchsorted(index.table.starts, rows, side="right") - 1
    rows, stored = rows[index.is_live[stored]], stored[index.is_live[stored]]
    decoded = decode(index.codec, Codes(index.codes.centroid_ids[rows], index.codes.residuals[rows]))
    cosines = decoded @ index.codec.centroids[centroid_id]
    places = np.searchsorted(index.table.live, stored)
    passages = index.corpus.passages
    codes = {place: passages[place].language.code for place in np.unique(places).tolist()}
    counts: dict[str, int] = {}
    members: dict[str, list[Member]] = {}
    for at in np.argsort(-cosines, kind="stable").tolist():
        code = codes[int(places[at])]
        counts[code] = counts.get(code, 0) + 1
        if counts[code] <= n:
            member = _member(index, int(rows[at]), int(places[at]), float(cosines[at]))
            members.setdefault(code, []).append(member)
    by_count = sorted(counts, key=lambda code: (-counts[code], code))
    return CentroidTokens(
        centroid_id, {code: counts[code] for code in by_count}, {code: tuple(members[code]) for code in by_count}
    )


def _member(index: CentroidIndex, row: int, place: int, cosine: float) -> Member:
    """Read one token back."""
    table, passage = index.table, index.corpus.passages[place]
    start, end = table.offsets[row].tolist()
    before, inside, after = "", "", ""
    if (start, end) != NO_SPAN:
        before = passage.text[max(0, start - _CONTEXT_CHARS) : start]
        inside, after = passage.text[start:end], passage.text[end : end + _CONTEXT_CHARS]
    return Member(
        token=table.pieces[table.token_ids[row]],
        kind=KINDS[table.kinds[row]],
        passage_id=passage.passage_id,
        token_index=row - int(table.starts[table.live[place]]),
        before=before,
        inside=inside,
        after=after,
        cosine=cosine,
    )
