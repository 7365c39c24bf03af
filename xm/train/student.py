"""The model under training: an XMOD backbone and a linear head, over batches of one language.

Training keeps every adapter in memory; encoding for search is xm.encoder's work.
"""

import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import XmodModel

from xm.encoder.xmod import read_xmod, route_adapters
from xm.errors import TrainingError
from xm.train.device import choose_device, mixed_precision
from xm.train.own_rows import OwnRows
from xm.train.warm_start import METADATA, save_checkpoint

_CPU = torch.device("cpu")
_PAD, _EOS, _UNK = 1, 2, 3  # XLM-R's ids
_HEAD = "linear.weight"  # the full head; a smaller one of 32 is linear_32.weight


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """Texts of one language, padded.

    ids: (batch, n_tokens) int64. attended, scored: (batch, n_tokens) bool; scored None: what is attended.
    language: the adapter of all of them.
    """

    ids: Tensor
    attended: Tensor
    language: str
    scored: Tensor | None = None


class LateInteraction(nn.Module):
    """XMOD, then a linear head without bias, then unit length.

    `smaller` are heads of fewer dims beside the full one, each with weights of its own (Matryoshka sizes, untied).
    """

    def __init__(self, backbone: XmodModel, head: Tensor, smaller: Sequence[Tensor] = ()) -> None:
        super().__init__()
        route_adapters(backbone)
        self.backbone = backbone
        self.head = _linear(head)
        self.smaller = nn.ModuleList(_linear(weight) for weight in smaller)
        self.languages: list[str] = list(backbone.config.languages)
        self.n_layers: int = backbone.config.num_hidden_layers

    def hidden(self, batch: TokenBatch) -> Tensor:
        """Return the last hidden states, (batch, n_tokens, hidden) float32, whatever precision the layers run in."""
        if batch.language not in self.languages:
            raise TrainingError(f"no adapter {batch.language!r}; this model has {', '.join(self.languages)}")
        lang_ids = torch.full((len(batch.ids),), self.languages.index(batch.language))
        mask = batch.attended.long()
        words = self.backbone.embeddings.word_embeddings
        if isinstance(words, OwnRows):
            words.reads(batch.language)
        with mixed_precision(batch.ids.device):
            states = self.backbone(input_ids=batch.ids, attention_mask=mask, lang_ids=lang_ids).last_hidden_state
        return states.float()

    def forward(self, batch: TokenBatch) -> Tensor:
        """Return unit token embeddings, (batch, n_tokens, dim)."""
        return functional.normalize(self.head(self.hidden(batch)), dim=-1)

    def every_size(self, batch: TokenBatch) -> list[Tensor]:
        """Return what `forward` does, and the same through each smaller head."""
        hidden = self.hidden(batch)
        return [functional.normalize(head(hidden), dim=-1) for head in (self.head, *self.smaller)]

    def adapters(self) -> list[nn.Parameter]:
        """Return the parameters of all language adapters."""
        return [p for name, p in self.backbone.named_parameters() if "adapter_modules" in name]

    def embeddings(self) -> list[nn.Parameter]:
        """Return the parameters of the embedding layer."""
        return list(self.backbone.embeddings.parameters())

    def set_sizes(self, dims: Sequence[int]) -> None:
        """Keep heads of `dims` beside the full one; a new head starts as that one's first rows.

        Raises:
            TrainingError: a size is below 1 or above the full one.
        """
        full = self.head.weight.detach()
        if any(not 0 < dim <= len(full) for dim in dims):
            raise TrainingError(f"heads of {sorted(dims)} dims: expected sizes from 1 to the full one, {len(full)}")
        there = {len(layer.weight): layer for layer in self.smaller}
        wanted = sorted(set(dims) - {len(full)})
        self.smaller = nn.ModuleList(there.get(dim) or _linear(full[:dim]).to(full.device) for dim in wanted)

    def heads(self) -> list[nn.Parameter]:
        """Return the weights of every head, the full one first."""
        return [layer.weight for layer in (self.head, *self.smaller)]

    def freeze(self, frozen: Sequence[nn.Parameter]) -> None:
        """Train everything but `frozen`."""
        for parameter in self.parameters():
            parameter.requires_grad_(True)
        for parameter in frozen:
            parameter.requires_grad_(False)


