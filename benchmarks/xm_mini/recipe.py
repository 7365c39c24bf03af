"""Train xm-mini from its data in one command: `python -m benchmarks.xm_mini.recipe DATA TEACHER OUT`.

DATA holds text/LANG.txt.xz, parallel/*.tsv.xz and qa/train.en.jsonl.xz; TEACHER is the folder of all-MiniLM-L6-v2.
`shipped` may use all of it: 23 languages learn together, from BM25's ranking of plain text, parallel sentences and
English questions; BM25 and parallel sentences teach the languages that are added, too.
`pure` is the paper's recipe: pretraining on plain text, then English questions alone; its layers start as the
teacher's and its foreign words untranslated, or all from random numbers (`cold`). Swahili and Telugu are added at the
end. Finished stages are passed over, interrupted ones resumed. Prints a JSON object a stage.
"""

import argparse
import json
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from xm.encoder.adapters import write_adapter
from xm.encoder.exchange import merge_adapter
from xm.train import recipes
from xm.train.add_language import add_language
from xm.train.data import ParallelPair, QuestionPair, language_files, read_lines, read_parallel, read_questions
from xm.train.joint import RANKING, JointData, JointOptions, train_jointly
from xm.train.loop import LoopOptions
from xm.train.material import AddOptions
from xm.train.negatives import NegativeOptions, make_triples
from xm.train.pretrain import PretrainOptions, Size, cold_start, pretrain
from xm.train.rank_language import RankOptions, rank_language

LANGUAGES = (
    "en_XX es_XX fr_XX it_IT pt_XX id_ID de_DE ru_RU zh_CN ja_XX nl_XX vi_VN hi_IN ar_AR "  # mMARCO's 14
    "ko_KR fi_FI th_TH fa_IR tr_TR bn_IN pl_PL el_GR ro_RO"
).split()
LATER = ("sw_KE", "te_IN")  # in the vocabulary from the start, but without an adapter until the end
LEXICON = Path(__file__).parent / "lexicon.tsv"
LEXICON_WEIGHT = 3  # a word list has no context to confuse the aligner: it counts three times
N_ENGLISH = 4_000
LAYERS, REDUCTION = 4, 16  # of the teacher's six layers; 25 adapters 24 wide
VOCAB, TEACHER_SHARE = 56_000, 0.18  # with these, all stays below 64 MB
VARIANTS = ("shipped", "pure", "cold")
JOINT_STEPS = 3_000
PRETRAIN_STEPS, PURE_QUESTIONS = 300, 4_000  # of the pure variants: what one core has time for in an hour and a half
QUICK_STEPS, QUICK_QUESTIONS = 4, 200
QUICK_LINES, QUICK_LENGTH = 400, 200  # of each text, in lines and their characters


@dataclass(frozen=True)
class Plan:
    """What every stage shares; quick cuts texts, vocabulary, questions and steps to see that all of it runs."""

    data: Path
    teacher: Path
    out: Path
    seed: int
    device: str
    heads: tuple[int, ...]
    quick: bool

    @property
    def texts(self) -> Path:
        """Folder with LANG.txt[.xz]."""
        return self.out / "texts" if self.quick else self.data / "text"

    @property
    def sentences(self) -> tuple[Path, ...]:
        """Files of parallel sentences."""
        return () if self.quick else tuple(sorted((self.data / "parallel").glob("*.tsv.xz")))

    @property
    def vocab(self) -> int:
        """Pieces of the vocabulary."""
        return 6_000 if self.quick else VOCAB

    def questions(self) -> list[QuestionPair]:
        """Read the English questions that people really asked."""
        found = read_questions(self.data / "qa" / "train.en.jsonl.xz", recipes.WEB_QUESTIONS)
        return found[:QUICK_QUESTIONS] if self.quick else found

    def run(self, n_steps: int, *, rate: float, warmup: float = 0.1, average: float = 0.0) -> LoopOptions:
        """Say how a stage is run."""
        steps = min(n_steps, QUICK_STEPS) if self.quick else n_steps
        return LoopOptions(n_steps=steps, learning_rate=rate, warmup=warmup, average=average, seed=self.seed)


