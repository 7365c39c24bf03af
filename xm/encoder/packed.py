"""The forward pass of XMOD, XLM-R and BERT over texts laid end to end: no padding is computed, no mask is built.

Every product runs once over all tokens; attention alone goes text by text, those of one length together. Weights,
modules and the order of steps are transformers' own. Leaves out: other backbones, which run through transformers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention
from transformers import PreTrainedConfig, PreTrainedModel

from xm.encoder.tokens import TextTokens


@dataclass(frozen=True)
class Run:
    """Neighbouring texts of one length. n_keys: how many of each text's first tokens are attended to."""

    start: int
    n_texts: int
    length: int
    n_keys: int


@dataclass(frozen=True, eq=False)
class Packed:
    """Texts end to end. ids, positions: (n_tokens,) int64, positions as the model's table counts them.

    languages: neighbouring tokens of one language, as its code and how many they are.
    """

    ids: Tensor
    positions: Tensor
    runs: tuple[Run, ...]
    languages: tuple[tuple[str, int], ...]


@dataclass(frozen=True, eq=False)
class Rows:
    """Word embeddings of one language. ids: (n_rows,) int64, rising. values: (n_rows, hidden) float32."""

    ids: Tensor
    values: Tensor


def can_pack(config: PreTrainedConfig) -> bool:
    """Say whether `run_packed` knows this backbone."""
    return (
        config.model_type in ("xmod", "xlm-roberta", "bert")
        and getattr(config, "hidden_act", None) == "gelu"
        and not getattr(config, "is_decoder", False)
    )


def pack(texts: Sequence[TextTokens], codes: Sequence[str], config: PreTrainedConfig) -> Packed:
    """Lay texts end to end.

    Args:
        texts: in an order that has those of one language, and within it those of one length, side by side. A text's
            attended tokens are its first ones.
        codes: the language of each.
        config: of the backbone.
    """
    runs, start = [], 0
    for (length, n_keys), alike in groupby(texts, key=lambda text: (len(text.ids), int(text.attended.sum()))):
        n_texts = sum(1 for _ in alike)
        runs.append(Run(start, n_texts, length, n_keys))
        start += n_texts * length
    ids = np.concatenate([text.ids for text in texts]).astype(np.int64)
    positions = np.concatenate([_positions(text.ids, config) for text in texts])
    pairs = groupby(zip(codes, texts, strict=True), key=lambda pair: pair[0])
    languages = tuple((code, sum(len(text.ids) for _, text in group)) for code, group in pairs)
    return Packed(torch.from_numpy(ids), torch.from_numpy(positions), tuple(runs), languages)


def batches(codes: Sequence[str], lengths: Sequence[int], *, token_budget: int) -> Iterator[list[int]]:
    """Group positions into batches of one code whose padded size stays within a budget.

    Longest first, so that texts of a batch are of like length and memory peaks at once. A text longer than the budget
    gets a batch of its own.
    """
    order = sorted(range(len(codes)), key=lambda position: (codes[position], -lengths[position]))
    batch: list[int] = []
    for position in order:
        if batch:
            longest = lengths[batch[0]]
            if codes[position] != codes[batch[0]] or (len(batch) + 1) * longest > token_budget:
                yield batch
                batch = []
        batch.append(position)
    if batch:
        yield batch


def run_packed(model: PreTrainedModel, packed: Packed, rows: Mapping[str, Rows] | None = None) -> Tensor:
    """Return the last hidden states, (n_tokens, hidden) in the precision of the layers.

    In float32 the values are transformers', but for the rounding of sums in another order.

    Args:
        model: a backbone that `can_pack`, with the adapters of all languages in `packed` if it has any; its embedding
            tables are float32.
        packed: the texts.
        rows: word embeddings that languages have of their own.
    """
    tables = model.embeddings
    words = tables.word_embeddings(packed.ids)
    for (code, ids), (_, place) in zip(_parts(packed, packed.ids), _parts(packed, words), strict=True):
        if rows and code in rows:
            own = torch.isin(ids, rows[code].ids)
            place[own] = rows[code].values[torch.searchsorted(rows[code].ids, ids[own])]
    hidden = words + tables.token_type_embeddings.weight[0]
    hidden = tables.LayerNorm(hidden + tables.position_embeddings(packed.positions))
    hidden = hidden.to(model.encoder.layer[0].output.LayerNorm.weight.dtype)
    for layer in model.encoder.layer:
        hidden = _layer(layer, hidden, packed)
    return model.encoder.LayerNorm(hidden) if _is_pre_norm(layer) else hidden


def _layer(layer: nn.Module, hidden: Tensor, packed: Packed) -> Tensor:
    """One transformer layer; the norms stand where XMOD's flags put them, and behind each part elsewhere."""
    before = _is_pre_norm(layer)
    part, norm = layer.attention.output, layer.attention.output.LayerNorm
    mixed = part.dense(_attend(layer.attention.self, norm(hidden) if before else hidden, packed.runs)) + hidden
    residual = mixed if before else norm(mixed)
    part, norm = layer.output, layer.output.LayerNorm
    inner = gelu(layer.intermediate.dense(norm(residual) if before else residual))
    hidden = part.dense(inner) + residual
    if hasattr(part, "adapter_modules"):
        adapted = [_adapt(part, rows, code) for code, rows in _parts(packed, hidden)]
        hidden = adapted[0] if len(adapted) == 1 else torch.cat(adapted)
    return hidden if before else norm(hidden)


def _parts(packed: Packed, tokens: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Give each language's code and its part of `tokens`, which it shares memory with."""
    codes, sizes = zip(*packed.languages, strict=True)
    return zip(codes, tokens.split(sizes), strict=True)


def _adapt(output: nn.Module, hidden: Tensor, code: str) -> Tensor:
    """Add what the language adapter makes of `hidden`."""
    normed = hidden
    if output.adapter_layer_norm is not None:
        normed = output.adapter_layer_norm(hidden)
    elif output.adapter_reuse_layer_norm:
        normed = output.LayerNorm(hidden)
    adapter = output.adapter_modules[code]
    return adapter.dense2(gelu(adapter.dense1(normed))) + (normed if output.ln_before_adapter else hidden)


def _attend(attention: nn.Module, hidden: Tensor, runs: Sequence[Run]) -> Tensor:
    """Let each token attend to those of its own text; (n_tokens, hidden)."""
    projected = (attention.query(hidden), attention.key(hidden), attention.value(hidden))
    mixed = []
    for run in runs:
        shape = (run.n_texts, run.length, attention.num_attention_heads, attention.attention_head_size)
        rows = slice(run.start, run.start + run.n_texts * run.length)
        query, key, value = (part[rows].view(shape).transpose(1, 2) for part in projected)
        found = scaled_dot_product_attention(query, key[:, :, : run.n_keys], value[:, :, : run.n_keys])
        mixed.append(found.transpose(1, 2).reshape(run.n_texts * run.length, -1))
    return mixed[0] if len(mixed) == 1 else torch.cat(mixed)


def _is_pre_norm(layer: nn.Module) -> bool:
    return getattr(layer, "pre_norm", False)


def _positions(ids: np.ndarray, config: PreTrainedConfig) -> np.ndarray:
    """Count positions as the backbone does: BERT from 0; the others from behind the padding id, which keeps its own."""
    if config.model_type == "bert":
        return np.arange(len(ids))
    kept = ids != config.pad_token_id
    return np.cumsum(kept) * kept + config.pad_token_id
