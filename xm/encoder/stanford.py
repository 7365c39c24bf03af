"""The Stanford ColBERT layout: artifact.metadata beside one safetensors file that holds backbone and `linear.weight`.

Facts: late-interaction-facts.md, sections 1.1 and 1.7. Leaves out: telling layouts apart (xm.encoder.layouts).
"""

import re
import string
from dataclasses import dataclass, fields
from pathlib import Path

from xm.encoder.files import read_json, tensor_shapes
from xm.encoder.recipe import STANFORD, DenseFacts, Expansion, Recipe, Side, Skiplist
from xm.errors import CheckpointError

METADATA = "artifact.metadata"
HEAD = "linear.weight"
_SMALLER_HEAD = re.compile(r"linear_(\d+)\.weight")  # Matryoshka sizes, as `xm train finetune --heads` saves them
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


def read_stanford(folder: Path, *, hidden: int) -> Recipe:
    """Read the recipe of a Stanford checkpoint; raises as `read_metadata` does."""
    metadata = read_metadata(folder)
    marks = tuple(string.punctuation) if metadata.mask_punctuation else ()
    return Recipe(
        layout=STANFORD,
        query=Side(metadata.query_token_id, "", metadata.query_maxlen),
        passage=Side(metadata.doc_token_id, "", metadata.doc_maxlen),
        expansion=Expansion(metadata.query_maxlen, metadata.attend_to_mask_tokens),
        skiplist=Skiplist(marks, "first piece"),
        head=(DenseFacts("", hidden, metadata.dim),),
    )


def read_metadata(folder: Path) -> Metadata:
    """Read artifact.metadata.

    Raises:
        CheckpointError: the file or keys are missing (they are named), of another type, or cannot be followed.
    """
    path = folder / METADATA
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


def head_sizes(folder: Path, recipe: Recipe) -> tuple[int, ...]:
    """Return the dims a Stanford checkpoint has heads for, its own first, by the header of its weights.

    Raises:
        CheckpointError: a head is missing or its shape is not what metadata and config say.
    """
    (head,) = recipe.head
    shapes = tensor_shapes(folder)
    if HEAD not in shapes:
        raise CheckpointError(f"{folder} has no {HEAD}, the head that maps {head.n_in} to {head.n_out} dimensions")
    found = {head.n_out: HEAD}
    for name in sorted(shapes):
        smaller = _SMALLER_HEAD.fullmatch(name)
        if smaller:
            found[int(smaller[1])] = name
    for dim, name in found.items():
        if shapes[name] != (dim, head.n_in):
            raise CheckpointError(
                f"{folder}: {name} is {list(shapes[name])}; artifact.metadata (dim) and config.json (hidden_size) "
                f"call for [{dim}, {head.n_in}]"
            )
    return (head.n_out, *sorted((dim for dim in found if dim != head.n_out), reverse=True))


def head_name(dim: int, recipe: Recipe) -> str:
    """Return the name of the tensor that is the head of this size."""
    return HEAD if dim == recipe.head[0].n_out else f"linear_{dim}.weight"
