"""From texts to an index: encode a corpus, and lay its token embeddings out or compress them; or add it to a folder.

Leaves out: how texts are encoded (xm.encoder), what an index is (xm.index), searching one (xm.search).
"""

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from xm import cache
from xm.errors import CorpusError, IndexFolderError, XmError
from xm.index.centroid import build_centroid
from xm.index.change import add_passages, check_new_ids
from xm.index.codec import check_bits
from xm.index.flat import build_flat
from xm.index.store import FORMAT_VERSION, Index, check_target, is_index_folder, open_index, save_index
from xm.index.table import table_of
from xm.options import CodecOptions
from xm.types import Corpus, TokenEmbeddings

if TYPE_CHECKING:
    from xm.encoder import Encoder

Kind = Literal["flat", "centroid"]
Dtype = Literal["float32", "float16"]
_log = logging.getLogger(__name__)


class Cancelled(XmError):
    """Somebody asked to stop: raise it in `on_progress` to end a build; nothing built before is touched."""


@dataclass(frozen=True)
class BuildProgress:
    """How far a build is: passages done of all in this stage, and passages done by language (XMOD codes)."""

    stage: Literal["encode", "write"]
    done: int
    total: int
    languages: dict[str, int]


OnProgress = Callable[[BuildProgress], None]


def build_index(
    corpus: Corpus,
    encoder: "Encoder",
    *,
    folder: str | Path | None = None,
    on_progress: OnProgress | None = None,
    kind: Kind = "flat",
    codec: CodecOptions | None = None,
    dtype: Dtype = "float32",
) -> Index:
    """Encode every passage through the adapter of its language and index the lot.

    Args:
        corpus: at least one passage.
        encoder: gives the token embeddings.
        folder: where the index is also written, replacing the index that is there, if any, at the very end.
        on_progress: told after each passage; what it raises ends the build and leaves `folder` as it was.
        kind: "flat" keeps every embedding and searches exactly; "centroid" compresses them and searches some.
        codec: of a centroid index; None: CodecOptions().
        dtype: of a flat index's embeddings; float16 takes half the room and rounds each number to 11 bits.

    Raises:
        CorpusError: the corpus is empty.
        LanguageError: the model has no adapter for a passage's language.
        IndexFolderError: `folder` cannot be written.
        XmError: an option is of the other kind, or asks for what cannot be.
    """
    check_kind(kind, codec=codec, dtype=dtype)
    if codec is not None:
        check_bits(codec.n_bits, encoder.dim)
    if folder is not None:
        check_target(folder)
    report = on_progress or _silent
    embeddings = encode_corpus(corpus, encoder, on_progress=report)
    total, languages = len(embeddings), _count(corpus)
    report(BuildProgress("write", 0, total, languages))
    index = _index_of(corpus, embeddings, encoder, kind=kind, codec=codec, dtype=dtype)
    report(BuildProgress("write", total, total, languages))
    if folder is not None:
        save_index(index, folder)
    return index


def add_corpus(
    folder: str | Path, corpus: Corpus, encoder: "Encoder", *, on_progress: OnProgress | None = None
) -> Index:
    """Encode the passages of a corpus and add them to the index in a folder; return the index as it is now.

    Args:
        folder: an index of either kind. A centroid index compresses the new passages with the codec it has.
        corpus: the passages; their ids must be new.
        encoder: of the model that built the index.
        on_progress: told after each passage; what it raises ends the work and leaves the index as it was.

    Raises:
        IndexFolderError: the index was built with another model, is damaged, or cannot be written.
        CorpusError, LanguageError: as `build_index`.
        XmError: an id is there already.
    """
    index = open_index(folder)
    check_model(index, encoder)
    check_new_ids(index, corpus)  # once more when they are added: this spares encoding them in vain
    report = on_progress or _silent
    embeddings = encode_corpus(corpus, encoder, on_progress=report)
    total, languages = len(embeddings), _count(corpus)
    report(BuildProgress("write", 0, total, languages))
    add_passages(folder, corpus, embeddings, model=encoder.model, revision=encoder.revision)
    report(BuildProgress("write", total, total, languages))
    return open_index(folder)


