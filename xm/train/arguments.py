"""Arguments that several stages of `xm train` share, and what becomes of them.

Leaves out: the stages (xm.train.commands, xm.train.retrieval_commands).
"""

import argparse
import json
import logging
from pathlib import Path

from xm.commands import Report
from xm.errors import TrainingError
from xm.train.data import ParallelPair, read_parallel
from xm.train.energy import GRAMS_PER_KWH
from xm.train.loop import LoopOptions


def add_files(parser: argparse.ArgumentParser, names: tuple[str, ...], *, required: bool = True) -> None:
    """Add options that name files or folders, --parallel, and --json."""
    helps = {
        "texts": "folder with LANG.txt or LANG.txt.xz, a paragraph a line",
        "teacher": "folder of an English BERT-style sentence encoder (config.json, model.safetensors, tokenizer)",
    }
    for name in names:
        parser.add_argument(f"--{name}", type=Path, required=required, help=helps[name])
    parser.add_argument(
        "--parallel", type=Path, nargs="*", default=[], help="TSV files; first line names the languages"
    )
    add_json(parser)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_stage(parser: argparse.ArgumentParser, *, steps: int, learning_rate: float | None) -> None:
    """Add source and result of a stage, and what its loop takes."""
    parser.add_argument("source", type=Path, help="checkpoint folder to start from")
    parser.add_argument("out", type=Path, help="folder for the result; an interrupted run there is resumed")
    add_run(parser, steps=steps, learning_rate=learning_rate)


def add_run(parser: argparse.ArgumentParser, *, steps: int | None, learning_rate: float | None) -> None:
    """Add what the loop of every stage takes."""
    parser.add_argument("--steps", type=whole, default=steps)
    parser.add_argument("--learning-rate", type=float, default=learning_rate)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--warmup", type=float, default=LoopOptions.warmup, help="share of the run with a rising rate")
    parser.add_argument("--average", type=float, default=0.0, help="decay of the kept mean of the weights, 0.999 say")
    parser.add_argument("--watts", type=float, help="power assumed for the energy estimate")
    parser.add_argument("--grams-per-kwh", type=float, default=GRAMS_PER_KWH, help="carbon intensity assumed for it")


def whole(text: str) -> int:
    """Read a number of steps or rows."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def options_of(args: argparse.Namespace, *, max_seconds: float | None = None) -> LoopOptions:
    """Read what `add_run` added, and show progress from here on.

    Raises:
        TrainingError: the average's decay is out of range.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if not 0 <= args.average < 1:
        raise TrainingError(f"--average {args.average}: expected a decay from 0 (none is kept) to below 1")
    if not 0 <= args.warmup < 1:
        raise TrainingError(f"--warmup {args.warmup}: expected a share of the run from 0 to below 1")
    return LoopOptions(
        n_steps=args.steps,
        learning_rate=args.learning_rate,
        warmup=args.warmup,
        seed=args.seed,
        max_seconds=max_seconds,
        average=args.average,
        watts=args.watts,
        grams_per_kwh=args.grams_per_kwh,
    )


def parallel_pairs(args: argparse.Namespace) -> list[ParallelPair]:
    """Read the --parallel files, as far as the source has their languages."""
    path = args.source / "config.json"
    if not path.is_file():
        raise TrainingError(f"{args.source} has no config.json; name a checkpoint folder")
    codes = json.loads(path.read_text(encoding="utf-8"))["languages"]
    return [pair for path in args.parallel for pair in read_parallel(path, codes)]


def report_of(facts: dict) -> Report:
    """Report facts as they are, and a line each."""
    return Report(facts, tuple(f"{name}: {value}" for name, value in facts.items()))
