"""The training loop that every stage shares: optimiser, schedule, checkpoints, progress, energy.

A run is resumed from its last checkpoint by calling it again with the same folder; the data order depends only on
the seed and the step, so an interrupted run and an uninterrupted one see the same batches.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from xm.errors import TrainingError

_LOG = logging.getLogger(__name__)
WATTS = 60.0  # assumed draw of two busy server cores and their memory
GRAMS_PER_KWH = 400.0  # assumed carbon intensity, near the world's mean of recent years


@dataclass(frozen=True)
class LoopOptions:
    """How a stage is run."""

    n_steps: int
    learning_rate: float
    warmup: float = 0.1  # share of the steps
    clip: float = 1.0
    seed: int = 42
    save_every: int = 100
    log_every: int = 10


@dataclass(frozen=True)
class RunReport:
    """What a stage took. Energy is an estimate: WATTS x time; carbon: energy x GRAMS_PER_KWH."""

    n_steps: int
    seconds: float
    n_tokens: int
    final_loss: float

    @property
    def kwh(self) -> float:
        """Energy in kWh: WATTS times the time."""
        return WATTS * self.seconds / 3.6e6

    @property
    def grams_co2(self) -> float:
        """Carbon in grams of CO2 (colbert-xm, equation 10, with the product it means instead of the plus it prints)."""
        return self.kwh * GRAMS_PER_KWH

    def as_dict(self) -> dict:
        """Return everything, with the assumptions, ready for JSON."""
        facts = {"n_steps": self.n_steps, "seconds": round(self.seconds, 1), "n_tokens": self.n_tokens}
        energy = {"kwh": round(self.kwh, 4), "grams_co2": round(self.grams_co2, 1), "watts_assumed": WATTS}
        return {**facts, "final_loss": round(self.final_loss, 4), **energy, "grams_per_kwh_assumed": GRAMS_PER_KWH}


def train(
    model: torch.nn.Module,
    step_loss: Callable[[int], tuple[torch.Tensor, int]],
    *,
    parameters: Iterable[torch.nn.Parameter],
    options: LoopOptions,
    folder: Path,
) -> RunReport:
    """Run `step_loss(step) -> (loss, tokens seen)` for every step and update `parameters`.

    Raises:
        TrainingError: the loss is not a number, or the disk is full when a checkpoint is written.
    """
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=options.learning_rate, eps=1e-6, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, options))
    folder.mkdir(parents=True, exist_ok=True)
    start, seconds, n_tokens, smooth = _resume(folder / "state.pt", model, optimizer, schedule)
    began = time.perf_counter()
    for step in range(start, options.n_steps):
        torch.manual_seed(options.seed * 1_000_003 + step)
        loss, seen = step_loss(step)
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss became {loss.item()} at step {step}; lower the learning rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, options.clip)
        optimizer.step()
        schedule.step()
        n_tokens += seen
        smooth = loss.item() if step == 0 else 0.95 * smooth + 0.05 * loss.item()
        spent = seconds + time.perf_counter() - began
        if step % options.log_every == 0:
            rate = n_tokens / max(spent, 1e-9)
            left = (options.n_steps - step - 1) * spent / (step + 1)
            _LOG.info("step %d/%d loss %.4f %.0f tokens/s %.0f s left", step, options.n_steps, smooth, rate, left)
        if (step + 1) % options.save_every == 0 or step + 1 == options.n_steps:
            facts = {"step": step + 1, "seconds": spent, "n_tokens": n_tokens, "smooth": smooth}
            _save(folder / "state.pt", model, optimizer, schedule, facts)
    spent = seconds + time.perf_counter() - began
    report = RunReport(options.n_steps, spent, n_tokens, smooth)
    (folder / "report.json").write_text(json.dumps(report.as_dict(), indent=1), encoding="utf-8")
    return report


def _rate(step: int, options: LoopOptions) -> float:
    """Linear warm-up, then linear decay to a tenth."""
    warmup = max(1, int(options.warmup * options.n_steps))
    if step < warmup:
        return (step + 1) / warmup
    return max(0.1, (options.n_steps - step) / max(1, options.n_steps - warmup))


def _resume(path: Path, model, optimizer, schedule) -> tuple[int, float, int, float]:  # noqa: ANN001
    if not path.is_file():
        return 0, 0.0, 0, 0.0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    _LOG.info("resuming at step %d", state["step"])
    return state["step"], state["seconds"], state["n_tokens"], state["smooth"]


def _save(path: Path, model, optimizer, schedule, facts: dict) -> None:  # noqa: ANN001
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    new = path.with_suffix(".new")
    try:
        torch.save({**state, **facts}, new)
    except (OSError, RuntimeError) as error:
        new.unlink(missing_ok=True)
        raise TrainingError(f"cannot write the checkpoint {path}: {error}; free some disk space and resume") from error
    new.replace(path)
