"""Training is tested in float32 on every machine: what is compared with the encoder must not depend on the processor.

Which machines train in bfloat16 is tests/train/test_device.py's.
"""

from collections.abc import Iterator

import pytest

from xm.encoder import precision
from xm.train import device


@pytest.fixture(autouse=True, scope="package")
def float32() -> Iterator[None]:
    """Let bfloat16 be fast neither in training nor in encoding."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (device, precision):
            patch.setattr(module, "fast_precision", lambda: "float32")
        yield
