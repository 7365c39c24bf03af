"""Checkpoints that can be built again anywhere, byte for byte: small files are stored, weights come from a hash.

Runs in the project and in each library's environment, hence numpy and safetensors alone. Leaves out: what the weights
mean; they are noise, large enough that adapters and neighbouring tokens change a vector visibly.
"""

import hashlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

STORE = Path(__file__).resolve().parents[2] / "tests" / "golden" / "checkpoints"
_SHAPES = "weights.json"  # in the store, in place of the weights: their names, shapes and digest
_SCALE = np.float32(11 / 32)  # half the width of the noise; its standard deviation is then 0.2


def pin_weights(folder: Path) -> None:
    """Replace every tensor of every safetensors file below `folder` by its pinned values, as float32."""
    for path in sorted(folder.rglob("*.safetensors")):
        _write(path, _shapes_of(path), folder)


def store(folder: Path, name: str) -> None:
    """Keep a pinned checkpoint under its name: all small files, JSON without its blanks, but shapes for weights."""
    target = STORE / name
    shutil.rmtree(target, ignore_errors=True)
    shapes = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.suffix == ".safetensors":
            shapes[inside.as_posix()] = _shapes_of(path)
        elif path.is_file() and path.name != "README.md":
            (target / inside).parent.mkdir(parents=True, exist_ok=True)
            text = path.read_text(encoding="utf-8")
            if path.suffix in (".json", ".metadata"):
                text = json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
                text = text.replace(f"{Path.cwd()}/", "")  # colbert-ai notes where it ran
            (target / inside).write_text(text + "\n", encoding="utf-8")
    facts = {"digest": digest_of(folder), "files": shapes}
    (target / _SHAPES).write_text(json.dumps(facts, separators=(",", ":")) + "\n", encoding="utf-8")


def build(name: str, folder: Path) -> Path:
    """Write the stored checkpoint `name` into `folder`, weights included, and return it.

    Raises:
        ValueError: the weights came out other than those the golden numbers were made with.
    """
    shutil.copytree(STORE / name, folder, ignore=shutil.ignore_patterns(_SHAPES))
    facts = json.loads((STORE / name / _SHAPES).read_text(encoding="utf-8"))
    for file, shapes in facts["files"].items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        _write(folder / file, shapes, folder)
    found = digest_of(folder)
    if found != facts["digest"]:
        raise ValueError(f"the weights of {name} have digest {found}; the golden numbers belong to {facts['digest']}")
    return folder


def stored() -> list[str]:
    """Return the names of the stored checkpoints."""
    return sorted(path.name for path in STORE.iterdir())


def digest_of(folder: Path) -> str:
    """SHA-256 over name, shape and values of all tensors below `folder`."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        with safe_open(path, framework="np") as tensors:
            for name in sorted(tensors.keys()):
                values = tensors.get_tensor(name)
                total.update(f"{path.relative_to(folder).as_posix()} {name} {values.shape} {values.dtype}".encode())
                total.update(values.astype("<f4").tobytes())
    return total.hexdigest()


def _shapes_of(path: Path) -> dict[str, list[int]]:
    with safe_open(path, framework="np") as tensors:
        return {name: tensors.get_slice(name).get_shape() for name in sorted(tensors.keys())}


def _write(path: Path, shapes: dict[str, list[int]], folder: Path) -> None:
    file = path.relative_to(folder).as_posix()
    tensors = {name: _noise(f"{file} {name}", shape) for name, shape in shapes.items()}
    save_file(tensors, path, metadata={"format": "pt"})


def _noise(name: str, shape: list[int]) -> np.ndarray:
    """Return uniform noise from a hash of `name`, around 1 for the scale of a layer norm, else around 0."""
    raw = hashlib.shake_256(name.encode()).digest(2 * math.prod(shape))
    noise = np.frombuffer(raw, "<i2").astype(np.float32) / np.float32(2**15) * _SCALE
    return (noise + np.float32(name.lower().endswith(("norm.weight", "norm.gamma")))).reshape(shape)
