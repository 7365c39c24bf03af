"""Tiny checkpoints with random weights, in the Stanford ColBERT layout: a fraction of a second each, no network.

Everything colbert-xm has is here in small: config.json of type xmod, model.safetensors with `roberta.*` and
`linear.weight`, a tokenizer.json with XLM-R's specials and no [unused0], artifact.metadata.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel, XmodConfig, XmodModel

LANGUAGES = ("en_XX", "de_DE", "ja_XX", "ar_AR", "ru_RU", "hi_IN")
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
MASK = "<mask>"
SENTENCES = (
    "How do plants store energy? They keep sugar as starch, in roots and seeds.",
    "The old bank by the river was closed after the flood; nobody (not one!) came back.",
    "Wie speichern Pflanzen Energie? Sie lagern Zucker als Stärke in Wurzeln und Samen ein.",
    "植物はどのようにエネルギーを蓄えますか。糖をでんぷんとして根に蓄えます。",
    "كيف تخزن النباتات الطاقة؟ تحفظ السكر على شكل نشا في الجذور.",
    "Как растения запасают энергию? Они хранят сахар в виде крахмала в корнях.",
    "पौधे ऊर्जा कैसे जमा करते हैं? वे शर्करा को स्टार्च के रूप में जड़ों में रखते हैं।",
    "植物如何储存能量？它们把糖以淀粉的形式存在根里。",
    "식물은 어떻게 에너지를 저장합니까? ไม้เก็บพลังงานอย่างไร",
)
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
_BACKBONES = {
    "xmod": (XmodConfig, XmodModel),
    "bert": (BertConfig, BertModel),
    "xlm-roberta": (XLMRobertaConfig, XLMRobertaModel),
}


def build_checkpoint(
    folder: Path,
    *,
    backbone: str = "xmod",
    metadata: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    **config: Any,
) -> Path:
    """Write a checkpoint into `folder` and return it.

    Args:
        folder: made if it is not there.
        backbone: xmod, bert or xlm-roberta.
        metadata: changes to METADATA; a value of None leaves the key out.
        dtype: number format of the stored weights.
        seed: of the random weights.
        **config: changes to the backbone's configuration, such as `languages` or `ln_before_adapter`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = word_tokenizer() if backbone == "bert" else piece_tokenizer()
    facts = {key: value for key, value in (METADATA | (metadata or {})).items() if value is not None}
    values = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "max_position_embeddings": 66,
        "type_vocab_size": 2 if backbone == "bert" else 1,
        "pad_token_id": tokenizer.token_to_id("[PAD]" if backbone == "bert" else "<pad>"),
    }
    if backbone == "xmod":
        values |= {"languages": list(LANGUAGES), "default_language": LANGUAGES[0], "adapter_reduction_factor": 6}
    config_class, model_class = _BACKBONES[backbone]
    model = model_class(config_class(**(values | config)), add_pooling_layer=False)
    _save_weights(model, folder, dim=facts.get("dim", 16), dtype=dtype, seed=seed)
    model.config.architectures = ["HF_ColBERT"]
    model.config.save_pretrained(folder)
    (folder / "artifact.metadata").write_text(json.dumps(facts), encoding="utf-8")
    tokenizer.save(str(folder / "tokenizer.json"))
    _save_names(folder, is_bert=backbone == "bert")
    return folder


def _save_weights(model: torch.nn.Module, folder: Path, *, dim: int, dtype: torch.dtype, seed: int) -> None:
    """Save random weights, large enough that adapters and neighbouring tokens change a vector visibly."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, tensor in model.state_dict().items():
        noise = 0.2 * torch.randn(tensor.shape, generator=generator)
        is_scale = name.endswith("LayerNorm.weight") or name.endswith("layer_norm.weight")
        tensors[f"{model.base_model_prefix}.{name}"] = (noise + (1 if is_scale else 0)).to(dtype)
    tensors["linear.weight"] = (0.2 * torch.randn((dim, model.config.hidden_size), generator=generator)).to(dtype)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _save_names(folder: Path, *, is_bert: bool) -> None:
    """Save the special tokens by role, in both places, as colbert-xm does."""
    cls, pad, sep, unknown, mask = ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]") if is_bert else (*SPECIALS, MASK)
    names = {"cls_token": cls, "pad_token": pad, "sep_token": sep, "unk_token": unknown, "mask_token": mask}
    wordy = {**names, "mask_token": {"content": mask, "lstrip": True, "special": True}}
    (folder / "special_tokens_map.json").write_text(json.dumps(wordy), encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


@cache
def piece_tokenizer() -> Tokenizer:
    """A lower-casing unigram tokenizer like XLM-R's: <s> 0, <pad> 1, </s> 2, <unk> 3, ..., <mask> last."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=400, special_tokens=list(SPECIALS), unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    tokenizer.add_special_tokens([*SPECIALS, MASK])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


@cache
def word_tokenizer() -> Tokenizer:
    """A lower-casing WordPiece tokenizer like BERT's, with [unused0] and [unused1] in its vocabulary."""
    specials = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 4), ("[SEP]", 5)]
    )
    return tokenizer
