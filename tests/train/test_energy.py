"""Energy and carbon: products, by hand."""

import pytest

from xm.train.energy import CPU_WATTS, CUDA_WATTS, assumed_watts, grams_co2, kwh
from xm.train.loop import RunReport


def test_sixty_watts_for_an_hour_are_sixty_watt_hours() -> None:
    assert kwh(3600.0, watts=60.0) == pytest.approx(0.06)
    assert grams_co2(3600.0, watts=60.0, grams_per_kwh=400.0) == pytest.approx(24.0)


def test_carbon_is_a_product_twice_any_factor_is_twice_the_carbon() -> None:
    once = grams_co2(100.0, watts=50.0, grams_per_kwh=300.0)
    assert grams_co2(200.0, watts=50.0, grams_per_kwh=300.0) == pytest.approx(2 * once)
    assert grams_co2(100.0, watts=100.0, grams_per_kwh=300.0) == pytest.approx(2 * once)
    assert grams_co2(100.0, watts=50.0, grams_per_kwh=600.0) == pytest.approx(2 * once)
    assert grams_co2(100.0, watts=50.0, grams_per_kwh=0.0) == 0.0  # a sum, as the paper prints it, would not be


def test_a_report_says_what_it_assumed() -> None:
    report = RunReport(n_steps=1, seconds=1800.0, n_tokens=5, final_loss=0.5, watts=700.0, grams_per_kwh=50.0)
    facts = report.as_dict()
    assert (facts["kwh"], facts["grams_co2"]) == (0.35, 17.5)
    assert (facts["watts_assumed"], facts["grams_per_kwh_assumed"]) == (700.0, 50.0)


def test_an_accelerator_is_assumed_to_draw_more_than_the_processor() -> None:
    assert (assumed_watts("cpu"), assumed_watts("cuda")) == (CPU_WATTS, CUDA_WATTS)
    assert CUDA_WATTS > CPU_WATTS
