"""Where training runs and in which number format: a CUDA device if there is one, else the processor.

Leaves out: several devices at once.
"""

from contextlib import AbstractContextManager

import torch

from xm.encoder.precision import fast_precision
from xm.errors import TrainingError

DEVICES = ("auto", "cpu", "cuda")


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of a name of DEVICES; `auto` takes CUDA where it is present.

    Raises:
        TrainingError: CUDA is asked for and is not there.
    """
    present = torch.cuda.is_available()
    if name == "cuda" and not present:
        raise TrainingError("--device cuda, but torch finds no CUDA device here; leave the option out to use the CPU")
    return torch.device("cuda" if present and name != "cpu" else "cpu")


def mixed_precision(device: torch.device) -> AbstractContextManager:
    """Return the context in which layers run: bfloat16 on CUDA, on a CPU only where it is measured to be faster.

    Losses stay outside of it: a score is a sum of 32 similarities, and bfloat16 has three digits.
    """
    faster = device.type == "cuda" or fast_precision() == "bfloat16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=faster)
