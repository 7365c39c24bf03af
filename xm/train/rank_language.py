"""A language added by learning to rank: a new adapter that BM25 teaches on one text, all else frozen.

For search this gets further in minutes than masked language modelling does (xm.train.add_language), and needs no MLM
head, but the checkpoint has to know late interaction already. The adapter starts as a copy of the one through which
the model, as it is, ranks most like BM25. Parallel sentences, where there are some, teach in every other batch what
the words mean; the word embeddings of the text's pieces may learn with the adapter, for this language alone.
"""

import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from xm.encoder.adapters import adapter_of
from xm.errors import TrainingError
from xm.train.add_language import AddedLanguage, check_new, cosines_of, cut, embed, grow
from xm.train.bm25 import Ranking
from xm.train.cloze import ClozePair, read_paragraphs
from xm.train.data import ParallelPair
from xm.train.loop import LoopOptions, Step, train
from xm.train.material import N_SENTENCES, SENTENCE_CHARS, unknown_share
from xm.train.own_rows import give_rows
from xm.train.packing import piece_counts
from xm.train.student import LateInteraction, Texts, load_student
from xm.train.translations import Translations
from xm.types import LanguageChange

_LOG = logging.getLogger(__name__)
_HELD_SHARE, _MIN_HELD = 0.05, 16  # of the paragraphs; so many at least
_NEAREST_BATCHES, _HELD_BATCHES = 2, 6  # of held-out pairs: every adapter reads the former


@dataclass(frozen=True)
class RankOptions:
    """What a batch holds, and what learns.

    batch_size: queries that BM25 ranks. pairs: sentences of the language and their English translations, n_parallel
    of them in every other batch; may be none. embeddings: also learn the word embeddings of the pieces of text and
    sentences, for this language alone.
    """

    batch_size: int = 8
    pairs: Sequence[ParallelPair] = ()
    n_parallel: int = 24
    embeddings: bool = False


