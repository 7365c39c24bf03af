"""Which layout a checkpoint folder is in, and what its metadata says. No weights are read and no torch is needed.

Detection goes by files, never by names. Leaves out: fetching from the hub (xm.encoder.hub) and the tokenizer.
"""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from xm.errors import CheckpointError

SUPPORTED = "the Stanford ColBERT layout: config.json, artifact.metadata, tokenizer.json, model.safetensors with a head"
_SHORTEST = 4  # CLS, marker, one piece of text, SEP


@dataclass(frozen=True)
class Metadata:
    """What artifact.metadata says about tokens and vectors, under its own keys; keys beyond these are ignored.

    query_maxlen and doc_maxlen are in tokens, markers included.
    """

    query_token_id: str
    doc_token_id: str
    query_maxlen: int
    doc_maxlen: int
    dim: int
    similarity: str
    mask_punctuation: bool
    attend_to_mask_tokens: bool


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: the file is missing, is no JSON, or holds something else than an object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} has no {path.name}; supported is {SUPPORTED}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds a JSON {type(values).__name__}; expected an object")
    return values


def check_layout(folder: Path) -> None:
    """Raise CheckpointError, naming the layout found, unless it is one that can be loaded."""
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    if (folder / "artifact.metadata").is_file() or config.get("architectures") == ["HF_ColBERT"]:
        # Code beside an XMOD checkpoint (colbert-xm's custom.py) only chooses languages; elsewhere it is the model.
        if config.get("auto_map") and config.get("model_type") != "xmod":
            raise CheckpointError(f"{folder} needs remote code ({config['auto_map']}), which is not yet supported")
        return
    if (folder / "modules.json").is_file():
        sentence = folder / "config_sentence_transformers.json"
        is_pylate = sentence.is_file() and read_json(sentence).get("model_type") == "ColBERT"
        name = "PyLate" if is_pylate else "sentence-transformers"
        raise CheckpointError(f"{folder} is in the {name} layout, which is not yet supported; supported is {SUPPORTED}")
    if config:
        raise CheckpointError(
            f"{folder} is a bare encoder ({config.get('model_type')}) without late-interaction head or metadata; "
            f"fine-tune it first, or give {SUPPORTED}"
        )
    raise CheckpointError(f"{folder} has no config.json, so it is no checkpoint; supported is {SUPPORTED}")


def read_metadata(folder: Path) -> Metadata:
    """Read artifact.metadata.

    Raises:
        CheckpointError: the file or keys are missing (they are named), of another type, or cannot be followed.
    """
    path = folder / "artifact.metadata"
    values = read_json(path)
    missing = [entry.name for entry in fields(Metadata) if entry.name not in values]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}; a guess could silently change every score")
    for entry in fields(Metadata):
        if type(values[entry.name]) is not entry.type:  # not isinstance: True is an int too
            raise CheckpointError(f"{path}: {entry.name} is {values[entry.name]!r}; expected a {entry.type.__name__}")
    metadata = Metadata(**{entry.name: values[entry.name] for entry in fields(Metadata)})
    if metadata.similarity != "cosine":
        raise CheckpointError(f"{path}: similarity is {metadata.similarity!r}; only 'cosine' is supported")
    if values.get("interaction", "colbert") != "colbert":
        raise CheckpointError(f"{path}: interaction is {values['interaction']!r}; only 'colbert' is supported")
    if min(metadata.query_maxlen, metadata.doc_maxlen) < _SHORTEST or metadata.dim < 1:
        raise CheckpointError(
            f"{path}: query_maxlen {metadata.query_maxlen}, doc_maxlen {metadata.doc_maxlen}, dim {metadata.dim}; "
            f"lengths must be at least {_SHORTEST} tokens, dim at least 1"
        )
    return metadata


def check_weights(folder: Path) -> Path:
    """Return the path of model.safetensors.

    Raises:
        CheckpointError: it is not there; a pickle in its place is named and never opened.
    """
    path = folder / "model.safetensors"
    if path.is_file():
        return path
    if (folder / "model.safetensors.index.json").is_file():
        raise CheckpointError(f"{folder} is split into several weight files; join them into one model.safetensors")
    pickles = sorted(entry.name for entry in folder.glob("*.bin"))
    if pickles:
        raise CheckpointError(
            f"{folder} has weights only as a pickle ({', '.join(pickles)}), which can run code when it is opened; "
            "convert it to model.safetensors with a tool you trust"
        )
    raise CheckpointError(f"{folder} has no model.safetensors; supported is {SUPPORTED}")


def check_head(folder: Path, *, dim: int, hidden: int) -> None:
    """Check the head `linear.weight` (dim, hidden) by the header of model.safetensors; no weights are read.

    Raises:
        CheckpointError: the head is missing or its shape is not what metadata and config say.
    """
    path = check_weights(folder)
    head = _read_header(path).get("linear.weight")
    if not isinstance(head, dict):
        raise CheckpointError(f"{path} has no linear.weight, the head that maps {hidden} to {dim} dimensions")
    if head.get("shape") != [dim, hidden]:
        raise CheckpointError(
            f"{path}: linear.weight is {head.get('shape')}; artifact.metadata (dim) and config.json (hidden_size) "
            f"call for [{dim}, {hidden}]"
        )


def _read_header(path: Path) -> dict[str, Any]:
    """Read the JSON header of a safetensors file: 8 bytes of little-endian length, then the text."""
    n_bytes = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > n_bytes - 8:
            raise CheckpointError(f"{path} is truncated or damaged: {n_bytes} bytes with a header of {length}")
        text = file.read(length)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is truncated or damaged: its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path} is damaged: its header is a JSON {type(header).__name__}, not an object")
    return header
