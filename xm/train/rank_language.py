"""A language added by learning to rank: a new adapter that BM25 teaches on one text, all else frozen.

For search this gets further in minutes than masked language modelling does (xm.train.add_language), and needs no MLM
head, but the checkpoint has to know late interaction already. The adapter starts as a copy of the one through which
the model, as it is, ranks most like BM25.
"""

import logging
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from xm.encoder.adapters import adapter_of
from xm.errors import TrainingError
from xm.train.add_language import AddedLanguage, check_new, cosines_of, cut, embed, grow
from xm.train.bm25 import Ranking
from xm.train.cloze import ClozePair, read_paragraphs
from xm.train.loop import LoopOptions, Step, train
from xm.train.material import N_SENTENCES, SENTENCE_CHARS, unknown_share
from xm.train.packing import piece_counts
from xm.train.student import LateInteraction, Texts, load_student
from xm.types import LanguageChange

_LOG = logging.getLogger(__name__)
_HELD_SHARE, _MIN_HELD = 0.05, 16  # of the paragraphs; so many at least
_NEAREST_BATCHES, _HELD_BATCHES = 2, 6  # of held-out pairs: every adapter reads the former


def rank_language(
    source: Path, out: Path, *, code: str, text: Path, size: int, options: LoopOptions, device: str = "auto"
) -> AddedLanguage:
    """Train an adapter `code` for the checkpoint `source` on `text`; states of the run go to `out`/run.

    Losses are divergences from BM25's ranking, in nats, summed over the heads that the checkpoint has.

    Args:
        size: queries of a batch.

    Raises:
        TrainingError: the language is there already, the text is too short or in another script, or the run cannot
            go on.
    """
    began = time.perf_counter()
    student, texts = load_student(source, device=device)
    check_new(student, code, source)
    material = _read(text, texts)
    ranking, measured = material.learnt, material.held
    held = [measured.draw(random.Random(f"{options.seed}/held/{i}"), size=size) for i in range(_HELD_BATCHES)]
    nearest = _rank_adapters(student, measured, held[:_NEAREST_BATCHES])
    like = next(iter(nearest))
    sentences = [paragraph[:SENTENCE_CHARS] for paragraph in measured.paragraphs[:N_SENTENCES]]
    before, vectors = _divergence(student, measured, held, like), embed(student, texts, sentences, like)
    grow(student, code, like=like)
    student.freeze([p for name, p in student.named_parameters() if f"adapter_modules.{code}." not in name])

    def step_loss(step: int) -> Step:
        pairs = ranking.draw(random.Random(f"{options.seed}/{step}"), size=size)
        return Step(*ranking.loss(student, pairs, code), code)

    subject = (
        f"{code} for {source.resolve()} from {text.name} by BM25, {len(ranking.paragraphs)} paragraphs, {size} a batch"
    )
    left = cut(replace(options, subject=subject), time.perf_counter() - began)
    report = train(student, step_loss, parameters=student.parameters(), options=left, folder=out / "run")
    after = _divergence(student, measured, held, code)
    moved = cosines_of(vectors, embed(student, texts, sentences, code))
    losses = np.array(report.losses, np.float32)
    change = LanguageChange(code, like, losses, before, after, tuple(shown for shown, _ in vectors), moved, "ranking")
    notes = {"text": text.name, "nearest": like, "taught": "BM25", "before": f"{before:.4f}", "after": f"{after:.4f}"}
    found = adapter_of(student.backbone, code, base=str(source), rows=None, notes=notes)
    whole = max(time.perf_counter() - began, report.seconds)  # the latter is more after a resumed run
    return AddedLanguage(found, change, replace(report, seconds=whole), nearest, material.unknown, "none: BM25 teaches")


class _Material(NamedTuple):
    """One text: what is learnt from, what is measured on, and the share of its pieces that the vocabulary lacks."""

    learnt: Ranking
    held: Ranking
    unknown: float


def _read(text: Path, texts: Texts) -> _Material:
    """Read a text and hold its last paragraphs out."""
    paragraphs = read_paragraphs(text)
    n_held = max(_MIN_HELD, round(_HELD_SHARE * len(paragraphs)))
    if len(paragraphs) < 2 * n_held:
        raise TrainingError(
            f"{text} is too short: of its {len(paragraphs)} long lines {n_held} are held out, and as many at least "
            "are needed to learn from; give more text, a paragraph a line"
        )
    counts = piece_counts(np.concatenate(texts.pieces(paragraphs)), texts.tokenizer.get_vocab_size())
    learnt = Ranking.of(texts, paragraphs[:-n_held])
    held = Ranking.of(texts, paragraphs[-n_held:], bm25=learnt.bm25)
    return _Material(learnt, held, unknown_share(counts, text))


@torch.inference_mode()
def _divergence(student: LateInteraction, ranking: Ranking, batches: list[list[ClozePair]], code: str) -> float:
    """Return the mean divergence from BM25's ranking, in nats, through the adapter `code`."""
    return float(np.mean([ranking.loss(student, pairs, code)[0].item() for pairs in batches]))


def _rank_adapters(student: LateInteraction, ranking: Ranking, batches: list[list[ClozePair]]) -> dict[str, float]:
    """Return the divergence through each adapter there is, the lowest first."""
    losses = {code: _divergence(student, ranking, batches, code) for code in student.languages}
    nearest = dict(sorted(losses.items(), key=lambda item: item[1]))
    _LOG.info("nearest: %s", ", ".join(f"{code} {loss:.3f}" for code, loss in nearest.items()))
    return nearest
