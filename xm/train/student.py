"""The model under training: an XMOD backbone and a linear head, over batches of one language.

Training keeps every adapter in memory; encoding for search is xm.encoder's work.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import XmodModel

from xm.encoder.xmod import read_xmod, route_adapters
from xm.errors import TrainingError
from xm.train.warm_start import METADATA, save_checkpoint

_PAD, _EOS, _MARKER = 1, 2, 3  # XLM-R's ids; both Stanford markers are <unk> there (late-interaction facts, 0.1)


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """ids: (batch, n_tokens) int64. attended: (batch, n_tokens) bool. language: the adapter of all of them."""

    ids: Tensor
    attended: Tensor
    language: str


class LateInteraction(nn.Module):
    """XMOD, then a linear head without bias, then unit length."""

    def __init__(self, backbone: XmodModel, head: Tensor) -> None:
        super().__init__()
        route_adapters(backbone)
        self.backbone = backbone
        self.head = nn.Linear(head.shape[1], head.shape[0], bias=False)
        self.head.weight.data.copy_(head)
        self.languages: list[str] = list(backbone.config.languages)

    def hidden(self, batch: TokenBatch) -> Tensor:
        """Return the last hidden states, (batch, n_tokens, hidden)."""
        if batch.language not in self.languages:
            raise TrainingError(f"no adapter {batch.language!r}; this model has {', '.join(self.languages)}")
        lang_ids = torch.full((len(batch.ids),), self.languages.index(batch.language))
        mask = batch.attended.long()
        return self.backbone(input_ids=batch.ids, attention_mask=mask, lang_ids=lang_ids).last_hidden_state

    def forward(self, batch: TokenBatch) -> Tensor:
        """Return unit token embeddings, (batch, n_tokens, dim)."""
        return functional.normalize(self.head(self.hidden(batch)), dim=-1)

    def adapters(self) -> list[nn.Parameter]:
        """Return the parameters of all language adapters."""
        return [p for name, p in self.backbone.named_parameters() if "adapter_modules" in name]

    def embeddings(self) -> list[nn.Parameter]:
        """Return the parameters of the embedding layer."""
        return list(self.backbone.embeddings.parameters())

    def freeze(self, frozen: Sequence[nn.Parameter]) -> None:
        """Train everything but `frozen`."""
        for parameter in self.parameters():
            parameter.requires_grad_(True)
        for parameter in frozen:
            parameter.requires_grad_(False)


@dataclass(frozen=True, eq=False)
class Texts:
    """Turns texts into batches as the checkpoint's metadata says."""

    tokenizer: Tokenizer
    query_length: int = METADATA["query_maxlen"]
    passage_length: int = 96  # shorter than at search time: more steps, and most answers come early

    def plain(self, texts: Sequence[str], language: str, *, length: int) -> TokenBatch:
        """Encode as `<s> text </s>`, padded to the longest."""
        rows = [[0, *ids[: length - 2], _EOS] for ids in self._ids(texts)]
        return _padded(rows, language)

    def passages(self, texts: Sequence[str], language: str) -> TokenBatch:
        """Encode as `<s> [D] text </s>`, padded to the longest."""
        rows = [[0, _MARKER, *ids[: self.passage_length - 3], _EOS] for ids in self._ids(texts)]
        return _padded(rows, language)

    def queries(self, texts: Sequence[str], language: str) -> TokenBatch:
        """Encode as `<s> [Q] text </s> <mask> ...`, every one of the full query length, masks attended."""
        mask = self.tokenizer.token_to_id("<mask>")
        rows = [[0, _MARKER, *ids[: self.query_length - 3], _EOS] for ids in self._ids(texts)]
        ids = torch.tensor([row + [mask] * (self.query_length - len(row)) for row in rows])
        return TokenBatch(ids, torch.ones_like(ids, dtype=torch.bool), language)

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def _padded(rows: list[list[int]], language: str) -> TokenBatch:
    longest = -(-max(map(len, rows)) // 8) * 8  # few different shapes, or the allocator fragments
    ids = torch.tensor([row + [_PAD] * (longest - len(row)) for row in rows])
    return TokenBatch(ids, ids != _PAD, language)


def load_student(folder: Path) -> tuple[LateInteraction, Texts]:
    """Load a Stanford-layout checkpoint folder for training, with all its adapters, in float32."""
    languages = json.loads((folder / "config.json").read_text(encoding="utf-8"))["languages"]
    backbone, extra = read_xmod(folder, languages=languages)
    return LateInteraction(backbone.float(), extra["linear.weight"].float()), load_texts(folder)


def load_texts(folder: Path) -> Texts:
    """Load the tokenizer of a checkpoint folder."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise TrainingError(f"{folder} has no tokenizer.json; run `xm train warm-start` first")
    return Texts(Tokenizer.from_file(str(path)))


def save_student(student: LateInteraction, source: Path, out: Path) -> None:
    """Write `student` as a checkpoint in `out`, with the tokenizer's files of `source`."""
    out.mkdir(parents=True, exist_ok=True)
    if out.resolve() != source.resolve():
        for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            (out / name).write_bytes((source / name).read_bytes())
    save_checkpoint(student.backbone, student.head.weight, out, metadata=METADATA)
