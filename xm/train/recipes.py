"""The stages that teach a checkpoint to retrieve, from data to a checkpoint folder: what `xm train ...` runs.

Each stage reads a checkpoint folder, writes another, and resumes its own interrupted run.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from xm.errors import TrainingError
from xm.train.data import ParallelPair, QuestionPair, language_files, read_lines, read_parallel, read_questions
from xm.train.distil import MinMax, Teacher, batches_of, distil_loss, score_loss
from xm.train.finetune import Model, parallel_loss, triple_loss
from xm.train.loop import LoopOptions, RunReport, Step, train
from xm.train.mining import mine
from xm.train.negatives import ENGLISH, NegativeOptions, Triple, make_triples
from xm.train.single_vector import Pooling, SingleVector, save_single_vector
from xm.train.student import LateInteraction, Texts, load_student, save_student
from xm.train.teachers import ScoredQuery
from xm.train.tokenizer import train_tokenizer
from xm.train.warm_start import model_from_bert, teacher_pieces, word_embeddings, xmod_config

WEB_QUESTIONS = ("nq_qed", "clapnq", "boolq_val", "nq_open_dev")  # real questions: the best diet (data README)
_HEAD_SENTENCES = 1_500


@dataclass(frozen=True)
class WarmStartFiles:
    """texts: folder with LANG.txt[.xz]; parallel: TSV files; teacher: folder of a BERT-style English encoder."""

    texts: Path
    parallel: tuple[Path, ...]
    teacher: Path


@dataclass(frozen=True)
class WarmStartOptions:
    """What the checkpoint covers, as XMOD codes, and its sizes.

    languages: those with an adapter. later: more that the vocabulary covers, so that an adapter can be added
    afterwards. teacher_share: of the vocabulary are the teacher's most frequent pieces. n_layers: the teacher's first
    ones (None: all). reduction: hidden width over adapter width. dim: of a token embedding.
    """

    languages: tuple[str, ...]
    later: tuple[str, ...] = ()
    vocab_size: int = 36_000
    teacher_share: float = 0.2
    n_layers: int | None = None
    reduction: int = 6
    dim: int = 128
    seed: int = 42

    def __post_init__(self) -> None:
        if not 0 <= self.teacher_share < 1:
            raise TrainingError(f"a teacher's share of {self.teacher_share} of the vocabulary; expected 0 to below 1")


def warm_start(files: WarmStartFiles, out: Path, *, options: WarmStartOptions) -> None:
    """Make an untrained checkpoint: new vocabulary, the teacher's layers, adapters that add nothing, a PCA head.

    Without parallel sentences of a language, its pieces that English lacks all start from the mean embedding.
    """
    if ENGLISH not in options.languages:
        raise TrainingError(f"a warm start needs {ENGLISH} among the languages; got {', '.join(options.languages)}")
    bert = json.loads((files.teacher / "config.json").read_text(encoding="utf-8"))
    sizes = {"vocab_size": options.vocab_size, "reduction": options.reduction, "n_layers": options.n_layers}
    config = xmod_config(bert, languages=options.languages, **sizes)
    covered = (*options.languages, *options.later)
    texts = language_files(files.texts, covered)
    own = teacher_pieces(files.teacher, texts[ENGLISH], n=round(options.teacher_share * options.vocab_size))
    own = {piece: score - math.log(len(texts)) for piece, score in own.items()}  # English is one text of many
    tokenizer = train_tokenizer(texts, out, vocab_size=options.vocab_size, kept=own)
    pairs = [pair for path in files.parallel for pair in read_parallel(path, covered)]
    words = word_embeddings(files.teacher, tokenizer, texts, pairs, seed=options.seed)
    sentences = english_sentences(texts[ENGLISH], _HEAD_SENTENCES)
    head = Teacher(files.teacher, n_layers=config.num_hidden_layers).principal_head(sentences, dim=options.dim)
    torch.manual_seed(options.seed)  # the adapters' first layers start at random
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
    source: Path,
    out: Path,
    *,
    teacher: Path,
    pairs: Sequence[ParallelPair],
    options: LoopOptions,
    batch_size: int = 48,
    device: str = "auto",
) -> RunReport:
    """Train embeddings and adapters of `source` on `pairs` against an English teacher; write the result to `out`."""
    student, texts = load_student(source, device=device)
    learned = {id(p) for p in (*student.adapters(), student.backbone.embeddings.word_embeddings.weight)}
    student.freeze([p for p in student.parameters() if id(p) not in learned])
    batches = batches_of(pairs, batch_size=batch_size, seed=options.seed)
    english = Teacher(teacher, texts.device, n_layers=student.n_layers)

    def step_loss(step: int) -> tuple[torch.Tensor, int]:
        return distil_loss(student, texts, english, batches[step % len(batches)])

    report = train(student, step_loss, parameters=student.parameters(), options=options, folder=out / "run")
    save_student(student, source, out)
    return report


@dataclass(frozen=True)
class FinetuneOptions:
    """What fine-tuning trains, and what its batches hold.

    parallel_every: every so-many-th batch is of parallel sentences (0: `pure`). passage_length: tokens a passage is
    cut to. heads: sizes trained beside the full one. pooling: train the single-vector twin instead; temperature is
    its. attend_to_masks: None leaves what the checkpoint says.
    """

    batch_size: int = 8
    parallel_batch_size: int = 24
    parallel_every: int = 3
    passage_length: int = 96
    heads: tuple[int, ...] = ()
    pooling: Pooling | None = None
    temperature: float = 0.05  # what sentence-transformers' scale of 20 comes to, with which DPR-XM was trained
    attend_to_masks: bool | None = None
    negatives: NegativeOptions = NegativeOptions()


def finetune(
    source: Path,
    out: Path,
    *,
    questions: Sequence[QuestionPair],
    pairs: Sequence[ParallelPair],
    batch: FinetuneOptions,
    options: LoopOptions,
    device: str = "auto",
) -> RunReport:
    """Fine-tune shared weights and heads of `source` on English questions; adapters and embeddings stay frozen.

    Args:
        questions: with their negatives, or negatives are found for them as batch.negatives says.
        pairs: parallel sentences, for the batches in between.

    Raises:
        TrainingError: an option or the data does not fit, or the run cannot go on.
    """
    student, texts = load_student(source, device=device)
    texts = _as_asked(texts, batch)
    triples = _triples(questions, batch.negatives, source, out, seed=options.seed)
    turns = _Turns(len(triples), batch.batch_size, options.seed)
    every = batch.parallel_every if pairs else 0
    parallel = batches_of(pairs, batch_size=batch.parallel_batch_size, seed=options.seed) if every else []
    model = _model(student, batch)

    def step_loss(step: int) -> Step:
        if every and step % every == every - 1:
            sentences = parallel[step // every % len(parallel)]
            return Step(*parallel_loss(model, texts, sentences), "parallel")
        turn = step - step // every if every else step
        return Step(*triple_loss(model, texts, [triples[i] for i in turns(turn)]), "triples")

    report = train(model, step_loss, parameters=model.parameters(), options=options, folder=out / "run")
    if isinstance(model, SingleVector):
        save_single_vector(model, source, out, max_length=texts.metadata["doc_maxlen"])
    else:
        save_student(student, source, out, metadata=texts.metadata)
    return report


def _as_asked(texts: Texts, batch: FinetuneOptions) -> Texts:
    """Put the options that change how texts are read in the place of the checkpoint's own."""
    asked = {} if batch.attend_to_masks is None else {"attend_to_mask_tokens": batch.attend_to_masks}
    return replace(texts, passage_length=batch.passage_length, metadata={**texts.metadata, **asked})


