"""The training loop: resuming, bad losses, the report."""

import pytest
import torch

from xm.errors import TrainingError
from xm.train.loop import GRAMS_PER_KWH, WATTS, LoopOptions, RunReport, train


def _run(folder, model, *, n_steps, total=6):
    def step_loss(step):
        if step >= n_steps:
            raise KeyboardInterrupt
        noise = torch.randn(4, 3)  # seeded by the step, so a resumed run draws the same
        return (model(noise) ** 2).mean(), 4

    options = LoopOptions(n_steps=total, learning_rate=0.1, save_every=2)
    return train(model, step_loss, parameters=model.parameters(), options=options, folder=folder)


def _model():
    torch.manual_seed(0)
    return torch.nn.Linear(3, 1)


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path):
    whole, broken = _model(), _model()
    _run(tmp_path / "whole", whole, n_steps=6)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "broken", broken, n_steps=4)
    again = _model()
    report = _run(tmp_path / "broken", again, n_steps=6)
    assert torch.equal(whole.weight, again.weight)
    assert not torch.equal(whole.weight, broken.weight)
    assert report.n_tokens == 24


def test_a_loss_that_is_not_a_number_stops_the_run_with_its_step(tmp_path):
    model = _model()
    with pytest.raises(TrainingError, match="step 0"):
        train(
            model,
            lambda step: (model(torch.full((1, 3), float("nan"))).sum(), 1),
            parameters=model.parameters(),
            options=LoopOptions(n_steps=1, learning_rate=0.1),
            folder=tmp_path,
        )


def test_energy_is_power_times_time_and_carbon_is_energy_times_intensity():
    report = RunReport(n_steps=1, seconds=3600.0, n_tokens=1, final_loss=0.0)
    assert report.kwh == pytest.approx(WATTS / 1000)
    assert report.grams_co2 == pytest.approx(WATTS / 1000 * GRAMS_PER_KWH)