def encode_corpus(
    corpus: Corpus, encoder: "Encoder", *, on_progress: OnProgress | None = None
) -> list[TokenEmbeddings]:
    """Encode every passage through the adapter of its language; return the embeddings in the corpus's order.

    Raises:
        CorpusError: the corpus is empty.
        LanguageError: the model has no adapter for a passage's language.
    """
    if not corpus.passages:
        raise CorpusError(f"{corpus.name!r} has no passages to index; give a corpus with at least one")
    report = on_progress or _silent
    total = len(corpus.passages)
    done: dict[str, int] = {}
    embeddings: dict[int, TokenEmbeddings] = {}
    texts = [passage.text for passage in corpus.passages]
    report(BuildProgress("encode", 0, total, {}))
    # Closing the stream stops the encoder at once, also when `report` raises.
    with closing(encoder.stream_passages(texts, [passage.language for passage in corpus.passages])) as stream:
        for place, item in stream:
            embeddings[place] = item
            code = corpus.passages[place].language.code
            done[code] = done.get(code, 0) + 1
            report(BuildProgress("encode", len(embeddings), total, dict(done)))
    return [embeddings.pop(place) for place in range(total)]


def cached_index(corpus: Corpus, encoder: "Encoder") -> Index:
    """Find a corpus's flat index in the cache, or build it and leave it there."""
    guesses = [str(asdict(passage)) for passage in corpus.passages]
    key = ("index", str(FORMAT_VERSION), encoder.model, encoder.revision, encoder.precision, corpus.name, *guesses)
    folder = cache.entry_folder(*key)
    if folder is not None and is_index_folder(folder):
        try:
            index = open_index(folder)
            cache.touch(folder)
            return index
        except IndexFolderError as error:
            _log.warning("a cached index cannot be used and is built again: %s", error)
    index = build_index(corpus, encoder)
    if folder is None:
        return index
    try:
        save_index(index, folder)
    except IndexFolderError as error:
        _log.warning("the index is not kept for next time: %s", error)
        return index
    cache.trim(keep=folder)
    return open_index(folder)


def check_kind(kind: Kind, *, codec: CodecOptions | None = None, dtype: Dtype = "float32") -> None:
    """Refuse, with an XmError, a kind that there is not, and options of the other kind."""
    if kind not in ("flat", "centroid") or dtype not in ("float32", "float16"):
        raise XmError(f"kind is {kind!r} and dtype {dtype!r}; give flat or centroid, float32 or float16")
    if kind == "flat" and codec is not None:
        raise XmError("a flat index is not compressed, so codec options (bits) do not apply; choose kind centroid")
    if kind == "centroid" and dtype != "float32":
        raise XmError(f"a centroid index stores codes, so dtype {dtype} does not apply; choose bits, or kind flat")


def check_model(index: Index, encoder: "Encoder") -> None:
    """Refuse, with an IndexFolderError, an encoder other than the one an index was built with."""
    # The revision decides: one checkpoint may go by the name of its folder and by its name on the hub.
    if encoder.revision != index.revision or encoder.dim != index.dim:
        raise IndexFolderError(
            f"this index was built with {index.model} (revision {index.revision}, dim {index.dim}), and cannot "
            f"be searched with {encoder.model} (revision {encoder.revision}, dim {encoder.dim}); use the former "
            f"or build the index again"
        )


def _index_of(
    corpus: Corpus,
    embeddings: list[TokenEmbeddings],
    encoder: "Encoder",
    *,
    kind: Kind,
    codec: CodecOptions | None,
    dtype: Dtype,
) -> Index:
    """Index what is encoded."""
    if kind == "flat":
        return build_flat(corpus, embeddings, model=encoder.model, revision=encoder.revision, dtype=dtype)
    table = table_of(corpus, embeddings, model=encoder.model, revision=encoder.revision)
    vectors = np.concatenate([item.vectors for item in embeddings], dtype=np.float32)
    return build_centroid(table, vectors, options=codec or CodecOptions())


def _count(corpus: Corpus) -> dict[str, int]:
    """Passages by language."""
    return dict(Counter(passage.language.code for passage in corpus.passages))


def _silent(progress: BuildProgress) -> None:
    """Tell nobody."""
