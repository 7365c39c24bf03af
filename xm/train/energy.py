"""What a run costs in energy and carbon: an estimate from its time, with the assumptions it rests on.

Nothing is metered: power is assumed (`--watts`), and so is what a kilowatt-hour emits (`--grams-per-kwh`).
"""

GRAMS_PER_KWH = 400.0  # assumed carbon intensity, near the world's mean of recent years
CPU_WATTS = 60.0  # assumed draw of two busy server cores with their memory
CUDA_WATTS = 500.0  # assumed draw of one accelerator at work with its share of the host


def assumed_watts(device: str) -> float:
    """Return the power assumed for a device type (`cpu`, `cuda`) where nothing is given."""
    return CUDA_WATTS if device == "cuda" else CPU_WATTS


def kwh(seconds: float, *, watts: float) -> float:
    """Return energy in kilowatt-hours: power times time."""
    return watts * seconds / 3.6e6


def grams_co2(seconds: float, *, watts: float, grams_per_kwh: float) -> float:
    """Return carbon dioxide in grams: power x time x carbon intensity.

    colbert-xm, equation 10, prints a plus where this product is meant: watts and grams cannot be added.
    """
    return kwh(seconds, watts=watts) * grams_per_kwh
