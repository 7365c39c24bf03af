"""The state of a training run: what is saved to resume it, the moving average of its weights, and what it may lack.

Leaves out: the checkpoint that a stage ships (xm.train.student).
"""

import logging
import pickle
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from xm.errors import TrainingError

_LOG = logging.getLogger(__name__)
_NEAR = 0.05  # weight of the newest loss in a running mean
# How torch's allocators put it: CPU on Linux, CPU on Windows and macOS, CUDA.
_SHORTAGES = ("can't allocate memory", "not enough memory", "out of memory")


class RunState:
    """Model, optimiser, average and counters of one run, saved and loaded together."""

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        parameters: Sequence[torch.nn.Parameter],
        average: float,
    ) -> None:
        """Start at step 0; `average` is the decay of the moving average of `parameters`, 0 for none."""
        self.model, self.optimizer, self.parameters = model, optimizer, list(parameters)
        self.decay = average
        self.averaged = [parameter.detach().clone() for parameter in parameters] if average else []
        self.step, self.n_tokens = 0, 0
        self.seconds, self.smooth = 0.0, 0.0
        self.by_label: dict[str, float] = {}
        self.losses: list[float] = []
        self._kept: dict[str, Any] = {}

    def note(self, loss: float, n_tokens: int, label: str) -> None:
        """Count a step that was taken, and let the average follow."""
        self.smooth = _mean(self.smooth if self.step else loss, loss)
        self.by_label[label] = _mean(self.by_label.get(label, loss), loss)
        self.losses.append(loss)
        self.step += 1
        self.n_tokens += n_tokens
        decay = min(self.decay, (1 + self.step) / (10 + self.step))  # the first weights are soon forgotten
        for mean, parameter in zip(self.averaged, self.parameters, strict=False):  # empty where none is kept
            mean.lerp_(parameter.detach(), 1 - decay)

    def take_average(self) -> None:
        """Put the averaged weights into the model, if an average was kept."""
        for mean, parameter in zip(self.averaged, self.parameters, strict=False):
            parameter.data.copy_(mean)

    def load(self, path: Path, **kept: Any) -> None:
        """Go on from a saved state, if there is one; `kept` are options that must not have changed.

        Raises:
            TrainingError: the file is damaged, or of a run with other options or another model.
        """
        self._kept = {**kept, "average": self.decay}
        if not path.is_file():
            return
        try:
            saved = torch.load(path, weights_only=True, map_location=self.parameters[0].device)
            if saved["kept"] != self._kept:
                raise _not_resumable(path, f"it was made with {saved['kept']}, now asked for {self._kept}")
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
        except (RuntimeError, ValueError, KeyError, EOFError, OSError, pickle.UnpicklingError) as error:
            raise _not_resumable(path, str(error)[:200]) from error
        for mean, tensor in zip(self.averaged, saved["averaged"], strict=True):
            mean.copy_(tensor)
        for name in ("step", "seconds", "n_tokens", "smooth", "by_label", "losses"):
            setattr(self, name, saved[name])
        _LOG.info("resuming at step %d", self.step)

    def save(self, path: Path) -> None:
        """Write the state beside its place, then rename it.

        Raises:
            TrainingError: the disk is full or may not be written; the former state is still there.
        """
        counters = {
            name: getattr(self, name) for name in ("step", "seconds", "n_tokens", "smooth", "by_label", "losses")
        }
        tensors = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged,
        }
        new = path.with_suffix(".new")
        try:
            torch.save({**tensors, **counters, "kept": self._kept}, new)
            new.replace(path)
        except (OSError, RuntimeError) as error:  # torch's own writer raises RuntimeError for a full disk
            new.unlink(missing_ok=True)
            message = f"cannot write the checkpoint {path}: {error}; free some disk space, and the run can be resumed"
            raise TrainingError(message) from error


def check_disk(
    folder: Path, model: torch.nn.Module, parameters: Sequence[torch.nn.Parameter], *, averaged: bool
) -> None:
    """Raise TrainingError unless two states fit on the disk: a new one is written beside the former.

    A state holds the model, two moments of each trained parameter, and their average if one is kept.
    """
    trained = sum(parameter.numel() * parameter.element_size() for parameter in parameters)
    whole = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    former = folder / "state.pt"
    needed = 2 * (whole + (3 if averaged else 2) * trained) - (former.stat().st_size if former.is_file() else 0)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise TrainingError(
            f"{folder} has {free / 1e6:.0f} MB free; a run's checkpoints need {needed / 1e6:.0f} MB; free some space"
        )


@contextmanager
def named_shortage(step: int) -> Iterator[None]:
    """Turn what an allocator raises when memory is short into a TrainingError that says where and what to do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or any(words in str(error) for words in _SHORTAGES):
            message = f"memory ran out at step {step}: {str(error)[:200]}; make the batch smaller (--batch-size) or its"
            raise TrainingError(f"{message} texts shorter; the run resumes from its last checkpoint") from error
        raise


def _not_resumable(path: Path, why: str) -> TrainingError:
    return TrainingError(f"{path} cannot be resumed: {why}; remove it or name another folder to start anew")


def _mean(mean: float, newest: float) -> float:
    return (1 - _NEAR) * mean + _NEAR * newest