def _model(student: LateInteraction, batch: FinetuneOptions) -> Model:
    """Return what is trained, with its frozen parts frozen."""
    if batch.pooling is None:
        if batch.heads:
            student.set_sizes(batch.heads)
        student.freeze([*student.adapters(), *student.embeddings()])
        return student
    if batch.heads:
        raise TrainingError("a single-vector model has no heads; leave --heads or --single-vector out")
    return SingleVector(student, batch.pooling, temperature=batch.temperature)


def _triples(
    questions: Sequence[QuestionPair], negatives: NegativeOptions, source: Path, out: Path, *, seed: int
) -> list[Triple]:
    """Find the negatives; those that `source` mines are kept in the run's folder for when it is resumed."""
    if negatives.kind != "self":
        return make_triples(questions, negatives, seed=seed)
    mined = out / "run" / "mined.jsonl"
    if not mined.is_file():
        mine(questions, source, mined, options=negatives, seed=seed)
    return make_triples(read_questions(mined), replace(negatives, kind="given"), seed=seed)


class _Turns:
    """Which items each step takes: all of them in random order, and again in another."""

    def __init__(self, n_items: int, batch_size: int, seed: int) -> None:
        if not 1 <= batch_size <= n_items:
            raise TrainingError(f"a batch of {batch_size} cannot be filled from {n_items}; give more data")
        self._n_items, self._batch_size = n_items, batch_size
        self._order = lru_cache(2)(lambda number: np.random.default_rng((seed, number)).permutation(n_items))

    def __call__(self, turn: int) -> list[int]:
        """Return the places of a turn, batch_size of them; what does not fill a batch is left to the next round."""
        number, place = divmod(turn, self._n_items // self._batch_size)
        return self._order(number)[place * self._batch_size :][: self._batch_size].tolist()


@dataclass(frozen=True)
class ScoreOptions:
    """What a batch of distillation from scores holds, and how scores are compared (see xm.train.distil.score_loss).

    n_passages: passages a question; where the teacher scored more, some are drawn at each step.
    """

    batch_size: int = 4
    n_passages: int = 8
    passage_length: int = 96
    alpha: float = 1.0
    min_max: MinMax = "none"


def distil_scores(
    source: Path,
    out: Path,
    *,
    scored: Sequence[ScoredQuery],
    batch: ScoreOptions,
    options: LoopOptions,
    device: str = "auto",
) -> RunReport:
    """Train what `finetune` trains to rank as a teacher does; questions with fewer passages than asked are left out.

    Raises:
        TrainingError: too few questions are left, or the run cannot go on.
    """
    student, texts = load_student(source, device=device)
    student.freeze([*student.adapters(), *student.embeddings()])
    texts = replace(texts, passage_length=batch.passage_length)
    enough = [query for query in scored if len(query.passages) >= batch.n_passages > 1]
    if not enough:
        raise TrainingError(f"none of {len(scored)} questions has {batch.n_passages} scored passages (2 or more)")
    turns = _Turns(len(enough), batch.batch_size, options.seed)

    def step_loss(step: int) -> Step:
        generator = np.random.default_rng((options.seed, step))
        chosen = [_some_of(enough[i], batch.n_passages, generator) for i in turns(step)]
        return Step(*score_loss(student, texts, chosen, alpha=batch.alpha, min_max=batch.min_max), "scores")

    report = train(student, step_loss, parameters=student.parameters(), options=options, folder=out / "run")
    save_student(student, source, out)
    return report


def _some_of(query: ScoredQuery, n: int, generator: np.random.Generator) -> ScoredQuery:
    """Draw n of the passages that a teacher scored."""
    places = generator.choice(len(query.passages), size=n, replace=False)
    return ScoredQuery(query.question, tuple(query.passages[i] for i in places), tuple(query.scores[i] for i in places))


def english_pairs(
    texts: Path, questions: Sequence[QuestionPair], *, n_sentences: int = 10_000, n_questions: int = 8_000
) -> list[ParallelPair]:
    """Pair English sentences and questions with themselves, so that the new vocabulary learns English back."""
    sentences = english_sentences(language_files(texts, [ENGLISH])[ENGLISH], n_sentences)
    asked = [pair.question for pair in questions[:n_questions]]
    return [ParallelPair(ENGLISH, text, text) for text in (*sentences, *asked)]
