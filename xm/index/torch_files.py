"""Torch's .pt files of plain tensors, read and written without torch: a zip of a pickle and of each tensor's numbers.

The pickle may name two functions and the number types, nothing else, so that a foreign file can run no code.
Leaves out: files from before torch 1.6, and objects other than a dense tensor or a tuple of them.
"""

import io
import math
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from xm.errors import IndexFolderError

# Torch's name of a storage -> the numbers in it, little-endian as every machine it runs on writes them.
_DTYPES = {
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "ByteStorage": "|u1",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
}
_FOLDER = "archive"  # what torch calls the folder inside the zip


def read_tensors(path: Path) -> tuple[np.ndarray, ...]:
    """Read the tensors of a file that torch.save wrote of one tensor or of a tuple of them.

    Raises:
        IndexFolderError: the file is missing, damaged, or holds anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            folder = name.removesuffix("data.pkl")
            found = _Unpickler(archive, folder, archive.read(name)).load()
    except OSError as error:
        raise IndexFolderError(f"{path} cannot be read: {error.strerror or error}") from error
    except _DAMAGES as error:
        raise IndexFolderError(f"{path} is no file of plain tensors as torch saves them: {error}") from error
    tensors = found if isinstance(found, tuple) else (found,)
    if not tensors or not all(isinstance(tensor, np.ndarray) for tensor in tensors):
        raise IndexFolderError(f"{path} holds a {type(found).__name__}; expected a tensor or a tuple of tensors")
    return tensors


def write_tensors(path: Path, *arrays: np.ndarray, as_tuple: bool = False) -> None:
    """Write arrays so that torch.load, weights_only too, gives back one tensor, or (`as_tuple`) a tuple of them."""
    if len(arrays) != 1 and not as_tuple:
        raise ValueError(f"one tensor or as_tuple; got {len(arrays)} arrays")
    body = b"".join(_pickled(array, key) for key, array in enumerate(arrays))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{_FOLDER}/data.pkl", b"\x80\x02" + (b"(" + body + b"t" if as_tuple else body) + b".")
        archive.writestr(f"{_FOLDER}/byteorder", "little")
        for key, array in enumerate(arrays):
            with archive.open(f"{_FOLDER}/data/{key}", "w", force_zip64=True) as file:
                file.write(np.ascontiguousarray(array, dtype=_DTYPES[_storage_of(array)]).reshape(-1).view(np.uint8))
        archive.writestr(f"{_FOLDER}/version", "3\n")


# Whatever a broken zip or pickle makes of the functions below; none of them runs what the file brings along.
_DAMAGES = (
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    MemoryError,
    NotImplementedError,
)


class _Unpickler(pickle.Unpickler):
    """Reads tensors; any name in the pickle but those of a tensor is an error, before anything is called."""

    def __init__(self, archive: zipfile.ZipFile, folder: str, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self._archive = archive
        self._folder = folder

    def find_class(self, module: str, name: str) -> Any:
        """Give the stand-in for a name."""
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no part of a plain tensor")

    def persistent_load(self, pid: Any) -> np.ndarray:
        """Read the numbers of a storage: ("storage", type, key, device, count)."""
        _, dtype, key, _, n_numbers = pid
        numbers = np.frombuffer(self._archive.read(f"{self._folder}data/{key}"), np.dtype(dtype))
        if len(numbers) != n_numbers:
            raise pickle.UnpicklingError(f"storage {key} has {len(numbers)} numbers, expected {n_numbers}")
        return numbers


def _rebuild(numbers: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> np.ndarray:
    """Put a tensor together; only those whose numbers lie in order, without gaps, are saved by colbert-ai."""
    n_numbers = math.prod(shape)
    expected = [math.prod(shape[place + 1 :]) for place in range(len(shape))]
    is_plain = all(n == 1 or one == other for n, one, other in zip(shape, strides, expected, strict=True))
    if offset < 0 or min(shape, default=0) < 0 or offset + n_numbers > len(numbers) or not is_plain:
        raise pickle.UnpicklingError(f"a tensor of shape {shape}, strides {strides} does not lie in one piece")
    return numbers[offset : offset + n_numbers].reshape(shape)


def _storage_of(array: np.ndarray) -> str:
    """Torch's name for the numbers of an array."""
    kind = array.dtype.newbyteorder("<")
    return next(name for name, dtype in _DTYPES.items() if np.dtype(dtype) == kind)


def _pickled(array: np.ndarray, key: int) -> bytes:
    """The opcodes that make torch rebuild a tensor: a call with its storage, offset, shape, strides and two more."""
    strides = [math.prod(array.shape[place + 1 :]) for place in range(array.ndim)]
    storage = b"(" + _text("storage") + _name("torch", _storage_of(array)) + _text(str(key)) + _text("cpu")
    storage += _number(array.size) + b"tQ"
    hooks = b"\x89" + _name("collections", "OrderedDict") + b")R"  # needs no gradient; no hooks
    shapes = b"".join(b"(" + b"".join(map(_number, numbers)) + b"t" for numbers in (array.shape, strides))
    return _name("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + _number(0) + shapes + hooks + b"tR"


def _name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def _number(number: int) -> bytes:
    data = int(number).to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data
