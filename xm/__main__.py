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

from xm import commands
from xm.errors import XmError

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
    parser.add_argument("--version", action="version", version=f"xm {commands.xm.__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    _add_small(subparsers)
    _add_index(subparsers)
    _add_search(subparsers)
    _add_evaluate(subparsers)
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
    info = subparsers.add_parser("info", help="versions, processor and facts of a checkpoint")
    info.add_argument("named_model", nargs="?", metavar="MODEL", help="hub name or folder (default: as for --model)")
    _add_json(info)
    info.set_defaults(run=commands.run_info)


def _add_index(subparsers: argparse._SubParsersAction) -> None:
    """Add `index`."""
    index = subparsers.add_parser("index", help="index a corpus")
    index.add_argument("corpus", metavar="CORPUS", help="a .txt, .md, .csv, .tsv or .jsonl file, or a folder")
    index.add_argument("--out", required=True, metavar="DIR", help="folder of the index; an index there is replaced")
    index.add_argument("--kind", choices=["flat"], default="flat", help="exact search over every token")
    _add_model(index)
    _add_language(index, "of the passages")
    _add_json(index)
    index.set_defaults(run=commands.run_index)


def _add_search(subparsers: argparse._SubParsersAction) -> None:
    """Add `search` and `explain`."""
    search = subparsers.add_parser("search", help="search an index")
    search.add_argument("folder", metavar="DIR", help="an index, or a corpus to index in memory")
    search.add_argument("query", metavar="QUERY")
    search.add_argument("--k", type=int, default=10, help="hits wanted (default: 10)")
    search.set_defaults(run=commands.run_search)
    explain = subparsers.add_parser("explain", help="show where a score comes from, token by token")
    explain.add_argument("folder", metavar="DIR", help="an index, or a corpus to index in memory")
    explain.add_argument("query", metavar="QUERY")
    explain.add_argument("passage_id", metavar="PASSAGE_ID")
    explain.add_argument("--html", metavar="FILE", help="also write the figure, as one self-contained page")
    explain.set_defaults(run=commands.run_explain)
    for parser in (search, explain):
        _add_model(parser, default="the one the index was built with")
        _add_language(parser, "of the query")
        _add_json(parser)


def _add_evaluate(subparsers: argparse._SubParsersAction) -> None:
    """Add `evaluate`."""
    evaluate = subparsers.add_parser("evaluate", help="measure an index on judged queries")
    evaluate.add_argument("folder", metavar="DIR", help="an index")
    evaluate.add_argument("--queries", required=True, metavar="FILE", help="JSON Lines (id, text, language) or TSV")
    evaluate.add_argument("--qrels", required=True, metavar="FILE", help="TREC's four columns")
    evaluate.add_argument("--measures", default="MRR@10 R@100 nDCG@10", help="default: MRR@10 R@100 nDCG@10")
    _add_model(evaluate, default="the one the index was built with")
    _add_json(evaluate)
    evaluate.set_defaults(run=commands.run_evaluate)


def _add_train(subparsers: argparse._SubParsersAction) -> None:
    """Add `train`, whose own commands are found where training is."""
    from xm.train.commands import add_train_parser

    add_train_parser(subparsers)


def _add_model(parser: argparse.ArgumentParser, *, default: str = "XM_MODEL, or xm-mini") -> None:
    """Add --model."""
    parser.add_argument("--model", help=f"checkpoint, by hub name or folder (default: {default})")


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