def rank_language(
    source: Path, out: Path, *, code: str, text: Path, batch: RankOptions, options: LoopOptions, device: str = "auto"
) -> AddedLanguage:
    """Train an adapter `code` for the checkpoint `source` on `text`; states of the run go to `out`/run.

    Losses are divergences from BM25's ranking, in nats, summed over the heads that the checkpoint has; of steps that
    learn from parallel sentences, the change has NaN.

    Raises:
        TrainingError: the language is there already, the text is too short or in another script, the parallel
            sentences are too few, or the run cannot go on.
    """
    began = time.perf_counter()
    student, texts = load_student(source, device=device)
    check_new(student, code, source)
    material = _read(text, texts, batch, seed=options.seed)
    nearest = _rank_adapters(student, material)
    like = next(iter(nearest))
    before = _measure(student, texts, material, like)
    grow(student, code, like=like)
    student.freeze([p for name, p in student.named_parameters() if f"adapter_modules.{code}." not in name])
    own = give_rows(student.backbone.embeddings, code, material.counts) if batch.embeddings else None

    def step_loss(step: int) -> Step:
        if material.lessons and step % 2:
            return Step(*material.lessons.loss(student, texts, step // 2), f"parallel {code}")
        pairs = material.learnt.draw(random.Random(f"{options.seed}/{step}"), size=batch.batch_size)
        return Step(*material.learnt.loss(student, pairs, code), code)

    subject = (
        f"{code} for {source.resolve()} from {text.name} by BM25, {len(material.learnt.paragraphs)} paragraphs, "
        f"{batch.batch_size} a batch, {len(batch.pairs)} parallel sentences, {own and len(own.ids)} embeddings"
    )
    left = cut(replace(options, subject=subject), time.perf_counter() - began)
    report = train(student, step_loss, parameters=student.parameters(), options=left, folder=out / "run")
    after = _measure(student, texts, material, code)
    losses = np.array(report.losses, np.float32)
    if material.lessons:
        losses[1::2] = np.nan
    tokens, moved = tuple(pieces for pieces, _ in before.vectors), cosines_of(before.vectors, after.vectors)
    found = (*before.found, *after.found)
    change = LanguageChange(code, like, losses, before.divergence, after.divergence, tokens, moved, "ranking", found)
    measured = {"before": f"{before.divergence:.4f}", "after": f"{after.divergence:.4f}"}
    taught = "BM25, translations" if material.lessons else "BM25"
    notes = {"text": text.name, "nearest": like, "taught": taught, **measured}
    rows = (own.ids, own.values()) if own else None
    adapter = adapter_of(student.backbone, code, base=str(source), rows=rows, notes=notes)
    whole = replace(report, seconds=max(time.perf_counter() - began, report.seconds))  # the latter: after a resumed run
    return AddedLanguage(adapter, change, whole, nearest, material.unknown, "none: BM25 teaches")


class _Material(NamedTuple):
    """What is learnt from, and what is measured on.

    counts: (n_pieces,) how often each piece occurs. unknown: share of the text's pieces that the vocabulary lacks.
    """

    learnt: Ranking
    held: Ranking
    batches: list[list[ClozePair]]  # of held
    lessons: Translations | None
    counts: np.ndarray
    unknown: float


def _read(text: Path, texts: Texts, batch: RankOptions, *, seed: int) -> _Material:
    """Read a text and hold its last paragraphs out."""
    paragraphs = read_paragraphs(text)
    n_held = max(_MIN_HELD, round(_HELD_SHARE * len(paragraphs)))
    if len(paragraphs) < 2 * n_held:
        raise TrainingError(
            f"{text} is too short: of its {len(paragraphs)} long lines {n_held} are held out, and as many at least "
            "are needed to learn from; give more text, a paragraph a line"
        )
    counts = _counts(texts, paragraphs)
    unknown = unknown_share(counts, text)
    learnt = Ranking.of(texts, paragraphs[:-n_held])
    held = Ranking.of(texts, paragraphs[-n_held:], bm25=learnt.bm25)
    batches = [held.draw(random.Random(f"{seed}/held/{i}"), size=batch.batch_size) for i in range(_HELD_BATCHES)]
    lessons = Translations(batch.pairs, size=batch.n_parallel, seed=seed) if batch.pairs else None
    counts += _counts(texts, [pair.text for pair in batch.pairs])
    return _Material(learnt, held, batches, lessons, counts, unknown)


def _counts(texts: Texts, read: Sequence[str]) -> np.ndarray:
    """Count the pieces of some texts, (n_pieces,); of none, all are 0."""
    pieces = [piece for ids in texts.pieces(read) for piece in ids]
    return piece_counts(np.array(pieces, np.int64), texts.tokenizer.get_vocab_size())


class _Measured(NamedTuple):
    """Held-out material through one adapter: divergence from BM25 in nats, translations found, if any, and tokens."""

    divergence: float
    found: tuple[float, ...]
    vectors: list[tuple[tuple[str, ...], Tensor]]


def _measure(student: LateInteraction, texts: Texts, material: _Material, code: str) -> _Measured:
    """Measure on what is held out, through the adapter `code`."""
    sentences = [paragraph[:SENTENCE_CHARS] for paragraph in material.held.paragraphs[:N_SENTENCES]]
    found = (material.lessons.found(student, texts, code),) if material.lessons else ()
    divergence = _divergence(student, material.held, material.batches, code)
    return _Measured(divergence, found, embed(student, texts, sentences, code))


@torch.inference_mode()
def _divergence(student: LateInteraction, ranking: Ranking, batches: Sequence[list[ClozePair]], code: str) -> float:
    """Return the mean divergence from BM25's ranking, in nats, through the adapter `code`."""
    return float(np.mean([ranking.loss(student, pairs, code)[0].item() for pairs in batches]))


def _rank_adapters(student: LateInteraction, material: _Material) -> dict[str, float]:
    """Return the divergence of a few batches through each adapter there is, the lowest first."""
    few = material.batches[:_NEAREST_BATCHES]
    losses = {code: _divergence(student, material.held, few, code) for code in student.languages}
    nearest = dict(sorted(losses.items(), key=lambda item: item[1]))
    _LOG.info("nearest: %s", ", ".join(f"{code} {loss:.3f}" for code, loss in nearest.items()))
    return nearest
