"""Measure and draw figures of a checkpoint: `python -m benchmarks.xm_mini.figures all CHECKPOINT DATA OUT --start DIR`.

Writes OUT/NAME.json, a line after each set, and OUT/NAME.html beside one plotly.min.js, and prints the numbers as a
Markdown table; called again, it goes on where it stopped. With `--draw`, only charts and tables are made, from the JSON
that is there. Figures, and what --start is for: languages (its twin is fine-tuned from it), efficiency (so is each
point of the curve), added, across, heads, masks.
"""

import argparse
import json
import logging
import platform
import sys
from pathlib import Path

from benchmarks.xm_mini.figures.charts import draw, table
from benchmarks.xm_mini.figures.measure import (
    FIGURES,
    NEED_START,
    QUICK_PASSAGES,
    QUICK_QUESTIONS,
    Job,
    Setting,
)
from xm.encoder import load_encoder
from xm.errors import XmError


def main() -> None:
    """Measure the figures asked for, one after another."""
    args = read_arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    limit = (QUICK_QUESTIONS, QUICK_PASSAGES) if args.quick else (args.max_questions, args.max_passages)
    setting = Setting(
        checkpoint=args.checkpoint,
        data=args.data,
        out=args.out,
        start=args.start,
        adapters=tuple(args.adapters),
        languages=tuple(args.languages),
        limit=limit,
        seed=args.seed,
        device=args.device,
        quick=args.quick,
        max_pairs=args.max_pairs,
    )
    for name in FIGURES if args.figure == "all" else [args.figure]:
        path = args.out / f"{name}.json"
        if not args.draw:
            measure(FIGURES[name](setting), path, facts_of(name, setting))
        lines = json.loads(path.read_text(encoding="utf-8"))["lines"]
        draw(name, lines).write_html(path.with_suffix(".html"), include_plotlyjs="directory")
        print(table(name, lines))


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figure", choices=[*FIGURES, "all"])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path, help="holds qa/dev.SOURCE.LANG.jsonl.xz and qa/train.en.jsonl.xz")
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", type=Path, help="checkpoint that the twin and the curve are fine-tuned from")
    parser.add_argument("--adapters", type=Path, nargs="*", default=[], help="files of the languages added afterwards")
    parser.add_argument("--languages", nargs="*", default=[], metavar="CODE", help="only these, such as de fr")
    parser.add_argument("--max-questions", type=int, metavar="N", help="a seeded sample of each file's questions")
    parser.add_argument("--max-passages", type=int, metavar="N", help="a seeded sample of each file's passages")
    parser.add_argument("--max-pairs", type=int, metavar="N", help="a seeded sample of the English pairs to train on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="of training")
    parser.add_argument("--quick", action="store_true", help="few questions and short training, to see that it runs")
    parser.add_argument("--draw", action="store_true", help="draw from the JSON files in OUT, measure nothing")
    args = parser.parse_args()
    if not args.draw and args.start is None and args.figure in (*NEED_START, "all"):
        parser.error(f"{' and '.join(NEED_START)} need --start, the checkpoint before English fine-tuning")
    return args


def facts_of(name: str, setting: Setting) -> dict[str, object]:
    """Say what a figure is of; one of other facts is not gone on with."""
    encoder = load_encoder(str(setting.checkpoint))
    model = {"model": Path(encoder.model).name, "revision": encoder.revision, "precision": encoder.precision}
    start = setting.start.name if setting.start else None
    run = {"start": start, "limit": list(setting.limit), "seed": setting.seed, "quick": setting.quick}
    run["max_pairs"] = setting.max_pairs
    machine = f"{platform.platform()}, {platform.machine()}, Python {platform.python_version()}"
    return {"figure": name, **model, **run, "machine": machine}


def measure(jobs: list[Job], path: Path, facts: dict[str, object]) -> None:
    """Do the jobs whose lines are not there yet, and write all lines after each.

    Raises:
        XmError: the file holds another checkpoint's figure, or one measured otherwise.
    """
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {**facts, "lines": []}
    lines = found.pop("lines")
    if found != facts:
        changed = ", ".join(name for name in facts if found.get(name) != facts[name])
        raise XmError(f"{path} was measured with other facts ({changed}); name another folder, or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    for job in jobs:
        if any(job.key.items() <= line.items() for line in lines):
            continue
        sys.stderr.write(f"{path.stem} {job.key}\n")
        lines.append({**job.measure(), **job.key})
        new = path.with_suffix(".new")
        new.write_text(json.dumps({**facts, "lines": lines}, indent=1, ensure_ascii=False), encoding="utf-8")
        new.replace(path)


if __name__ == "__main__":
    try:
        main()
    except XmError as error:
        sys.stderr.write(f"figures: {error}\n")
        sys.exit(2)
