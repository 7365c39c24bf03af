"""Tiny checkpoints with random weights in every layout: a fraction of a second each, no network, the same bytes each.

Everything colbert-xm has is here in small: config.json of type xmod, model.safetensors with `roberta.*` and
`linear.weight`, a tokenizer.json with XLM-R's specials and no [unused0], artifact.metadata. The other layouts hold what
PyLate 1.6, sentence-transformers 6.2 and the checkpoints named at each builder save.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer
from transformers import (
    BertConfig,
    BertModel,
    ModernBertConfig,
    ModernBertModel,
    XLMRobertaConfig,
    XLMRobertaModel,
    XmodConfig,
    XmodModel,
)

from tests.tiny_tokenizers import MASK, SENTENCES, SPECIALS, byte_tokenizer, piece_tokenizer, word_tokenizer

__all__ = ["LANGUAGES", "METADATA", "SENTENCES", "build_checkpoint", "piece_tokenizer", "word_tokenizer"]

LANGUAGES = ("en_XX", "de_DE", "ja_XX", "ar_AR", "ru_RU", "hi_IN")
METADATA = {
    "query_token_id": "[unused0]",
    "doc_token_id": "[unused1]",
    "query_token": "[Q]",
    "doc_token": "[D]",
    "query_maxlen": 32,
    "doc_maxlen": 48,
    "dim": 16,
    "similarity": "cosine",
    "interaction": "colbert",
    "mask_punctuation": True,
    "attend_to_mask_tokens": True,
    "nbits": 2,
    "meta": {"made by": "tests/tiny.py"},
}
PYLATE = {
    "model_type": "ColBERT",
    "__version__": {"sentence_transformers": "5.3.0", "transformers": "5.3.0", "pytorch": "2.13.0"},
    "prompts": {"query": "", "document": ""},
    "default_prompt_name": None,
    "similarity_fn_name": "MaxSim",
    "query_prefix": "[Q] ",
    "document_prefix": "[D] ",
    "query_length": 24,
    "document_length": 40,
    "attend_to_expansion_tokens": False,
    "skiplist_words": list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    "do_query_expansion": True,
}
_BACKBONES = {
    "xmod": (XmodConfig, XmodModel),
    "bert": (BertConfig, BertModel),
    "xlm-roberta": (XLMRobertaConfig, XLMRobertaModel),
    "modernbert": (ModernBertConfig, ModernBertModel),
}
_WORDY = ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]")
_HIDDEN = 48


def build_checkpoint(
    folder: Path,
    *,
    backbone: str = "xmod",
    metadata: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    **config: Any,
) -> Path:
    """Write a checkpoint in the Stanford layout into `folder` and return it.

    Args:
        folder: made if it is not there.
        backbone: xmod, bert or xlm-roberta.
        metadata: changes to METADATA; a value of None leaves the key out.
        dtype: number format of the stored weights.
        seed: of the random weights.
        **config: changes to the backbone's configuration, such as `languages` or `ln_before_adapter`.
    """
    facts = _changed(METADATA, metadata or {})
    tokenizer = _tokenizer(backbone)
    model = _model(backbone, tokenizer, config)
    random = np.random.RandomState(seed)
    weights = _weights(model, random, prefix=f"{model.base_model_prefix}.")
    weights["linear.weight"] = _noise(random, (facts.get("dim", 16), _HIDDEN))
    model.config.architectures = ["HF_ColBERT"]
    _save_backbone(folder, model, tokenizer, weights, dtype=dtype)
    (folder / "artifact.metadata").write_text(json.dumps(facts), encoding="utf-8")
    return folder


def tiny_jina_like(folder: Path, *, seed: int = 0, **config: Any) -> Path:
    """jina-colbert-v2's markers, which are real tokens behind <mask>, on an ordinary XLM-R: Stanford layout."""
    markers = {"query_token_id": "[QueryMarker]", "doc_token_id": "[DocumentMarker]"}
    tokenizer = _copy(piece_tokenizer())
    tokenizer.add_special_tokens(list(markers.values()))
    build_checkpoint(
        folder, backbone="xlm-roberta", metadata=markers, seed=seed, vocab_size=tokenizer.get_vocab_size(), **config
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n", encoding="utf-8")
    return folder


def tiny_pylate(
    folder: Path, *, backbone: str = "bert", settings: dict[str, Any] | None = None, dim: int = 16, seed: int = 0
) -> Path:
    """Write what PyLate 1.6 saves: Transformer and Dense, markers "[Q] " and "[D] " as tokens, padding as [MASK].

    Args:
        folder: made if it is not there.
        backbone: xmod, bert, xlm-roberta or modernbert.
        settings: changes to PYLATE; a value of None leaves the key out.
        dim: of the token embeddings.
        seed: of the random weights.
    """
    tokenizer = _copy(_tokenizer(backbone))
    tokenizer.add_tokens([AddedToken(marker, normalized=True) for marker in ("[Q] ", "[D] ")])
    model = _model(backbone, tokenizer, {})
    random = np.random.RandomState(seed)
    _save_backbone(folder, model, tokenizer, _weights(model, random), pads_with_masks=True)
    _save_modules(folder, {"": "sentence_transformers.models.Transformer", "1_Dense": "pylate.models.Dense.Dense"})
    _save_json(folder / "config_sentence_transformers.json", _changed(PYLATE, settings or {}))
    _save_json(folder / "sentence_bert_config.json", {"max_seq_length": 39, "do_lower_case": False})
    save_dense(folder / "1_Dense", random, n_in=_HIDDEN, n_out=dim, use_residual=False)
    return folder


def tiny_modernbert(folder: Path, *, seed: int = 0) -> Path:
    """GTE-ModernColBERT-v1 in small: ModernBERT in the PyLate layout, local attention shorter than a passage."""
    return tiny_pylate(folder, backbone="modernbert", seed=seed)


def tiny_sentence_transformers(
    folder: Path,
    *,
    backbone: str = "bert",
    expansion: dict[str, Any] | None = None,
    skiplist: tuple[str, ...] = (".", ",", "?"),
    prompts: tuple[str, str] = ("[Q] ", "[D] "),
    dims: tuple[int, ...] = (32, 16),
    seed: int = 0,
) -> Path:
    """Write what sentence-transformers 6.2 saves: Transformer, a Dense for each of dims, MultiVectorMask, Normalize.

    The first Dense is a residual one with Tanh and bias where there are two; the prompts are text and "[Q]" a token.
    """
    tokenizer = _copy(_tokenizer(backbone))
    tokenizer.add_special_tokens([AddedToken(marker, normalized=False) for marker in ("[Q]", "[D]")])
    model = _model(backbone, tokenizer, {})
    random = np.random.RandomState(seed)
    _save_backbone(folder, model, tokenizer, _weights(model, random))
    base = "sentence_transformers.base.modules"
    mask = "sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask"
    denses = {f"{place}_Dense": f"{base}.dense.Dense" for place in range(1, len(dims) + 1)}
    names = {f"{len(dims) + 1}_MultiVectorMask": mask, f"{len(dims) + 2}_Normalize": f"{base}.normalize.Normalize"}
    _save_modules(folder, {"": f"{base}.transformer.Transformer", **denses, **names})
    settings = {"model_type": "MultiVectorEncoder", "prompts": dict(zip(("query", "document"), prompts, strict=True))}
    _save_json(folder / "config_sentence_transformers.json", settings | {"similarity_fn_name": "maxsim"})
    _save_json(folder / "sentence_bert_config.json", _transformer_settings(expansion))
    at_tokens = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}
    for place, (n_in, n_out) in enumerate(zip((_HIDDEN, *dims), dims, strict=False)):
        wide = place < len(dims) - 1
        activation = "torch.nn.modules.activation.Tanh" if wide else "torch.nn.modules.linear.Identity"
        dense = folder / f"{place + 1}_Dense"
        save_dense(dense, random, n_in, n_out, bias=wide, activation=activation, use_residual=wide, **at_tokens)
    words = {"skiplist_words": list(skiplist), "skiplist_tasks": ["document"], "keep_only_token_ids": None}
    _save_json(folder / f"{len(dims) + 1}_MultiVectorMask" / "config.json", words)
    _save_json(folder / f"{len(dims) + 2}_Normalize" / "config.json", at_tokens)
    return folder


