"""`xm index`, `add`, `delete`, `compact`, `import-colbert` and `export-colbert`: what makes and changes index folders.

Leaves out: asking an index (xm.search_commands), reading the command line (xm.__main__).
"""

import sys
import time
from argparse import Namespace
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xm.commands import Report, load_named, plain
from xm.errors import CorpusError
from xm.options import CodecOptions, limits_here

if TYPE_CHECKING:
    from xm.building import BuildProgress
    from xm.index.facts import IndexFacts
    from xm.types import Corpus

_WHOLE = 1_000_000  # words of a passage that is never split: an index from elsewhere has its own cuts


def run_index(arguments: Namespace) -> Report:
    """Read a corpus, index it, and write the index to its folder."""
    from xm.building import build_index, check_kind
    from xm.corpus import read_corpus
    from xm.index.kernels import advice
    from xm.index.store import check_target
    from xm.search import Searcher

    codec = None if arguments.bits is None else CodecOptions(n_bits=arguments.bits)
    options = {"kind": arguments.kind, "codec": codec, "dtype": arguments.dtype}
    check_kind(**options)
    check_target(arguments.out)
    begun = time.perf_counter()
    corpus = read_corpus(arguments.corpus, language=arguments.language)
    read = time.perf_counter()
    encoder = load_named(arguments)
    loaded = time.perf_counter()
    index = build_index(corpus, encoder, folder=arguments.out, on_progress=show_progress, **options)
    built = time.perf_counter()
    is_flat = arguments.kind == "flat"
    loss = None if is_flat else Searcher(encoder, index).reconstruction_error()
    proposal = advice(index.n_tokens) if is_flat else None
    facts, lines = _made(arguments.out, corpus)
    facts["precision"] = encoder.precision
    facts["seconds"] = {"read": read - begun, "load": loaded - read, "build": built - loaded}
    facts |= {"reconstruction": loss, "advice": proposal}
    lines.append(f"encoded by {index.model} ({encoder.precision}) and indexed in {built - loaded:.1f} s")
    if loss is not None:
        lines.append(
            f"decoded embeddings: mean cosine {loss['cosine']:.4f} with the exact ones, mean difference "
            f"{loss['residual']:.4f} a number (of up to 100 passages)"
        )
    return Report(facts, (*lines, *([f"advice: {proposal}"] if proposal else [])))


def run_add(arguments: Namespace) -> Report:
    """Read a corpus, and add its passages to an index."""
    from xm.building import add_corpus
    from xm.corpus import read_corpus
    from xm.index.manifest import read_manifest

    built = read_manifest(Path(arguments.folder))
    begun = time.perf_counter()
    corpus = read_corpus(arguments.corpus, language=arguments.language)
    if arguments.prefix:
        renamed = (replace(one, passage_id=f"{arguments.prefix}{one.passage_id}") for one in corpus.passages)
        corpus = replace(corpus, passages=tuple(renamed))
    encoder = load_named(arguments, default=built.model, revision=built.revision)
    index = add_corpus(arguments.folder, corpus, encoder, on_progress=show_progress)
    seconds = time.perf_counter() - begun
    counts = {"index": arguments.folder, "n_added": len(corpus.passages)}
    counts |= {"n_passages": index.n_passages, "n_tokens": index.n_tokens}
    facts = {**counts, "notes": list(corpus.notes), "seconds": {"add": seconds}}
    lines = [plain(f"note: {note}") for note in corpus.notes]
    lines.append(f"passages added: {len(corpus.passages):,}, in {seconds:.1f} s; passages now: {index.n_passages:,}")
    return Report(facts, tuple(lines))


def run_delete(arguments: Namespace) -> Report:
    """Delete passages from an index."""
    from xm.index.change import delete_passages
    from xm.index.manifest import read_manifest

    delete_passages(arguments.folder, arguments.passage_ids)
    manifest = read_manifest(Path(arguments.folder))
    n_deleted = len(set(arguments.passage_ids))
    facts = {"index": arguments.folder, "n_deleted": n_deleted, "n_passages": manifest.n_passages}
    facts["n_not_compacted"] = len(manifest.deleted)
    lines = (
        f"passages deleted: {n_deleted:,}; passages left: {manifest.n_passages:,}",
        f"deleted passages that still take room on the disk, until `xm compact`: {len(manifest.deleted):,}",
    )
    return Report(facts, lines)


def run_compact(arguments: Namespace) -> Report:
    """Write an index anew without its deleted passages."""
    from xm.index.change import compact
    from xm.index.manifest import read_manifest

    before = read_manifest(Path(arguments.folder))
    compact(arguments.folder)
    after = read_manifest(Path(arguments.folder))
    facts = {"index": arguments.folder, "n_dropped": len(before.deleted), "n_passages": after.n_passages}
    facts |= {"bytes_before": before.n_bytes, "bytes_after": after.n_bytes}
    sizes = f"{before.n_bytes / 1e6:.1f} MB before, {after.n_bytes / 1e6:.1f} MB now"
    return Report(facts, (f"deleted passages dropped: {len(before.deleted):,}; {sizes}",))


