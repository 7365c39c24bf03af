"""Turn an English BERT-style sentence encoder into an XMOD with one adapter a language and a new vocabulary.

With `adapter_reuse_layer_norm`, `adapter_layer_norm` and `ln_before_adapter` off and adapters that add nothing yet,
XMOD's layer is BERT's layer, so the encoder keeps all it knows; only its vocabulary changes (xm.train.lexicon).
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoTokenizer, XmodConfig, XmodModel

from xm.errors import TrainingError
from xm.train.data import ParallelPair, read_lines
from xm.train.lexicon import cooccurrence_embeddings, translate_embeddings, translation_table
from xm.train.tokenizer import MASK, SPECIALS

# What our special tokens start as. The markers are <unk>, and queries end in masks: as [UNK] and [MASK] they would
# spoil every score until they are trained; as [CLS], masks would be the same in every query, and learn nothing.
_STARTS = dict(zip((*SPECIALS, MASK), ("[CLS]", "[PAD]", "[SEP]", "[CLS]", "?"), strict=True))
_ENGLISH_WEIGHT = 2.0  # a piece shared with English leans to its English meaning: fine-tuning sees English only
_CHARS_FOR_COUNTS = 6_000_000
_ENGLISH_SHARE = 0.2  # of a piece's occurrences: the teacher's own pieces stay as they are above it
_COUNTED = 1_000  # characters of a line: less than the 512 pieces that a teacher reads
_MEANING = 0.7  # of a piece's length is what it means, before it gets a direction of its own


def xmod_config(
    bert: Mapping, *, languages: Sequence[str], vocab_size: int, reduction: int = 6, n_layers: int | None = None
) -> XmodConfig:
    """Describe the XMOD whose layers equal the first `n_layers` (None: all) of the BERT config `bert`."""
    if bert.get("model_type") != "bert":
        raise TrainingError(f"a warm start needs a BERT checkpoint; this one is {bert.get('model_type')!r}")
    n_theirs = bert["num_hidden_layers"]
    if n_layers is not None and not 1 <= n_layers <= n_theirs:
        raise TrainingError(f"{n_layers} layers of a teacher that has {n_theirs}; ask for 1 to {n_theirs}")
    return XmodConfig(
        architectures=["HF_ColBERT"],
        vocab_size=vocab_size,
        hidden_size=bert["hidden_size"],
        num_hidden_layers=n_layers or n_theirs,
        num_attention_heads=bert["num_attention_heads"],
        intermediate_size=bert["intermediate_size"],
        hidden_act=bert["hidden_act"],
        hidden_dropout_prob=0.0,  # small data seen a few times at most; and dropout is slow on a CPU
        attention_probs_dropout_prob=0.0,
        layer_norm_eps=bert["layer_norm_eps"],
        max_position_embeddings=bert["max_position_embeddings"] + 2,  # XMOD counts positions from 2
        type_vocab_size=1,
        languages=list(languages),
        default_language="en_XX" if "en_XX" in languages else languages[0],
        adapter_reduction_factor=reduction,
        adapter_layer_norm=False,
        adapter_reuse_layer_norm=False,
        ln_before_adapter=False,
        pre_norm=False,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )


def model_from_bert(teacher: Path, config: XmodConfig, words: np.ndarray) -> XmodModel:
    """Copy every shared weight; `words` (vocab_size, hidden) become the word embeddings; adapters add zero."""
    model = XmodModel(config, add_pooling_layer=False)
    source = {name.removeprefix("bert."): tensor for name, tensor in load_file(teacher / "model.safetensors").items()}
    state = model.state_dict()
    for name, tensor in state.items():
        if name == "embeddings.word_embeddings.weight":
            tensor.copy_(torch.from_numpy(words))
        elif name == "embeddings.position_embeddings.weight":
            tensor[2:].copy_(source[name])
            tensor[:2].zero_()
        elif name == "embeddings.token_type_embeddings.weight":
            tensor.copy_(source[name][:1])
        elif "adapter_modules" in name and ".dense2." in name:
            tensor.zero_()
        elif name in source:
            tensor.copy_(source[name])
    model.load_state_dict(state)
    return model


def teacher_pieces(teacher: Path, text: Path, *, n: int) -> dict[str, float]:
    """Return the teacher's `n` most frequent pieces in an English text, as ours, with their log probabilities in it.

    Pieces that hold anything but letters and digits are left out.
    """
    old = AutoTokenizer.from_pretrained(teacher)
    counts = Counter(piece for line in read_lines(text) for piece in old.tokenize(line[:_COUNTED]))
    frequent = [(piece, count) for piece, count in counts.most_common() if piece.removeprefix("##").isalnum()]
    total = counts.total()
    return {_as_ours(piece): math.log(count / total) for piece, count in frequent[:n]}


def _as_ours(piece: str) -> str:
    return piece.removeprefix("##") if piece.startswith("##") else f"▁{piece}"


def word_embeddings(
    teacher: Path, tokenizer: Tokenizer, texts: Mapping[str, Path], pairs: Sequence[ParallelPair], *, seed: int = 0
) -> np.ndarray:
    """Build the new vocabulary's embeddings, (vocab_size, hidden) float32, from the teacher's and the translations.

    The teacher's own pieces stay as they are where English uses them too; all others are set apart (`set_apart`).
    """
    n_pieces = tokenizer.get_vocab_size()
    english_words, own, norm = _english_embeddings(teacher, tokenizer)
    english_static, english_counts = _static(tokenizer, texts["en_XX"], n_pieces)
    english = _ENGLISH_WEIGHT * english_counts * (np.abs(english_words).sum(axis=1) > 0)
    weighted, total = english[:, None] * english_words, english.copy()
    for code, path in texts.items():
        if code == "en_XX":
            continue
        encoded = _encode_pairs(tokenizer, [pair for pair in pairs if pair.code == code])
        if not encoded:
            continue
        static, counts = _static(tokenizer, path, n_pieces)
        table = translation_table(encoded, n_pieces=n_pieces)
        # A piece spoken by English too may keep its English embedding; rare English pieces are no good targets.
        target = english_words * (english_counts >= 10)[:, None]
        vectors, known = translate_embeddings(table, static, english_static, target)
        seen = np.maximum(counts, np.asarray(table.sum(axis=1)).ravel()) * known
        weighted += seen[:, None] * vectors
        total += seen
    words = np.where(total[:, None] > 0, weighted / np.maximum(total, 1e-9)[:, None], english_words)
    empty = np.abs(words).sum(axis=1) == 0
    words[empty] = words[~empty].mean(axis=0)
    words = set_apart(words, norm=norm, seed=seed)
    kept = own & (english > _ENGLISH_SHARE * total)
    words[kept] = english_words[kept]
    specials = [tokenizer.token_to_id(special) for special in _STARTS]
    words[specials] = english_words[specials]
    return words.astype(np.float32)


def set_apart(words: np.ndarray, *, norm: float, seed: int) -> np.ndarray:
    """Bring rows up to about the length `norm`: first away from their mean, then each in a direction of its own.

    A mean of many embeddings is short and near all others: its layer would see little but positions, and MaxSim could
    not tell a piece from its neighbours. Random directions are nearly orthogonal, so a piece matches itself best.
    """
    mean = words.mean(axis=0)
    away = words - mean
    longer = _MEANING * norm / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9)
    words = mean + away * np.maximum(longer, 1.0)
    random = np.random.default_rng(seed).standard_normal(words.shape)
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    lacking = norm**2 - (words**2).sum(axis=1, keepdims=True)
    return words + np.sqrt(np.maximum(lacking, 0)) * random


def _english_embeddings(teacher: Path, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray, float]:
    """Embed each piece as the mean of the teacher's pieces it decomposes into; zero where there are none.

    Returns:
        (vocab_size, hidden) embeddings; (vocab_size,) bool, True for a piece that the teacher has too; and the median
        length of the teacher's embeddings.
    """
    old = AutoTokenizer.from_pretrained(teacher)
    old_ids = old.get_vocab()  # once: the tokenizer builds this dictionary anew at each look
    if lacking := set(_STARTS.values()) - set(old_ids):
        raise TrainingError(f"{teacher}: its vocabulary lacks {', '.join(sorted(lacking))}; a warm start needs BERT's")
    source = load_file(teacher / "model.safetensors")
    table = next(t for name, t in source.items() if name.endswith("word_embeddings.weight")).float().numpy()
    words = np.zeros((tokenizer.get_vocab_size(), table.shape[1]), dtype=np.float32)
    own = np.zeros(len(words), bool)
    for piece, index in tokenizer.get_vocab().items():
        if piece in _STARTS:
            words[index] = table[old_ids[_STARTS[piece]]]
            continue
        text = piece.removeprefix("▁")
        ids = old(text, add_special_tokens=False)["input_ids"]
        if not piece.startswith("▁") and f"##{text}" in old_ids:
            ids = [old_ids[f"##{text}"]]
        ids = [i for i in ids if i != old.unk_token_id]
        if ids:
            words[index] = table[ids].mean(axis=0)
            own[index] = len(ids) == 1
    return words, own, float(np.median(np.linalg.norm(table, axis=1)))


def _static(tokenizer: Tokenizer, path: Path, n_pieces: int) -> tuple[np.ndarray, np.ndarray]:
    """Return static embeddings of one language and its piece counts."""
    lines, taken = [], 0
    for line in read_lines(path):
        lines.append(line)
        taken += len(line)
        if taken > _CHARS_FOR_COUNTS:
            break
    ids = [np.array(e.ids) for e in tokenizer.encode_batch(lines, add_special_tokens=False) if e.ids]
    counts = np.bincount(np.concatenate(ids), minlength=n_pieces)
    return cooccurrence_embeddings(ids, n_pieces=n_pieces), counts


def _encode_pairs(tokenizer: Tokenizer, pairs: Sequence[ParallelPair]) -> list[tuple[np.ndarray, np.ndarray]]:
    foreign = tokenizer.encode_batch([pair.text for pair in pairs], add_special_tokens=False)
    english = tokenizer.encode_batch([pair.english for pair in pairs], add_special_tokens=False)
    return [(np.array(f.ids), np.array(e.ids)) for f, e in zip(foreign, english, strict=True) if f.ids and e.ids]


def save_checkpoint(model: XmodModel, heads: Sequence[torch.Tensor], folder: Path, *, metadata: Mapping) -> None:
    """Write the Stanford ColBERT layout in half precision; the tokenizer's files must already be in `folder`.

    Args:
        heads: (dim, hidden) linear layers without bias: the full one, then smaller ones, each saved under its dim.
        metadata: what `artifact.metadata` says (query_maxlen, doc_maxlen, attend_to_mask_tokens, ...).
    """
    tensors = {f"roberta.{name}": tensor for name, tensor in model.state_dict().items() if "position_ids" not in name}
    tensors["linear.weight"] = heads[0]
    tensors |= {f"linear_{len(head)}.weight": head for head in heads[1:]}
    halves = {name: tensor.detach().to("cpu", torch.float16).contiguous() for name, tensor in tensors.items()}
    save_file(halves, folder / "model.safetensors.new", metadata={"format": "pt"})
    (folder / "model.safetensors.new").replace(folder / "model.safetensors")
    model.config.save_pretrained(folder)
    (folder / "artifact.metadata").write_text(
        json.dumps({**metadata, "dim": len(heads[0])}, indent=1), encoding="utf-8"
    )


METADATA = {
    "query_token_id": "[unused0]",
    "doc_token_id": "[unused1]",
    "query_token": "[Q]",
    "doc_token": "[D]",
    "similarity": "cosine",
    "query_maxlen": 32,
    "doc_maxlen": 256,
    "attend_to_mask_tokens": True,
    "mask_punctuation": True,
    "interaction": "colbert",
}  # colbert-xm's values (late-interaction facts, 1.1)
