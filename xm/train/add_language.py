"""A language added afterwards: a new adapter trained by masked language modelling on one text, all else frozen.

It starts as a copy of the nearest language's adapter: the one through which the model, as it is, predicts the text
best (X-MOD: Pfeiffer et al. 2022, section 3.2, adds languages so). Train it on the pretrained checkpoint, which left
its MLM head: it also runs in what was fine-tuned from that with embeddings frozen. A checkpoint without such a head
learns one first on the same text, through every adapter in turn so that none is favoured. Leaves out: the file's
format (xm.encoder.adapters).
"""

import copy
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xm.encoder.adapters import AdapterFile, adapter_of
from xm.errors import TrainingError
from xm.train.loop import LoopOptions, RunReport, Step, train
from xm.train.material import HELD_ROWS, AddOptions, Material
from xm.train.mlm import HEAD_FILE, MaskedBatch, MaskedLanguageModel, check_shape, load_head
from xm.train.own_rows import OwnRows, give_rows
from xm.train.student import LateInteraction, Texts, load_student
from xm.types import LanguageChange

_LOG = logging.getLogger(__name__)
_LEARNED = "learned first"
_HEAD_SHARE = 0.2  # of the run, for a head that has to be learned first
_HEAD_RATE = 3e-3  # it starts from nothing and is small; the backbone below it stands still
_NEAREST_ROWS = 16  # every adapter reads these; the same words are masked, so few are enough to rank them


@dataclass(frozen=True, eq=False)
class AddedLanguage:
    """The adapter, what it changed, and what it took.

    nearest: held-out MLM loss in nats through each adapter there was, the lowest first. unknown: share of the text's
    pieces that the vocabulary lacks. head: where the MLM head came from.
    """

    adapter: AdapterFile
    change: LanguageChange
    report: RunReport
    nearest: dict[str, float]
    unknown: float
    head: str

    def as_dict(self) -> dict:
        """Return the facts, ready for JSON."""
        change = self.change
        losses = {"loss_before": round(change.before, 4), "loss_after": round(change.after, 4)}
        moved = {"mean_cosine": round(float(np.concatenate(change.cosines).mean()), 4), "mlm_head": self.head}
        found = {"translations_found": [round(share, 4) for share in change.found]} if change.found else {}
        table = {code: round(loss, 4) for code, loss in self.nearest.items()}
        sizes = {"unknown": round(self.unknown, 4), "n_rows": self.adapter.facts.n_rows, "nearest_table": table}
        named = {"language": change.code, "nearest": change.nearest}
        return {**named, **losses, **moved, **found, **sizes, **self.report.as_dict()}


def add_language(
    source: Path, out: Path, *, code: str, text: Path, batch: AddOptions, options: LoopOptions, device: str = "auto"
) -> AddedLanguage:
    """Train an adapter `code` for the checkpoint `source` on `text`; states of the run go to `out`/run.

    Raises:
        TrainingError: the language is there already, the text is too short or in another script, or the run cannot
            go on.
    """
    began = time.perf_counter()
    student, tokens = load_student(source, device=device)
    check_new(student, code, source)
    check_shape(student, length=batch.length, masked=batch.masked)
    material = Material(text, tokens, batch, code=code, seed=options.seed)
    options = replace(options, subject=f"{code} for {source.resolve()} from {text.name}, {len(material.rows)} rows")
    model = MaskedLanguageModel(student, material.counts, seen_only=True)
    head, head_seconds = _find_head(model, material, batch.head or source / "run" / HEAD_FILE, out, options)
    nearest = _rank(model, material)
    like = next(iter(nearest))
    held = material.held_batches(HELD_ROWS)
    before, vectors = mlm_loss(model, held, like), embed(student, tokens, material.sentences, like)
    grow(student, code, like=like)
    own = _choose_learned(model, code, material.counts if batch.embeddings else None, with_head=head == _LEARNED)

    def step_loss(step: int) -> Step:
        masked = _through(material.batch(step), code)
        return Step(model(masked), masked.tokens.ids.numel(), code)

    left = cut(options, time.perf_counter() - began)
    report = train(model, step_loss, parameters=model.parameters(), options=left, folder=out / "run")
    after, cosines = mlm_loss(model, held, code), cosines_of(vectors, embed(student, tokens, material.sentences, code))
    losses = np.array(report.losses, np.float32)
    change = LanguageChange(code, like, losses, before, after, tuple(pieces for pieces, _ in vectors), cosines)
    rows = (own.ids, own.values()) if own else None
    notes = {"text": text.name, "nearest": like, "loss_before": f"{before:.4f}", "loss_after": f"{after:.4f}"}
    adapter = adapter_of(student.backbone, code, base=str(source), rows=rows, notes=notes)
    whole = max(time.perf_counter() - began, head_seconds + report.seconds)  # the latter is more after a resumed run
    return AddedLanguage(adapter, change, replace(report, seconds=whole), nearest, material.unknown, head)