@dataclass(frozen=True, eq=False)
class Texts:
    """Turns texts into batches as artifact.metadata says, on the device of the model.

    passage_length is shorter than at search time: more steps, and most answers come early.
    """

    tokenizer: Tokenizer
    metadata: Mapping[str, Any] = field(default_factory=METADATA.copy)
    passage_length: int = 96
    device: torch.device = _CPU

    @property
    def longest(self) -> int:
        """Tokens a passage is cut to."""
        return min(self.passage_length, self.metadata["doc_maxlen"])

    @property
    def passage_room(self) -> int:
        """Pieces of a passage that are read: all but `<s> [D]` and `</s>`."""
        return self.longest - 3

    @property
    def query_room(self) -> int:
        """Pieces of a query that are read: all but `<s> [Q]` and `</s>`."""
        return self.metadata["query_maxlen"] - 3

    def plain(self, texts: Sequence[str], language: str, *, length: int) -> TokenBatch:
        """Encode as `<s> text </s>`, padded to the longest."""
        return self._padded([[0, *ids[: length - 2], _EOS] for ids in self.pieces(texts)], language)

    def passages(self, texts: Sequence[str], language: str) -> TokenBatch:
        """Encode as `<s> [D] text </s>`, padded to the longest; punctuation is not scored if the metadata says so."""
        marker = self._marker("doc_token_id")
        batch = self._padded([[0, marker, *ids[: self.passage_room], _EOS] for ids in self.pieces(texts)], language)
        return TokenBatch(batch.ids, batch.attended, language, batch.attended & ~torch.isin(batch.ids, self._skipped))

    def queries(self, texts: Sequence[str], language: str) -> TokenBatch:
        """Encode as `<s> [Q] text </s> <mask> ...`, every one of the full query length, all of it scored.

        Masks are attended to if the metadata says so.
        """
        marker, length = self._marker("query_token_id"), self.metadata["query_maxlen"]
        mask = self.tokenizer.token_to_id("<mask>")
        rows = [[0, marker, *ids[: self.query_room], _EOS] for ids in self.pieces(texts)]
        ids = torch.tensor([row + [mask] * (length - len(row)) for row in rows], device=self.device)
        scored = torch.ones_like(ids, dtype=torch.bool)
        ends = torch.tensor([[len(row)] for row in rows], device=self.device)
        unmasked = torch.arange(length, device=self.device) < ends
        return TokenBatch(ids, scored if self.metadata["attend_to_mask_tokens"] else unmasked, language, scored)

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of the pieces of each text, uncut and without special tokens."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def _marker(self, key: str) -> int:
        """Look a marker up; XLM-R's vocabulary has neither, so both are <unk> there (late-interaction facts, 0.1)."""
        found = self.tokenizer.token_to_id(self.metadata[key])
        return _UNK if found is None else found

    @cached_property
    def _skipped(self) -> Tensor:
        """The ids not scored in passages: the first piece of each punctuation mark, as the original has it."""
        marks = string.punctuation if self.metadata["mask_punctuation"] else ""
        firsts = {i for mark in marks for i in self.tokenizer.encode(mark, add_special_tokens=False).ids[:1]}
        return torch.tensor(sorted(firsts), dtype=torch.int64, device=self.device)

    def _padded(self, rows: list[list[int]], language: str) -> TokenBatch:
        longest = -(-max(map(len, rows)) // 8) * 8  # few different shapes, or the allocator fragments
        ids = torch.tensor([row + [_PAD] * (longest - len(row)) for row in rows], device=self.device)
        return TokenBatch(ids, ids != _PAD, language)


def load_student(folder: Path, *, device: str = "auto") -> tuple[LateInteraction, Texts]:
    """Load a Stanford-layout checkpoint folder for training, with all its adapters, in float32.

    Args:
        device: one of xm.train.device.DEVICES; the model and the batches of its texts are put there.
    """
    place = choose_device(device)
    backbone, extra = read_xmod(folder, languages=None)
    if _HEAD not in extra:
        raise TrainingError(f"{folder} has no {_HEAD}; training starts from a late-interaction checkpoint")
    smaller = sorted((tensor.float() for name, tensor in extra.items() if name.startswith("linear_")), key=len)
    student = LateInteraction(backbone.float(), extra[_HEAD].float(), smaller)
    return student.to(place), load_texts(folder, device=place)


def load_texts(folder: Path, *, device: torch.device = _CPU) -> Texts:
    """Load the tokenizer of a checkpoint folder; its batches will be on `device`."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise TrainingError(f"{folder} has no tokenizer.json; run `xm train warm-start` first")
    return Texts(Tokenizer.from_file(str(path)), _metadata_of(folder), device=device)


def _metadata_of(folder: Path) -> dict[str, Any]:
    """Return what a folder's artifact.metadata says; colbert-xm's values where a checkpoint is only being made."""
    path = folder / "artifact.metadata"
    return {**METADATA, **(json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {})}


def _linear(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight.data.copy_(weight)
    return layer


def save_student(
    student: LateInteraction, source: Path, out: Path, *, metadata: Mapping[str, Any] | None = None
) -> None:
    """Write `student` as a checkpoint in `out`, with the tokenizer's files of `source`.

    Args:
        metadata: what artifact.metadata is to say; None: what that of `source` does.

    Raises:
        TrainingError: the disk is full or `out` may not be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if out.resolve() != source.resolve():
            copy_tokenizer(source, out)
        save_checkpoint(student.backbone, student.heads(), out, metadata=metadata or _metadata_of(source))
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"cannot write the checkpoint {out}: {error}; free some disk space, and resume") from error


def copy_tokenizer(source: Path, out: Path) -> None:
    """Copy those of the tokenizer's files that a checkpoint folder has; newer ones lack the last."""
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (source / name).is_file():
            (out / name).write_bytes((source / name).read_bytes())
