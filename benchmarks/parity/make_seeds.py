"""Write the beginnings of the golden checkpoints; each library then saves its own layout from them.

Run `.venv/bin/python -m benchmarks.parity.make_seeds FOLDER`. Needed again only to make new golden checkpoints:
those in use are stored under tests/golden/checkpoints.
"""

import json
import sys
from pathlib import Path

from tokenizers import Tokenizer
from transformers import (
    BertConfig,
    BertModel,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedModel,
    XmodConfig,
    XmodModel,
)

from tests.tiny import LANGUAGES, build_checkpoint, tiny_jina_like
from tests.tiny_tokenizers import byte_tokenizer, piece_tokenizer, word_tokenizer

_SIZE = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
_SIZE |= {"max_position_embeddings": 66}
_BERT_ROLES = {"cls_token": "[CLS]", "pad_token": "[PAD]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
_BERT_ROLES |= {"mask_token": "[MASK]"}
_XLMR_ROLES = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>"}
_XLMR_ROLES |= {"mask_token": "<mask>"}


def main(folder: Path) -> None:
    """Write Stanford seeds (xmod, bert, xlm-roberta, jina) and bare encoders (bert, modernbert, xmod)."""
    for backbone in ("xmod", "bert", "xlm-roberta"):
        build_checkpoint(folder / backbone, backbone=backbone)
    tiny_jina_like(folder / "jina")
    words, characters, pieces = word_tokenizer(), byte_tokenizer(), piece_tokenizer()
    bert = BertConfig(vocab_size=words.get_vocab_size(), pad_token_id=words.token_to_id("[PAD]"), **_SIZE)
    _save_bare(folder / "bare-bert", BertModel(bert), words, _BERT_ROLES)
    ids = {f"{role}_token_id": characters.token_to_id(f"[{role.upper()}]") for role in ("pad", "cls", "sep")}
    ids |= {"bos_token_id": ids["cls_token_id"], "eos_token_id": ids["sep_token_id"]}
    local = {"local_attention": 8, "global_attn_every_n_layers": 2}
    modern = ModernBertConfig(vocab_size=characters.get_vocab_size(), **ids, **local, **_SIZE)
    _save_bare(folder / "bare-modernbert", ModernBertModel(modern), characters, _BERT_ROLES)
    adapters = {"languages": list(LANGUAGES), "default_language": "en_XX", "adapter_reduction_factor": 6}
    xmod = XmodConfig(vocab_size=pieces.get_vocab_size(), type_vocab_size=1, pad_token_id=1, **adapters, **_SIZE)
    _save_bare(folder / "bare-xmod", XmodModel(xmod), pieces, _XLMR_ROLES)


def _save_bare(folder: Path, model: PreTrainedModel, tokenizer: Tokenizer, roles: dict[str, str]) -> None:
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, **roles}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