def check_new(student: LateInteraction, code: str, source: Path) -> None:
    """Raise TrainingError if the language is there."""
    if code in student.languages:
        raise TrainingError(f"{source} has an adapter {code} already; an adapter is added, never replaced")


def grow(student: LateInteraction, code: str, *, like: str) -> None:
    """Give every layer an adapter `code` that is a copy of the adapter `like`."""
    for layer in student.backbone.encoder.layer:
        layer.output.adapter_modules[code] = copy.deepcopy(layer.output.adapter_modules[like])
    student.languages.append(code)
    student.backbone.config.languages = list(student.languages)


@torch.inference_mode()
def mlm_loss(model: MaskedLanguageModel, batches: list[MaskedBatch], language: str) -> float:
    """Return the mean loss in nats of masked pieces, read through the adapter `language`."""
    losses = [float(model(_through(batch, language))) for batch in batches]
    return float(np.average(losses, weights=[len(batch.labels) for batch in batches]))


def _through(batch: MaskedBatch, language: str) -> MaskedBatch:
    """Read the same masked rows through another adapter."""
    return replace(batch, tokens=replace(batch.tokens, language=language))


def _rank(model: MaskedLanguageModel, material: Material) -> dict[str, float]:
    """Return the MLM loss through each adapter there is, untrained, the lowest first."""
    sample = material.held_batches(_NEAREST_ROWS)
    losses = {language: mlm_loss(model, sample, language) for language in model.student.languages}
    nearest = dict(sorted(losses.items(), key=lambda item: item[1]))
    _LOG.info("nearest: %s", ", ".join(f"{language} {loss:.3f}" for language, loss in nearest.items()))
    return nearest


def _find_head(
    model: MaskedLanguageModel, material: Material, stored: Path, out: Path, options: LoopOptions
) -> tuple[str, float]:
    """Load the MLM head, or learn one if there is none; say where it is from, and the seconds it took."""
    if stored.is_file():
        load_head(model, stored)
        return str(stored), 0.0
    return _LEARNED, _learn_head(model, material, out / "run" / "head", options)


def _learn_head(model: MaskedLanguageModel, material: Material, folder: Path, options: LoopOptions) -> float:
    """Learn an MLM head with the backbone standing still, and return the seconds it took."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for parameter in model.head_parameters():
        parameter.requires_grad_(True)
    languages = model.student.languages

    def step_loss(step: int) -> Step:
        batch = _through(material.batch(step), languages[step % len(languages)])
        with torch.no_grad():
            states = model.student.hidden(batch.tokens).flatten(0, 1)[batch.positions]
        return Step(model.loss_of(states, batch.labels), batch.tokens.ids.numel(), "head")

    short = None if options.max_seconds is None else _HEAD_SHARE * options.max_seconds
    n_steps = max(1, round(_HEAD_SHARE * options.n_steps))
    own = replace(options, learning_rate=_HEAD_RATE, n_steps=n_steps, max_seconds=short, average=0.0)
    report = train(model, step_loss, parameters=model.parameters(), options=own, folder=folder)
    return report.seconds


def _choose_learned(
    model: MaskedLanguageModel, code: str, counts: np.ndarray | None, *, with_head: bool
) -> OwnRows | None:
    """Freeze everything but the adapter, the rows of pieces that `counts` has, and a head that is still young."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for layer in model.student.backbone.encoder.layer:
        layer.output.adapter_modules[code].requires_grad_(True)
    for parameter in model.head_parameters():
        parameter.requires_grad_(with_head)
    return None if counts is None else give_rows(model.student.backbone.embeddings, code, counts)


def cut(options: LoopOptions, seconds: float) -> LoopOptions:
    """Take the seconds that are gone off the budget, if there is one."""
    if options.max_seconds is None:
        return options
    return replace(options, max_seconds=max(1.0, options.max_seconds - seconds))


@torch.inference_mode()
def embed(
    student: LateInteraction, tokens: Texts, sentences: list[str], code: str
) -> list[tuple[tuple[str, ...], Tensor]]:
    """Return the pieces of each sentence and their unit embeddings, (n_tokens, dim)."""
    found = []
    for sentence in sentences:
        batch = tokens.plain([sentence], code, length=64)
        kept = batch.attended[0]
        pieces = tuple(tokens.tokenizer.id_to_token(i) for i in batch.ids[0][kept].tolist())
        found.append((pieces, student(batch)[0][kept].cpu()))
    return found


def cosines_of(
    before: list[tuple[tuple[str, ...], Tensor]], after: list[tuple[tuple[str, ...], Tensor]]
) -> tuple[np.ndarray, ...]:
    """Return the cosine of each token's embedding with its former one."""
    return tuple((old * new).sum(dim=1).numpy() for (_, old), (_, new) in zip(before, after, strict=True))
