"""`xm train ...`: from arguments to the recipes of xm.train.recipes, and their reports to the command line."""

import argparse
import json
import logging
from pathlib import Path

from xm.commands import Report
from xm.languages import find_code
from xm.train import recipes
from xm.train.data import ParallelPair, read_parallel
from xm.train.loop import LoopOptions


def add_train_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add `train` and its stages to the command line."""
    parser = subparsers.add_parser("train", help="train a small ColBERT-XM")
    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")
    warm = stages.add_parser("warm-start", help="an English BERT-style encoder becomes an untrained XMOD checkpoint")
    warm.add_argument("out", type=Path, help="folder for the checkpoint")
    warm.add_argument("--languages", required=True, help="codes, comma separated; en among them")
    warm.add_argument("--vocab-size", type=int, default=36_000)
    _add_files(warm, ("texts", "teacher"))
    warm.set_defaults(run=_warm_start)
    distil = stages.add_parser("distil", help="draw each language's token embeddings to an English teacher's")
    _add_stage(distil, steps=1_300, learning_rate=5e-4)
    _add_files(distil, ("texts", "teacher", "questions"))
    distil.set_defaults(run=_distil)
    finetune = stages.add_parser("finetune", help="contrastive fine-tuning on English questions")
    _add_stage(finetune, steps=600, learning_rate=2e-5)
    _add_files(finetune, ("questions",))
    finetune.add_argument("--pure", action="store_true", help="English questions only, as in the paper")
    finetune.set_defaults(run=_finetune)


def _add_files(parser: argparse.ArgumentParser, names: tuple[str, ...]) -> None:
    helps = {
        "texts": "folder with LANG.txt or LANG.txt.xz, a paragraph a line",
        "teacher": "folder of an English BERT-style sentence encoder (config.json, model.safetensors, tokenizer)",
        "questions": "JSON Lines with question, context and source",
    }
    for name in names:
        parser.add_argument(f"--{name}", type=Path, required=True, help=helps[name])
    parser.add_argument(
        "--parallel", type=Path, nargs="*", default=[], help="TSV files; first line names the languages"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_stage(parser: argparse.ArgumentParser, *, steps: int, learning_rate: float) -> None:
    parser.add_argument("source", type=Path, help="checkpoint folder to start from")
    parser.add_argument("out", type=Path, help="folder for the result; an interrupted run there is resumed")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--learning-rate", type=float, default=learning_rate)
    parser.add_argument("--seed", type=int, default=42)


def _options(args: argparse.Namespace) -> LoopOptions:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    return LoopOptions(n_steps=args.steps, learning_rate=args.learning_rate, seed=args.seed)


def _languages_of(source: Path) -> list[str]:
    return json.loads((source / "config.json").read_text(encoding="utf-8"))["languages"]


def _pairs(args: argparse.Namespace) -> list[ParallelPair]:
    codes = _languages_of(args.source)
    return [pair for path in args.parallel for pair in read_parallel(path, codes)]


def _warm_start(args: argparse.Namespace) -> Report:
    codes = [find_code(part.strip()) for part in args.languages.split(",")]
    files = recipes.WarmStartFiles(args.texts, tuple(args.parallel), args.teacher)
    recipes.warm_start(files, args.out, languages=codes, vocab_size=args.vocab_size)
    return _report({"stage": "warm-start", "checkpoint": str(args.out), "languages": codes})


def _distil(args: argparse.Namespace) -> Report:
    pairs = _pairs(args) + recipes.english_pairs(args.texts, args.questions)
    report = recipes.distil(args.source, args.out, teacher=args.teacher, pairs=pairs, options=_options(args))
    return _report({"stage": "distil", "checkpoint": str(args.out), **report.as_dict()})


def _finetune(args: argparse.Namespace) -> Report:
    batch = recipes.FinetuneOptions(parallel_every=0 if args.pure else 3)
    options = _options(args)
    report = recipes.finetune(
        args.source, args.out, questions=args.questions, pairs=_pairs(args), batch=batch, options=options
    )
    return _report({"stage": "finetune", "checkpoint": str(args.out), **report.as_dict()})


def _report(facts: dict) -> Report:
    return Report(facts, tuple(f"{name}: {value}" for name, value in facts.items()))
