"""`xm adapter ...`: a language adapter out of a checkpoint into a file of its own, and from a file into a checkpoint.

Leaves out: training one (`xm train add-language`).
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from xm.commands import Report, default_model


def add_adapter_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add `adapter` and its three verbs."""
    adapter = subparsers.add_parser("adapter", help="take a language adapter out of a checkpoint, or put one in")
    verbs = adapter.add_subparsers(required=True, metavar="VERB", title="verbs")
    export = verbs.add_parser("export", help="copy one adapter of a checkpoint to a file")
    export.add_argument("code", metavar="CODE", help="XMOD code of the adapter, such as de_DE")
    export.add_argument("file", metavar="FILE", help="the file to write")
    export.set_defaults(run=_run_export)
    bring = verbs.add_parser("import", help="write a checkpoint folder that has one adapter more")
    bring.add_argument("file", metavar="FILE", help="an adapter file")
    bring.add_argument("--out", required=True, metavar="DIR", help="folder to write; a checkpoint there is replaced")
    bring.add_argument(
        "--share-rows", action="store_true", help="give its own word embeddings to all languages, which changes them"
    )
    bring.set_defaults(run=_run_import)
    show = verbs.add_parser("show", help="say what an adapter file holds and what it fits")
    show.add_argument("file", metavar="FILE", help="an adapter file")
    show.set_defaults(run=_run_show)
    for parser in (export, bring):
        parser.add_argument("--model", help="checkpoint, by hub name or folder (default: XM_MODEL, or xm-mini)")
    for parser in (export, bring, show):
        parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def _run_export(arguments: argparse.Namespace) -> Report:
    """Copy an adapter to a file."""
    from xm.encoder.exchange import export_adapter

    adapter = export_adapter(arguments.model or default_model(), arguments.code, arguments.file)
    n_bytes = Path(arguments.file).stat().st_size
    line = f"{arguments.file}: {adapter.facts.code} of {adapter.facts.base}, {n_bytes / 1e6:.1f} MB"
    return Report({"file": arguments.file, "bytes": n_bytes, "adapter": asdict(adapter.facts)}, (line,))


def _run_import(arguments: argparse.Namespace) -> Report:
    """Write a checkpoint with an adapter more."""
    from xm.encoder.exchange import merge_adapter

    model = arguments.model or default_model()
    adapter = merge_adapter(model, arguments.file, arguments.out, share_rows=arguments.share_rows)
    line = f"{arguments.out}: {model} and {adapter.facts.code}"
    return Report({"folder": arguments.out, "model": model, "adapter": asdict(adapter.facts)}, (line,))


def _run_show(arguments: argparse.Namespace) -> Report:
    """Say what an adapter file is."""
    from xm.encoder.adapters import read_adapter

    facts = asdict(read_adapter(arguments.file).facts)
    notes = facts.pop("notes")
    lines = tuple(f"{name:<12} {value}" for name, value in {**facts, **notes}.items())
    return Report({"file": arguments.file, "adapter": {**facts, "notes": notes}}, lines)
