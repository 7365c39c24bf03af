"""The training loop: resuming, averaging, the schedule, shortages, the report."""

import logging
import shutil
from pathlib import Path

import pytest
import torch

from xm.errors import TrainingError
from xm.train.energy import CPU_WATTS
from xm.train.loop import LoopOptions, RunReport, Step, train

OPTIONS = LoopOptions(n_steps=6, learning_rate=0.1, save_every=2)


def a_model() -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(3, 1)


def run(folder: Path, model: torch.nn.Module, *, stop: int = 99, options: LoopOptions = OPTIONS) -> RunReport:
    """Train on noise that the step's seed draws; `stop` is the step at which the process is killed."""

    def step_loss(step: int) -> Step:
        if step >= stop:
            raise KeyboardInterrupt
        return Step((model(torch.randn(4, 3)) ** 2).mean(), 4, ("en_XX", "fr_XX")[step % 2])

    return train(model, step_loss, parameters=model.parameters(), options=options, folder=folder)


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("stop", [2, 5])
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path: Path, average: float, stop: int) -> None:
    options = LoopOptions(n_steps=6, learning_rate=0.1, save_every=2, average=average)
    whole, broken, again = a_model(), a_model(), a_model()
    expected = run(tmp_path / "whole", whole, options=options)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", broken, stop=stop, options=options)
    report = run(tmp_path / "broken", again, options=options)
    assert torch.equal(whole.weight, again.weight)
    assert not torch.equal(whole.weight, broken.weight)
    assert (report.losses, report.loss_by_label) == (expected.losses, expected.loss_by_label)
    assert (report.n_tokens, len(report.losses)) == (24, 6)


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first, second = a_model(), a_model()
    run(tmp_path, first)
    run(tmp_path, second, stop=0)
    assert torch.equal(first.weight, second.weight)


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    run(tmp_path, a_model())
    with pytest.raises(TrainingError, match="another folder"):
        run(tmp_path, a_model(), options=LoopOptions(n_steps=6, learning_rate=0.1, seed=7))
    (tmp_path / "state.pt").write_bytes(b"cut off")
    with pytest.raises(TrainingError, match="another folder"):
        run(tmp_path, a_model())


def test_the_average_is_the_decayed_sum_of_the_weights_there_were(tmp_path: Path) -> None:
    model = a_model()
    seen = []

    def step_loss(step: int) -> tuple[torch.Tensor, int]:
        seen.append(model.weight.detach().clone())
        return (model(torch.ones(1, 3)) ** 2).mean(), 1

    options = LoopOptions(n_steps=3, learning_rate=0.1, average=0.5)
    train(model, step_loss, parameters=model.parameters(), options=options, folder=tmp_path)
    last = torch.load(tmp_path / "state.pt", weights_only=True)["model"]["weight"]
    expected = seen[0]
    for step, weight in enumerate([seen[1], seen[2], last], 1):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight
    assert torch.allclose(model.weight, expected, atol=1e-6)
    assert not torch.allclose(model.weight, last)


def test_the_rate_rises_for_a_tenth_and_falls_to_a_tenth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: (rates.append(self.param_groups[0]["lr"]), step(self)))
    run(tmp_path, a_model(), options=LoopOptions(n_steps=20, learning_rate=1.0, warmup=0.1))
    assert rates[:2] == pytest.approx([0.5, 1.0])
    assert rates[10] == pytest.approx((1 - 11 / 20) / 0.9)
    assert rates[-1] == pytest.approx(0.1)


def test_a_budget_of_time_ends_the_run_and_its_report_says_how_far_it_came(tmp_path: Path) -> None:
    options = LoopOptions(n_steps=10**9, learning_rate=0.1, max_seconds=0.2)
    report = run(tmp_path, a_model(), stop=10**9, options=options)
    assert 0.2 <= report.seconds < 5
    assert report.n_steps == len(report.losses) < 10**9


def test_a_loss_that_is_not_a_number_stops_the_run_with_its_step(tmp_path: Path) -> None:
    model = a_model()
    with pytest.raises(TrainingError, match="step 0"):
        train(
            model,
            lambda step: (model(torch.full((1, 3), float("nan"))).sum(), 1),
            parameters=model.parameters(),
            options=OPTIONS,
            folder=tmp_path,
        )


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")],
    ids=["python", "torch"],
)
def test_memory_that_runs_out_is_named_with_the_step(tmp_path: Path, error: Exception) -> None:
    model = a_model()

    def step_loss(step: int) -> Step:
        if step == 1:
            raise error
        return Step(model(torch.ones(1, 3)).sum(), 1)

    with pytest.raises(TrainingError, match=r"memory ran out at step 1.*--batch-size"):
        train(model, step_loss, parameters=model.parameters(), options=OPTIONS, folder=tmp_path)


def test_torch_really_says_what_is_taken_for_a_shortage(tmp_path: Path) -> None:
    model = a_model()
    with pytest.raises(TrainingError, match="memory ran out"):
        train(
            model,
            lambda step: (torch.empty(2**60).sum(), 1),
            parameters=model.parameters(),
            options=OPTIONS,
            folder=tmp_path,
        )


def test_any_other_error_stays_what_it_is(tmp_path: Path) -> None:
    model = a_model()
    with pytest.raises(RuntimeError, match="shapes"):
        train(
            model,
            lambda step: (model(torch.ones(1, 4)).sum(), 1),
            parameters=model.parameters(),
            options=OPTIONS,
            folder=tmp_path,
        )


def test_a_disk_too_small_is_said_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A state: 4 weights, twice 4 moments, of 4 bytes each; two states stand side by side for a moment.
    needed = 2 * 3 * 4 * 4
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed - 1))
    with pytest.raises(TrainingError, match="free"):
        run(tmp_path, a_model(), stop=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed))
    run(tmp_path, a_model())


def test_a_disk_that_fills_up_leaves_the_former_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, a_model(), stop=3)
    former = (tmp_path / "state.pt").read_bytes()

    def full(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match="No space left"):
        run(tmp_path, a_model())
    assert (tmp_path / "state.pt").read_bytes() == former
    assert not list(tmp_path.glob("*.new"))


def test_progress_has_the_loss_of_each_language_speed_and_time_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    report = run(tmp_path, a_model(), options=LoopOptions(n_steps=6, learning_rate=0.1, log_every=2))
    last = caplog.messages[-1]
    assert all(part in last for part in ("step 5", "tokens/s", "s left", "en_XX", "fr_XX"))
    assert set(report.loss_by_label) == {"en_XX", "fr_XX"}
    assert report.as_dict()["watts_assumed"] == CPU_WATTS


def test_nothing_to_train_is_an_error(tmp_path: Path) -> None:
    model = a_model().requires_grad_(False)
    with pytest.raises(TrainingError, match="frozen"):
        run(tmp_path, model)