def tiny_dpr(folder: Path, *, backbone: str = "xmod", mode: str = "mean", seed: int = 0) -> Path:
    """DPR-XM in small: a bare backbone without prefix and 1_Pooling, as sentence-transformers 2.2 saved them."""
    tokenizer = _tokenizer(backbone)
    model = _model(backbone, tokenizer, {})
    _save_backbone(folder, model, tokenizer, _weights(model, np.random.RandomState(seed)))
    old = "sentence_transformers.models"
    _save_modules(folder, {"": f"{old}.Transformer", "1_Pooling": f"{old}.Pooling"})
    names = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens"}
    modes = {f"pooling_mode_{name}": key == mode for key, name in names.items()}
    dimension = {"word_embedding_dimension": _HIDDEN}
    _save_json(folder / "1_Pooling" / "config.json", dimension | modes | {"pooling_mode_mean_sqrt_len_tokens": False})
    _save_json(folder / "config_sentence_transformers.json", {"__version__": {"sentence_transformers": "2.2.2"}})
    _save_json(folder / "sentence_bert_config.json", {"max_seq_length": 40, "do_lower_case": False})
    return folder


def save_dense(
    folder: Path,
    random: np.random.RandomState,
    n_in: int,
    n_out: int,
    *,
    bias: bool = False,
    activation: str = "torch.nn.modules.linear.Identity",
    use_residual: bool = False,
    **settings: Any,
) -> None:
    """Save a Dense module with random weights."""
    values = {"in_features": n_in, "out_features": n_out, "bias": bias, "activation_function": activation}
    _save_json(folder / "config.json", values | {"use_residual": use_residual} | settings)
    tensors = {"linear.weight": _noise(random, (n_out, n_in))}
    if bias:
        tensors["linear.bias"] = _noise(random, (n_out,))
    if use_residual and n_in != n_out:
        tensors["residual.weight"] = _noise(random, (n_out, n_in))
    save_file(tensors, folder / "model.safetensors")