def run_import(arguments: Namespace) -> Report:
    """Make an index of one that colbert-ai, or `export-colbert`, wrote."""
    from xm.building import encode_corpus
    from xm.index.colbert_format import import_colbert, read_colbert
    from xm.index.store import check_target, save_index

    check_target(arguments.out)
    if arguments.texts is None:
        index = import_colbert(arguments.colbert)
    else:
        made_with = str(read_colbert(arguments.colbert).config.get("checkpoint"))
        corpus = _collection(arguments.texts, language=arguments.language)
        encoder = load_named(arguments, default=made_with)
        # For tokens and character spans, which ColBERT's layout lacks, and to make sure that it is this checkpoint.
        embeddings = encode_corpus(corpus, encoder, on_progress=show_progress)
        names = {"model": encoder.model, "revision": encoder.revision}
        index = import_colbert(arguments.colbert, corpus, embeddings, **names)
    save_index(index, arguments.out)
    facts, lines = _made(arguments.out, index.corpus)
    return Report(facts, tuple(lines))


def run_export(arguments: Namespace) -> Report:
    """Write a centroid index in ColBERT's own layout."""
    from xm.compression import compressed
    from xm.encoder.hub import find_folder
    from xm.index.colbert_format import export_colbert
    from xm.index.store import open_index
    from xm.options import DEFAULT_MODEL

    index = compressed(open_index(arguments.folder))
    checkpoint = arguments.checkpoint or index.model
    if checkpoint == DEFAULT_MODEL:  # a name that xm alone knows
        checkpoint = str(find_folder(checkpoint))
    export_colbert(index, arguments.out, checkpoint=checkpoint)
    facts = {"index": arguments.folder, "folder": arguments.out, "checkpoint": checkpoint}
    facts |= {"n_passages": index.n_passages, "n_tokens": index.n_tokens}
    return Report(facts, (f"{arguments.out}: {index.n_passages:,} passages, to be searched with {checkpoint}",))


def show_progress(progress: "BuildProgress") -> None:
    """Keep one line on standard error up to date, if somebody is looking at it."""
    if sys.stderr.isatty():
        end = "\n" if progress.stage == "write" and progress.done == progress.total else ""
        line = f"{progress.stage} {progress.done}/{progress.total} ({_counts(progress.languages)})"
        sys.stderr.write(f"\r\033[K{line[:100]}{end}")
        sys.stderr.flush()


def _made(folder: str, corpus: "Corpus") -> tuple[dict[str, Any], list[str]]:
    """Facts and lines of an index that was just written."""
    from xm.index.facts import inspect_index

    found = inspect_index(folder, verify=False)
    languages = dict(Counter(passage.language.code for passage in corpus.passages).most_common())
    facts: dict[str, Any] = {"index": folder, **asdict(found), "languages": languages, "notes": list(corpus.notes)}
    facts["bytes"] = facts.pop("bytes_on_disk")
    parts = ", ".join(f"{part} {size:.1f}" for part, size in found.token_bytes.items())
    lines = [plain(f"note: {note}") for note in corpus.notes]
    lines += [
        f"{found.n_passages} passages ({_counts(languages)}), {found.n_tokens} tokens of dim {found.dim}",
        f"{folder}: {_kind_line(found)}, {facts['bytes'] / 1e6:.1f} MB",
        f"{sum(found.token_bytes.values()):.1f} bytes a token: {parts}",
    ]
    return facts, lines


def _kind_line(found: "IndexFacts") -> str:
    """The kind of an index in words."""
    if found.kind == "flat":
        return f"flat, {found.dtype}"
    return f"centroid, {found.n_bits} bits, {found.n_centroids:,} centroids"


def _collection(path: str, *, language: str) -> "Corpus":
    """Read the texts of an index from elsewhere, uncut: a corpus file, or ColBERT's `number, tab, text` a line."""
    from xm.corpus import corpus_from_rows, read_corpus
    from xm.readers import Row

    limits = replace(limits_here(), max_words=_WHOLE)
    try:
        with Path(path).open(encoding="utf-8") as file:
            pairs = [line.rstrip("\r\n").partition("\t") for line in file] if path.endswith(".tsv") else []
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} cannot be read: {error}; give the texts that the index was made of") from error
    if pairs and all(number.isdigit() for number, _, _ in pairs):
        rows = [Row(place, text, passage_id=number) for place, (number, _, text) in enumerate(pairs, 1)]
        return corpus_from_rows(Path(path).stem, rows, language=language, limits=limits)
    return read_corpus(path, language=language, limits=limits)


def _counts(languages: dict[str, int]) -> str:
    """Passages by language on one line."""
    return ", ".join(f"{code} {count}" for code, count in languages.items())