def main() -> None:
    """Train one variant, then add the later languages to it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--variant", choices=VARIANTS, default="shipped")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--heads", type=int, nargs="*", default=(32, 64), help="dims of smaller heads")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, help="of the processor")
    parser.add_argument("--quick", action="store_true", help="a few steps on a little text, to see that it runs")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    plan = Plan(args.data, args.teacher, args.out, args.seed, args.device, tuple(args.heads), args.quick)
    if plan.quick:
        shorten_texts(plan)
    ships = args.variant == "shipped"
    source, tuned = shipped(plan) if ships else pure(plan, cold=args.variant == "cold")
    adapters, checkpoint = add_later(plan, source, tuned, ranking=ships)
    size = (checkpoint / "model.safetensors").stat().st_size
    say("done", {"checkpoint": str(checkpoint), "bytes": size, "start": str(source), "adapters": adapters})


def shipped(plan: Plan) -> tuple[Path, Path]:
    """Warm start and joint stage; return the checkpoint to add languages for, and to add them to."""
    warm, joint = plan.out / "warm", plan.out / "joint"
    warm_start(plan, warm, (*plan.sentences, *[LEXICON] * LEXICON_WEIGHT))
    if not is_done(joint):
        questions = plan.questions()
        triples = make_triples(questions, NegativeOptions(), seed=plan.seed)
        data = JointData(plan.texts, joint_pairs(plan, questions), triples, plan.teacher)
        batch = JointOptions(cycle=RANKING, heads=plan.heads)
        options = plan.run(JOINT_STEPS, rate=8e-4, warmup=0.03, average=0.998)
        report = train_jointly(warm, joint, data=data, options=options, batch=batch, device=plan.device)
        say("joint", report.as_dict())
    return joint, joint


def pure(plan: Plan, *, cold: bool) -> tuple[Path, Path]:
    """Start, pretraining, English fine-tuning with adapters and embeddings frozen; returns as `shipped`."""
    start, pretrained, tuned = plan.out / "start", plan.out / "pretrained", plan.out / "tuned"
    if not cold:
        warm_start(plan, start, ())
    elif not is_done(start):
        texts = language_files(plan.texts, (*LANGUAGES, *LATER))
        size = Size(layers=LAYERS, width=384, heads=12, reduction=REDUCTION, vocab=plan.vocab)
        cold_start(texts, start, size=size, seed=plan.seed, languages=LANGUAGES)
    if not is_done(pretrained):
        options = plan.run(PRETRAIN_STEPS, rate=5e-4)
        batch = PretrainOptions(batch_size=4) if plan.quick else PretrainOptions()
        report = pretrain(start, pretrained, texts=plan.texts, batch=batch, options=options, device=plan.device)
        say("pretrain", report.as_dict())
    if not is_done(tuned):
        asked = plan.questions()
        questions = random.Random(plan.seed).sample(asked, min(PURE_QUESTIONS, len(asked)))
        batch = recipes.FinetuneOptions(parallel_every=0, heads=plan.heads)
        options = plan.run(len(questions) // batch.batch_size, rate=2e-5)
        report = recipes.finetune(
            pretrained, tuned, questions=questions, pairs=(), batch=batch, options=options, device=plan.device
        )
        say("finetune", report.as_dict())
    return pretrained, tuned


def warm_start(plan: Plan, out: Path, parallel: tuple[Path, ...]) -> None:
    """Make an untrained checkpoint of the teacher's layers."""
    if not is_done(out):
        sizes = {"vocab_size": plan.vocab, "teacher_share": TEACHER_SHARE, "n_layers": LAYERS, "reduction": REDUCTION}
        options = recipes.WarmStartOptions(tuple(LANGUAGES), LATER, seed=plan.seed, **sizes)
        recipes.warm_start(recipes.WarmStartFiles(plan.texts, parallel, plan.teacher), out, options=options)


def add_later(plan: Plan, source: Path, tuned: Path, *, ranking: bool) -> tuple[list[str], Path]:
    """Train an adapter for each later language on `source`; return their files, and `tuned` with all of them.

    `ranking`: BM25 and parallel sentences teach it, in place of masked words.
    """
    files, merged = [], tuned
    for code, text in language_files(plan.texts, LATER).items():
        file, target = plan.out / code / f"{code}.safetensors", plan.out / f"with_{code}"
        if not file.is_file():
            if ranking:
                options = plan.run(200, rate=2e-3)
                batch = RankOptions(pairs=read_pairs(plan.data, [code]))
                added = rank_language(
                    source, file.parent, code=code, text=text, batch=batch, options=options, device=plan.device
                )
            else:
                options = plan.run(300, rate=1e-3)
                added = add_language(
                    source, file.parent, code=code, text=text, batch=AddOptions(), options=options, device=plan.device
                )
            write_adapter(added.adapter, file)
            say("add-language", added.as_dict())
        merge_adapter(str(merged), file, target)
        files.append(str(file))
        merged = target
    return files, merged


def joint_pairs(plan: Plan, questions: Sequence[QuestionPair]) -> list[ParallelPair]:
    """Read all parallel sentences and the word list; add some English, so that it is not forgotten."""
    english = recipes.english_pairs(plan.texts, questions)
    some = random.Random(plan.seed).sample(english, min(N_ENGLISH, len(english)))
    return [*read_pairs(plan.data, LANGUAGES), *some]


def read_pairs(data: Path, codes: Sequence[str]) -> list[ParallelPair]:
    """Read the parallel sentences and the word list of some languages."""
    files = (*sorted((data / "parallel").glob("*.tsv.xz")), LEXICON)
    return [pair for path in files for pair in read_parallel(path, codes)]


def shorten_texts(plan: Plan) -> None:
    """Write the first long lines of every text to the folder of a quick run."""
    plan.texts.mkdir(parents=True, exist_ok=True)
    for path in language_files(plan.data / "text", (*LANGUAGES, *LATER)).values():
        lines = islice((line for line in read_lines(path) if len(line) > QUICK_LENGTH), QUICK_LINES)
        (plan.texts / path.name.removesuffix(".xz")).write_text("\n".join(lines), encoding="utf-8")


def is_done(checkpoint: Path) -> bool:
    """Say whether a stage has written its checkpoint, which it does last."""
    return (checkpoint / "model.safetensors").is_file()


def say(stage: str, facts: dict[str, object]) -> None:
    """Print what a stage did."""
    print(json.dumps({"stage": stage, **facts}, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
