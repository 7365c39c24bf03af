"""One tiny checkpoint, its encoder and its twin, for all tests of the encoder."""

from pathlib import Path

import pytest
import torch

from tests.encoder.twin import Twin
from tests.tiny import build_checkpoint
from xm.encoder import load_encoder
from xm.encoder.encoder import Encoder
from xm.options import EncodeOptions

torch.set_num_threads(1)  # matrices this small only wait for a second thread, long on a busy machine

EXACT = EncodeOptions(exact=True)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(scope="session")
def encoder(tiny_folder: Path) -> Encoder:
    return load_encoder(str(tiny_folder), options=EXACT)


@pytest.fixture(scope="session")
def twin(tiny_folder: Path) -> Twin:
    return Twin(tiny_folder)
