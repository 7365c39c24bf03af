"""The stages of training xm-mini, from files to a checkpoint folder: what `xm train ...` runs.

Each stage reads a checkpoint folder, writes another, and resumes its own interrupted run.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from xm.errors import TrainingError
from xm.train.data import ParallelPair, language_files, read_lines, read_parallel, read_questions
from xm.train.distil import Teacher, batches_of, distil_loss
from xm.train.finetune import ENGLISH, parallel_loss, triple_loss
from xm.train.loop import LoopOptions, RunReport, train
from xm.train.negatives import bm25_triples
from xm.train.student import LateInteraction, load_student, save_student
from xm.train.tokenizer import train_tokenizer
from xm.train.warm_start import model_from_bert, word_embeddings, xmod_config

WEB_QUESTIONS = ("nq_qed", "clapnq", "boolq_val", "nq_open_dev")  # real questions: the best diet (data README)
_HEAD_SENTENCES = 1_500


@dataclass(frozen=True)
class WarmStartFiles:
    """texts: folder with LANG.txt[.xz]; parallel: TSV files; teacher: folder of a BERT-style English encoder."""

    texts: Path
    parallel: tuple[Path, ...]
    teacher: Path


def warm_start(files: WarmStartFiles, out: Path, *, languages: Sequence[str], vocab_size: int, dim: int = 128) -> None:
    """Make an untrained checkpoint: new vocabulary, the teacher's layers, adapters that add nothing, a PCA head."""
    if ENGLISH not in languages:
        raise TrainingError(f"a warm start needs {ENGLISH} among the languages; got {', '.join(languages)}")
    texts = language_files(files.texts, languages)
    tokenizer = train_tokenizer(texts, out, vocab_size=vocab_size)
    pairs = [pair for path in files.parallel for pair in read_parallel(path, languages)]
    words = word_embeddings(files.teacher, tokenizer, texts, pairs)
    bert = json.loads((files.teacher / "config.json").read_text(encoding="utf-8"))
    config = xmod_config(bert, languages=languages, vocab_size=len(words))
    head = Teacher(files.teacher).principal_head(english_sentences(texts[ENGLISH], _HEAD_SENTENCES), dim=dim)
    save_student(LateInteraction(model_from_bert(files.teacher, config, words), head), out, out)


def english_sentences(path: Path, n: int) -> list[str]:
    """Return the first 200 characters of `n` lines spread over the start of a text file."""
    lines = []
    for number, line in enumerate(read_lines(path)):
        if number % 6 == 0:
            lines.append(line[:200])
        if len(lines) == n:
            break
    return lines


def distil(
    source: Path, out: Path, *, teacher: Path, pairs: Sequence[ParallelPair], options: LoopOptions, batch_size: int = 48
) -> RunReport:
    """Train embeddings and adapters of `source` on `pairs` against an English teacher; write the result to `out`."""
    student, texts = load_student(source)
    learned = {id(p) for p in (*student.adapters(), student.backbone.embeddings.word_embeddings.weight)}
    student.freeze([p for p in student.parameters() if id(p) not in learned])
    batches = batches_of(pairs, batch_size=batch_size, seed=options.seed)
    english = Teacher(teacher)

    def step_loss(step: int) -> tuple[torch.Tensor, int]:
        return distil_loss(student, texts, english, batches[step % len(batches)])

    report = train(student, step_loss, parameters=student.parameters(), options=options, folder=out / "run")
    save_student(student, source, out)
    return report


@dataclass(frozen=True)
class FinetuneOptions:
    """What a fine-tuning batch holds; every `parallel_every`-th batch is of parallel sentences (0: `pure`)."""

    batch_size: int = 8
    parallel_batch_size: int = 24
    parallel_every: int = 3


def finetune(
    source: Path,
    out: Path,
    *,
    questions: Path,
    pairs: Sequence[ParallelPair],
    batch: FinetuneOptions,
    options: LoopOptions,
) -> RunReport:
    """Fine-tune shared weights and head of `source` on English questions; adapters and embeddings stay frozen."""
    student, texts = load_student(source)
    student.freeze([*student.adapters(), *student.embeddings()])
    triples = bm25_triples(read_questions(questions, WEB_QUESTIONS), seed=options.seed)
    order = np.random.default_rng(options.seed).permutation(len(triples))
    parallel = (
        batches_of(pairs, batch_size=batch.parallel_batch_size, seed=options.seed) if batch.parallel_every else []
    )

    def step_loss(step: int) -> tuple[torch.Tensor, int]:
        if parallel and step % batch.parallel_every == batch.parallel_every - 1:
            return parallel_loss(student, texts, parallel[step // batch.parallel_every % len(parallel)])
        start = step * batch.batch_size % (len(order) - batch.batch_size + 1)
        return triple_loss(student, texts, [triples[i] for i in order[start : start + batch.batch_size]])

    report = train(student, step_loss, parameters=student.parameters(), options=options, folder=out / "run")
    save_student(student, source, out)
    return report


def english_pairs(
    texts: Path, questions: Path, *, n_sentences: int = 10_000, n_questions: int = 8_000
) -> list[ParallelPair]:
    """Pair English sentences and questions with themselves, so that the new vocabulary learns English back."""
    sentences = english_sentences(language_files(texts, [ENGLISH])[ENGLISH], n_sentences)
    asked = [pair.question for pair in read_questions(questions, WEB_QUESTIONS)][:n_questions]
    return [ParallelPair(ENGLISH, text, text) for text in (*sentences, *asked)]
