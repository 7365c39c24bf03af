"""The training loop that every stage shares: optimiser, schedule, averaging, checkpoints, progress, energy.

A run is resumed from its last checkpoint by calling it again with the same folder; the data order depends only on
the seed and the step, so an interrupted run and an uninterrupted one see the same batches.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from xm.errors import TrainingError
from xm.train import energy
from xm.train.state import RunState, check_disk, named_shortage

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoopOptions:
    """How a stage is run.

    max_seconds: a budget of time; the run ends with it or after n_steps, whichever is first, and the learning rate
    follows whichever is nearer its end. Such a run is not repeatable. average: decay of the moving average of the
    weights that is kept in the end (0: the last weights). watts: assumed power (None: by the device). subject: what is
    trained on what; a run of another subject, seed, rate or number of steps is not resumed.
    """

    n_steps: int
    learning_rate: float
    warmup: float = 0.1  # share of the run
    clip: float = 1.0
    seed: int = 42
    save_every: int = 100
    log_every: int = 10
    max_seconds: float | None = None
    average: float = 0.0
    watts: float | None = None
    grams_per_kwh: float = energy.GRAMS_PER_KWH
    subject: str = ""


class Step(NamedTuple):
    """What one step gives: its loss, the tokens it saw, and what kind it was (a language, say)."""

    loss: Tensor
    n_tokens: int
    label: str = ""


@dataclass(frozen=True)
class RunReport:
    """What a stage took. Energy is an estimate: watts x time; carbon: energy x grams_per_kwh.

    losses: one a step. final_loss and loss_by_label are running means.
    """

    n_steps: int
    seconds: float
    n_tokens: int
    final_loss: float
    watts: float = energy.CPU_WATTS
    grams_per_kwh: float = energy.GRAMS_PER_KWH
    loss_by_label: dict[str, float] = field(default_factory=dict)
    losses: tuple[float, ...] = ()

    @property
    def kwh(self) -> float:
        """Energy in kWh."""
        return energy.kwh(self.seconds, watts=self.watts)

    @property
    def grams_co2(self) -> float:
        """Carbon in grams of CO2 (colbert-xm, equation 10)."""
        return energy.grams_co2(self.seconds, watts=self.watts, grams_per_kwh=self.grams_per_kwh)

    def as_dict(self) -> dict:
        """Return everything but the single losses, with the assumptions, ready for JSON."""
        facts = {"n_steps": self.n_steps, "seconds": round(self.seconds, 1), "n_tokens": self.n_tokens}
        by_label = {label: round(loss, 4) for label, loss in self.loss_by_label.items() if label}
        used = {"kwh": round(self.kwh, 4), "grams_co2": round(self.grams_co2, 1)}
        assumed = {"watts_assumed": self.watts, "grams_per_kwh_assumed": self.grams_per_kwh}
        return {**facts, "final_loss": round(self.final_loss, 4), "loss_by_label": by_label, **used, **assumed}


def train(
    model: torch.nn.Module,
    step_loss: Callable[[int], Step | tuple[Tensor, int]],
    *,
    parameters: Iterable[torch.nn.Parameter],
    options: LoopOptions,
    folder: Path,
    share: Callable[[torch.nn.Parameter], float] = lambda parameter: 1.0,
) -> RunReport:
    """Run `step_loss(step)` for every step and update `parameters`, on the device where they are.

    `share` is what a parameter gets of the learning rate.

    Raises:
        TrainingError: the loss is not a number, memory or disk runs out, or the folder holds another run.
    """
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    if not parameters:
        raise TrainingError("nothing to train: every parameter is frozen")
    shares = [share(parameter) for parameter in parameters]
    groups = [
        {"params": [parameter for parameter, own in zip(parameters, shares, strict=True) if own == one], "share": one}
        for one in sorted(set(shares))
    ]
    optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, eps=1e-6, weight_decay=0.01, fused=True)
    folder.mkdir(parents=True, exist_ok=True)
    check_disk(folder, model, parameters, averaged=options.average > 0)
    state = RunState(model, optimizer, parameters, options.average)
    kept = {name: getattr(options, name) for name in ("subject", "seed", "n_steps", "learning_rate")}
    state.load(folder / "state.pt", **kept)
    began = time.perf_counter() - state.seconds
    saved = state.step
    while state.step < options.n_steps and _progress(state, options) < 1:
        _update(state, step_loss, options)
        state.seconds = time.perf_counter() - began
        if (state.step - 1) % options.log_every == 0:
            _log(state, options)
        if state.step % options.save_every == 0:
            state.save(folder / "state.pt")
            saved = state.step
    if saved < state.step:
        state.save(folder / "state.pt")
    state.take_average()
    watts = energy.assumed_watts(parameters[0].device.type) if options.watts is None else options.watts
    report = RunReport(
        state.step, state.seconds, state.n_tokens, state.smooth, watts, options.grams_per_kwh, state.by_label,
        tuple(state.losses),
    )  # fmt: skip
    (folder / "report.json").write_text(json.dumps(report.as_dict(), indent=1), encoding="utf-8")
    return report


def _update(state: RunState, step_loss: Callable[[int], Step | tuple[Tensor, int]], options: LoopOptions) -> None:
    """Take one step."""
    torch.manual_seed(options.seed * 1_000_003 + state.step)
    for group in state.optimizer.param_groups:
        group["lr"] = options.learning_rate * group["share"] * _rate(_progress(state, options, ahead=1), options.warmup)
    with named_shortage(state.step):
        loss, n_tokens, label = Step(*step_loss(state.step))
        value = loss.item()
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss became {value} at step {state.step}; lower the learning rate")
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(state.parameters, options.clip)
        state.optimizer.step()
    state.note(value, n_tokens, label)


def _progress(state: RunState, options: LoopOptions, *, ahead: int = 0) -> float:
    """Return the share of the run that is over, by steps or by time; `ahead` steps are counted as done."""
    by_steps = (state.step + ahead) / options.n_steps
    return by_steps if options.max_seconds is None else max(by_steps, state.seconds / options.max_seconds)


def _rate(progress: float, warmup: float) -> float:
    """Linear warm-up, then linear decay to a tenth."""
    if progress < warmup:
        return progress / warmup
    return max(0.1, (1 - progress) / max(1e-9, 1 - warmup))


def _log(state: RunState, options: LoopOptions) -> None:
    progress = max(_progress(state, options), 1e-9)
    rate = state.n_tokens / max(state.seconds, 1e-9)
    left = state.seconds * (1 - progress) / progress
    by_label = "".join(f" {label} {loss:.3f}" for label, loss in sorted(state.by_label.items()) if label)
    message = "step %d (%.0f %%) loss %.4f %.0f tokens/s %.0f s left%s"
    _LOG.info(message, state.step, 100 * progress, state.smooth, rate, left, by_label)