def _tokenizer(backbone: str) -> Tokenizer:
    return {"bert": word_tokenizer, "modernbert": byte_tokenizer}.get(backbone, piece_tokenizer)()


def _copy(tokenizer: Tokenizer) -> Tokenizer:
    return Tokenizer.from_str(tokenizer.to_str())


def _model(backbone: str, tokenizer: Tokenizer, config: dict[str, Any]) -> torch.nn.Module:
    """Make a backbone of random weights, to be replaced; without pooler."""
    values = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": _HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "max_position_embeddings": 66,
        "type_vocab_size": 2 if backbone == "bert" else 1,
        "pad_token_id": tokenizer.token_to_id("<pad>") if backbone in ("xmod", "xlm-roberta") else 0,
    }
    if backbone == "xmod":
        values |= {"languages": list(LANGUAGES), "default_language": LANGUAGES[0], "adapter_reduction_factor": 6}
    config_class, model_class = _BACKBONES[backbone]
    if backbone == "modernbert":
        del values["type_vocab_size"]
        cls, sep = (tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]"))
        values |= {"local_attention": 8, "bos_token_id": cls, "cls_token_id": cls}
        values |= {"eos_token_id": sep, "sep_token_id": sep, "global_attn_every_n_layers": 2, "num_hidden_layers": 3}
        return model_class(config_class(**(values | config)))
    return model_class(config_class(**(values | config)), add_pooling_layer=False)


def _noise(random: np.random.RandomState, shape: tuple[int, ...]) -> torch.Tensor:
    """Random values whose stream numpy promises never to change, unlike torch's."""
    return torch.from_numpy((0.2 * random.standard_normal(shape)).astype(np.float32))


def _weights(model: torch.nn.Module, random: np.random.RandomState, *, prefix: str = "") -> dict[str, torch.Tensor]:
    """Random weights, large enough that adapters and neighbouring tokens change a vector visibly."""
    weights = {}
    for name, tensor in sorted(model.state_dict().items()):
        is_scale = name.endswith(("LayerNorm.weight", "layer_norm.weight", "norm.weight"))
        weights[prefix + name] = _noise(random, tuple(tensor.shape)) + (1 if is_scale else 0)
    return weights


def _save_backbone(
    folder: Path,
    model: torch.nn.Module,
    tokenizer: Tokenizer,
    weights: dict[str, torch.Tensor],
    *,
    dtype: torch.dtype = torch.float32,
    pads_with_masks: bool = False,
) -> None:
    """Save weights, config.json, tokenizer.json and the special tokens by role, in both places as colbert-xm does."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = {name: tensor.to(dtype) for name, tensor in weights.items()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    cls, pad, sep, unknown, mask = _WORDY if tokenizer.token_to_id("[CLS]") is not None else (*SPECIALS, MASK)
    pad = mask if pads_with_masks else pad
    names = {"cls_token": cls, "pad_token": pad, "sep_token": sep, "unk_token": unknown, "mask_token": mask}
    wordy = {**names, "mask_token": {"content": mask, "lstrip": True, "special": True}}
    _save_json(folder / "special_tokens_map.json", wordy)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **names}
    _save_json(folder / "tokenizer_config.json", config)


def _save_modules(folder: Path, types: dict[str, str]) -> None:
    """Save modules.json: types by path, in their order."""
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": kind}
        for place, (path, kind) in enumerate(types.items())
    ]
    _save_json(folder / "modules.json", modules)


def _transformer_settings(expansion: dict[str, Any] | None) -> dict[str, Any]:
    """What sentence-transformers 6.2 keeps of a Transformer; query_expansion only where there is one."""
    text = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
    settings = {"transformer_task": "feature-extraction", "modality_config": text, "document_length": 40}
    settings |= {"module_output_name": "token_embeddings"}
    return settings | ({"query_expansion": expansion} if expansion else {"query_length": 24})


def _changed(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in (values | changes).items() if key not in changes or value is not None}


def _save_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
