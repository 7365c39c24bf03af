"""The command line: `python -m xm`, or `xm` once installed. Errors are one line on standard error, exit code 2.

Leaves out: what the commands do (xm.commands).
"""

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import xm
from xm import commands, index_commands, search_commands
from xm.adapter_commands import add_adapter_parser
from xm.errors import XmError
from xm.info_command import run_info
from xm.options import SearchOptions

_BAD_INPUT = 2
_INTERRUPTED = 130  # what shells report for Ctrl-C
_PIPE_CLOSED = 141  # what shells report for a reader that went away


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and how to see what is right."""
        self.exit(_BAD_INPUT, f"{self.prog}: {' '.join(message.split())}; see `{self.prog} --help`\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code: 0 if it worked, 2 for bad input."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal's own encoding may lack a passage's letters, and JSON is UTF-8 wherever it goes.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    words = sys.argv[1:] if arguments is None else list(arguments)
    parsed = _make_parser(for_training=words[:1] == ["train"]).parse_args(words)
    try:
        report = parsed.run(parsed)
        if isinstance(report, commands.Report):
            print(json.dumps(report.facts, ensure_ascii=False) if parsed.json else "\n".join(report.lines))
        sys.stdout.flush()
    except XmError as error:
        print(f"xm: {' '.join(str(error).split())}", file=sys.stderr)
        return _BAD_INPUT
    except KeyboardInterrupt:
        print("xm: stopped; what was there before is as it was", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # `xm languages | head` closed the pipe; without this, Python complains once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    return 0


def _make_parser(*, for_training: bool) -> argparse.ArgumentParser:
    """Describe every command; those of `train` only if wanted, as they bring torch."""
    parser = _Parser(prog="xm", description="Search in many languages and see where every score comes from.")
    parser.add_argument("--version", action="version", version=f"xm {xm.__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    _add_small(subparsers)
    _add_index(subparsers)
    _add_changes(subparsers)
    _add_colbert(subparsers)
    _add_search(subparsers)
    _add_questions(subparsers)
    _add_evaluate(subparsers)
    add_adapter_parser(subparsers)
    if for_training:
        _add_train(subparsers)
    else:
        subparsers.add_parser("train", help="train a checkpoint, or teach one a language")
    return parser


def _add_small(subparsers: argparse._SubParsersAction) -> None:
    """Add the commands that need no corpus: app, languages, detect, info."""
    app = subparsers.add_parser("app", help="start the page")
    app.add_argument("--host", help="address to listen on (default: this machine alone)")
    app.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    _add_model(app)
    app.set_defaults(run=commands.run_app)
    languages = subparsers.add_parser("languages", help="list the 81 language adapters")
    _add_json(languages)
    languages.set_defaults(run=commands.run_languages)
    detect = subparsers.add_parser("detect", help="detect the language of texts")
    detect.add_argument("text", nargs="+", metavar="TEXT", help="quote a text of several words")
    _add_json(detect)
    detect.set_defaults(run=commands.run_detect)
    info = subparsers.add_parser("info", help="versions, processor and facts of a checkpoint or an index")
    info.add_argument(
        "named_model", nargs="?", metavar="MODEL|DIR", help="checkpoint or index (default: as for --model)"
    )
    _add_json(info)
    info.set_defaults(run=run_info)


def _add_index(subparsers: argparse._SubParsersAction) -> None:
    """Add `index`."""
    index = subparsers.add_parser("index", help="index a corpus")
    _add_corpus(index)
    index.add_argument("--out", required=True, metavar="DIR", help="folder of the index; an index there is replaced")
    index.add_argument(
        "--kind",
        choices=["flat", "centroid"],
        default="flat",
        help="flat: every embedding kept, exact scores (default); centroid: compressed, approximate scores",
    )
    index.add_argument("--bits", type=int, choices=[1, 2, 4, 8], help="bits a number of a centroid index (default: 2)")
    index.add_argument(
        "--dtype", choices=["float32", "float16"], default="float32", help="of a flat index (default: float32)"
    )
    _add_model(index)
    _add_encoding(index)
    _add_language(index, "of the passages")
    _add_json(index)
    index.set_defaults(run=index_commands.run_index)


def _add_changes(subparsers: argparse._SubParsersAction) -> None:
    """Add `add`, `delete` and `compact`."""
    add = subparsers.add_parser("add", help="add passages to an index")
    add.add_argument("folder", metavar="DIR", help="an index")
    _add_corpus(add)
    add.add_argument("--prefix", default="", help="put before the new passages' ids, where they are there already")
    _add_model(add, default="the one the index was built with")
    _add_encoding(add)
    _add_language(add, "of the passages")
    add.set_defaults(run=index_commands.run_add)
    delete = subparsers.add_parser("delete", help="delete passages from an index")
    delete.add_argument("folder", metavar="DIR", help="an index")
    delete.add_argument("passage_ids", nargs="+", metavar="PASSAGE_ID")
    delete.set_defaults(run=index_commands.run_delete)
    compact = subparsers.add_parser("compact", help="give back the room of deleted passages")
    compact.add_argument("folder", metavar="DIR", help="an index")
    compact.set_defaults(run=index_commands.run_compact)
    for parser in (add, delete, compact):
        _add_json(parser)


def _add_colbert(subparsers: argparse._SubParsersAction) -> None:
    """Add `import-colbert` and `export-colbert`."""
    bring = subparsers.add_parser("import-colbert", help="make an index of one that colbert-ai wrote")
    bring.add_argument("colbert", metavar="FOLDER", help="index in ColBERT's own layout")
    bring.add_argument("--texts", metavar="FILE", help="the collection it was made of; not needed after export-colbert")
    bring.add_argument("--out", required=True, metavar="DIR", help="folder of the index; an index there is replaced")
    _add_model(bring, default="the one the index names")
    _add_encoding(bring)
    _add_language(bring, "of the passages")
    bring.set_defaults(run=index_commands.run_import)
    export = subparsers.add_parser("export-colbert", help="write a centroid index in ColBERT's own layout")
    export.add_argument("folder", metavar="DIR", help="a centroid index")
    export.add_argument("out", metavar="OUT", help="new or empty folder")
    export.add_argument("--checkpoint", help="for colbert-ai to encode queries with (default: the index's model)")
    export.set_defaults(run=index_commands.run_export)
    for parser in (bring, export):
        _add_json(parser)


def _add_search(subparsers: argparse._SubParsersAction) -> None:
    """Add `search` and `explain`."""
    search = subparsers.add_parser("search", help="search an index")
    explain = subparsers.add_parser("explain", help="show where a score comes from, token by token")
    for parser in (search, explain):
        parser.add_argument("folder", metavar="DIR", help="an index, or a corpus to index in memory")
        _add_query(parser)
    explain.add_argument("passage_id", metavar="PASSAGE_ID")
    explain.add_argument("--html", metavar="FILE", help="also write the figure, as one self-contained page")
    _add_k(search)
    _add_search_options(search)
    search.set_defaults(run=search_commands.run_search)
    explain.set_defaults(run=search_commands.run_explain)


def _add_questions(subparsers: argparse._SubParsersAction) -> None:
    """Add `why`, `trace`, `compare` and `centroid`."""
    why = subparsers.add_parser("why", help="why a passage is, or is not, among the hits of a centroid index")
    trace = subparsers.add_parser("trace", help="what each stage of a search over a centroid index saw")
    compare = subparsers.add_parser("compare", help="a query and a passage exactly, by centroids and at 1 to 8 bits")
    for parser in (why, trace, compare):
        what = "an index, or a corpus to index in memory" if parser is compare else "a centroid index"
        parser.add_argument("folder", metavar="DIR", help=what)
        _add_query(parser)
        _add_k(parser)
    for parser in (why, compare):
        parser.add_argument("passage_id", metavar="PASSAGE_ID")
    for parser in (why, trace):
        _add_search_options(parser)
    why.set_defaults(run=search_commands.run_why)
    trace.set_defaults(run=search_commands.run_trace)
    compare.set_defaults(run=search_commands.run_compare)
    centroid = subparsers.add_parser("centroid", help="the tokens that lie at a centroid, in context, by language")
    centroid.add_argument("folder", metavar="DIR", help="a centroid index")
    centroid.add_argument("centroid_id", type=int, metavar="ID", help="number of the centroid, from 0")
    centroid.add_argument("--n", type=int, default=10, help="tokens shown of each language (default: 10)")
    _add_json(centroid)
    centroid.set_defaults(run=search_commands.run_centroid)


def _add_evaluate(subparsers: argparse._SubParsersAction) -> None:
    """Add `evaluate`."""
    evaluate = subparsers.add_parser("evaluate", help="measure an index, BM25 and both together on judged queries")
    evaluate.add_argument("folder", metavar="DIR", help="an index")
    evaluate.add_argument("--queries", required=True, metavar="FILE", help="JSON Lines (id, text, language) or TSV")
    evaluate.add_argument("--qrels", required=True, metavar="FILE", help="TREC's four columns")
    evaluate.add_argument("--measures", default="MRR@10 R@100 nDCG@10", help="default: MRR@10 R@100 nDCG@10")
    evaluate.add_argument("--depth", type=int, default=100, help="hits a query and method, at least (default: 100)")
    evaluate.add_argument("--single-vector", metavar="MODEL", help="single-vector checkpoint to compare with")
    evaluate.add_argument("--runs-out", metavar="DIR", help="write each method's hits there, as a TREC run file")
    _add_model(evaluate, default="the one the index was built with")
    _add_encoding(evaluate)
    _add_json(evaluate)
    evaluate.set_defaults(run=commands.run_evaluate)


def _add_train(subparsers: argparse._SubParsersAction) -> None:
    """Add `train`, whose own commands are found where training is."""
    from xm.train.commands import add_train_parser

    add_train_parser(subparsers)


def _add_corpus(parser: argparse.ArgumentParser) -> None:
    """Add CORPUS."""
    parser.add_argument("corpus", metavar="CORPUS", help="a .txt, .md, .csv, .tsv or .jsonl file, or a folder")


def _add_query(parser: argparse.ArgumentParser) -> None:
    """Add QUERY and what goes with it."""
    parser.add_argument("query", metavar="QUERY")
    _add_model(parser, default="the one the index was built with")
    _add_encoding(parser)
    _add_language(parser, "of the query")
    _add_json(parser)


def _add_k(parser: argparse.ArgumentParser) -> None:
    """Add --k."""
    parser.add_argument("--k", type=int, default=10, help="hits wanted (default: 10)")


def _add_search_options(parser: argparse.ArgumentParser) -> None:
    """Add how far a search of a centroid index looks."""
    options = SearchOptions()
    probe = f"centroid index: centroids probed for each query token (default: {options.n_probe})"
    parser.add_argument("--n-probe", type=int, metavar="N", help=probe)
    keep = f"centroid index: passages kept for scoring by all their centroids (default: {options.n_candidates})"
    parser.add_argument("--n-candidates", type=int, metavar="N", help=keep)
    exact = f"centroid index: passages decoded and scored by MaxSim (default: {options.n_exact})"
    parser.add_argument("--n-exact", type=int, metavar="N", help=exact)
    prune = "centroid index: leave out centroids below this cosine for every query token (default: none)"
    parser.add_argument("--centroid-threshold", type=float, metavar="COSINE", help=prune)


def _add_model(parser: argparse.ArgumentParser, *, default: str = "XM_MODEL, or xm-mini") -> None:
    """Add --model."""
    parser.add_argument("--model", help=f"checkpoint, by hub name or folder (default: {default})")


def _add_encoding(parser: argparse.ArgumentParser) -> None:
    """Add how the checkpoint encodes; xm.commands.encode_options reads them."""
    remote = "run the Python that the checkpoint asks for: a stranger's code, with all your rights (default: refused)"
    parser.add_argument("--allow-remote-code", action="store_true", help=remote)
    clean = (
        "score no passage token of punctuation or space alone, in place of the checkpoint's skiplist: this changes the "
        "model; an index remembers it"
    )
    parser.add_argument("--clean-punctuation", action="store_true", help=clean)


def _add_language(parser: argparse.ArgumentParser, whose: str) -> None:
    """Add --language."""
    parser.add_argument(
        "--language", default="auto", metavar="auto|CODE", help=f"{whose}: de_DE, de, ... (default: auto, detected)"
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


if __name__ == "__main__":
    sys.exit(main())
