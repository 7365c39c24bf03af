"""What a checkpoint does with texts, whichever library saved it: markers, lengths, masks, skiplist, head, pooling.

Leaves out: finding it out (xm.encoder.layouts) and doing it (xm.encoder.tokens, xm.encoder.heads).
"""

from dataclasses import dataclass
from typing import Literal

STANFORD, PYLATE, MULTI_VECTOR, SINGLE_VECTOR = (
    "Stanford",
    "PyLate",
    "sentence-transformers",
    "sentence-transformers, single vector",
)
Pooling = Literal["mean", "max", "cls"]
# Which id stands for a word of the skiplist: its first piece (Stanford); its own, or the unknown token's where it has
# none, so that unknown text is skipped too (PyLate); its own, and none where it has none (sentence-transformers).
SkipRule = Literal["first piece", "own or unknown", "own"]


@dataclass(frozen=True)
class Side:
    """How queries, or passages, are put: a marker token behind the first one, and text before each text.

    Either may be "". length: tokens at most, the marker's, the prompt's and the frame's among them.
    """

    marker: str
    prompt: str
    length: int


@dataclass(frozen=True)
class Expansion:
    """Query expansion: shorter queries are filled with masks to `length` tokens, all of them scored.

    attends: whether other tokens see the masks. token: what is filled in; None is the tokenizer's mask token.
    """

    length: int
    attends: bool
    token: str | None = None


@dataclass(frozen=True)
class Skiplist:
    """Words that are not scored."""

    words: tuple[str, ...] = ()
    rule: SkipRule = "own"
    in_queries: bool = False
    in_passages: bool = True


@dataclass(frozen=True)
class DenseFacts:
    """One linear layer of the head: activation(x W + b), and x (or x R where sizes differ) added if it is residual.

    folder: where its config.json and weights lie within the checkpoint.
    """

    folder: str
    n_in: int
    n_out: int
    bias: bool = False
    activation: str = "Identity"
    residual: bool = False


@dataclass(frozen=True)
class Recipe:
    """Everything between a text and its vectors but tokenizer and weights.

    head: the linear layers in their order; empty where pooled hidden states are the embedding. pooling: set where a
    checkpoint gives one vector a text. backbone: its folder within the checkpoint, "" for the checkpoint's own.
    strips: spaces around a text are cut off before anything else. remote_code: what config.json's auto_map asks for.
    """

    layout: str
    query: Side
    passage: Side
    expansion: Expansion | None
    skiplist: Skiplist
    head: tuple[DenseFacts, ...]
    pooling: Pooling | None = None
    backbone: str = ""
    lowercases: bool = False
    strips: bool = False
    remote_code: str = ""
