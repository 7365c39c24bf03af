"""Train assets/xm-mini as it was trained: `python -m benchmarks.xm_mini.recipe DATA TEACHER OUT`.

DATA holds text/LANG.txt.xz, parallel/*.tsv.xz and qa/train.en.jsonl.xz; TEACHER is the folder of all-MiniLM-L6-v2.
An interrupted run goes on from its last checkpoint when it is called again. Prints one JSON object a stage.
"""

import argparse
import json
import logging
import random
from pathlib import Path

import torch

from xm.train import recipes
from xm.train.data import ParallelPair, read_parallel
from xm.train.loop import LoopOptions

LANGUAGES = (
    "en_XX es_XX fr_XX it_IT pt_XX id_ID de_DE ru_RU zh_CN ja_XX nl_XX vi_VN hi_IN ar_AR"  # mMARCO's 14
).split()
LEXICON = Path(__file__).parent / "lexicon.tsv"
N_ENGLISH = 8_000
LEXICON_WEIGHT = 3  # a word list has no context to confuse the aligner: it counts three times


def main() -> None:
    """Run the three stages one after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--finetune-steps", type=int, default=330)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    warm, distilled, tuned = (args.out / name for name in ("warm", "distilled", "tuned"))
    if not (warm / "model.safetensors").is_file():
        files = recipes.WarmStartFiles(args.data / "text", _parallel_files(args.data), args.teacher)
        recipes.warm_start(files, warm, languages=LANGUAGES, vocab_size=36_000)
    report = recipes.distil(
        warm,
        distilled,
        teacher=args.teacher,
        pairs=distillation_pairs(args.data),
        options=LoopOptions(n_steps=1_145, learning_rate=5e-4, save_every=150),
    )
    print(json.dumps({"stage": "distil", **report.as_dict()}), flush=True)
    report = recipes.finetune(
        distilled,
        tuned,
        questions=args.data / "qa" / "train.en.jsonl.xz",
        pairs=[
            pair for path in _parallel_files(args.data)[:-LEXICON_WEIGHT] for pair in read_parallel(path, LANGUAGES)
        ],
        batch=recipes.FinetuneOptions(),
        options=LoopOptions(n_steps=args.finetune_steps, learning_rate=3e-5, save_every=60),
    )
    print(json.dumps({"stage": "finetune", **report.as_dict()}), flush=True)


def distillation_pairs(data: Path) -> list[ParallelPair]:
    """Choose what one short epoch has room for: all of Tatoeba and the word list, half of TICO-19, some English."""
    generator = random.Random(0)
    tatoeba = [p for f in sorted((data / "parallel").glob("tatoeba*")) for p in read_parallel(f, LANGUAGES)]
    tico = read_parallel(data / "parallel" / "tico19.tsv.xz", LANGUAGES)
    english = recipes.english_pairs(data / "text", data / "qa" / "train.en.jsonl.xz")
    half = generator.sample(tico, len(tico) // 2)
    return [*tatoeba, *half, *read_parallel(LEXICON, LANGUAGES), *generator.sample(english, N_ENGLISH)]


def _parallel_files(data: Path) -> tuple[Path, ...]:
    return (*sorted((data / "parallel").glob("*.tsv.xz")), *[LEXICON] * LEXICON_WEIGHT)


if __name__ == "__main__":
    main()
