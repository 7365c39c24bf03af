"""The slow, obvious twin of xm.encoder, written from the facts sheet, section 2, and transformers alone.

One text at a time, no padding between texts, all adapters loaded, transformers' own XmodModel and tokenizer class.
"""

import json
import string
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaModel,
    XmodConfig,
    XmodModel,
)


@dataclass
class TwinResult:
    ids: list[int]
    mask: list[int]
    kept_ids: list[int]
    vectors: np.ndarray


class Twin:
    def __init__(self, folder: Path) -> None:
        self.metadata = json.loads((folder / "artifact.metadata").read_text())
        names = json.loads((folder / "tokenizer_config.json").read_text())
        names = {role: name for role, name in names.items() if role.endswith("_token")}
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **names)
        values = json.loads((folder / "config.json").read_text())
        config_class, model_class, prefix = {
            "xmod": (XmodConfig, XmodModel, "roberta."),
            "xlm-roberta": (XLMRobertaConfig, XLMRobertaModel, "roberta."),
            "bert": (BertConfig, BertModel, "bert."),
        }[values["model_type"]]
        self.config = config_class.from_dict(values)
        self.model = model_class(self.config, add_pooling_layer=False).eval()
        weights = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
        self.head = weights["linear.weight"]
        shared = {name[len(prefix) :]: tensor for name, tensor in weights.items() if name.startswith(prefix)}
        self.model.load_state_dict(shared, strict=True)

    def query(self, text: str, code: str) -> TwinResult:
        # "tokenize with padding='max_length', truncation=True, max_length=query_maxlen-1; insert marker after
        # position 0 (mask 1); ids[ids==pad]=mask_id; if attend_to_mask_tokens: mask[ids==mask_id]=1"
        n = self.metadata["query_maxlen"]
        out = self.tokenizer(text, padding="max_length", truncation=True, max_length=n - 1)
        marker = self.tokenizer.convert_tokens_to_ids(self.metadata["query_token_id"])
        ids = [out["input_ids"][0], marker, *out["input_ids"][1:]]
        mask = [out["attention_mask"][0], 1, *out["attention_mask"][1:]]
        ids = [self.tokenizer.mask_token_id if i == self.tokenizer.pad_token_id else i for i in ids]
        if self.metadata["attend_to_mask_tokens"]:
            mask = [1 if i == self.tokenizer.mask_token_id else m for i, m in zip(ids, mask, strict=True)]
            assert all(mask)
        return self._encode(ids, mask, code, skiplist={})

    def passage(self, text: str, code: str) -> TwinResult:
        # "padding='longest', max_length=doc_maxlen-1, insert marker; no [MASK]"
        out = self.tokenizer(text, truncation=True, max_length=self.metadata["doc_maxlen"] - 1)
        marker = self.tokenizer.convert_tokens_to_ids(self.metadata["doc_token_id"])
        ids = [out["input_ids"][0], marker, *out["input_ids"][1:]]
        mask = [out["attention_mask"][0], 1, *out["attention_mask"][1:]]
        skiplist = {}
        if self.metadata["mask_punctuation"]:
            for char in string.punctuation:
                skiplist[char] = True
                skiplist[self.tokenizer.encode(char, add_special_tokens=False)[0]] = True
        return self._encode(ids, mask, code, skiplist)

    def _encode(self, ids: list[int], mask: list[int], code: str, skiplist: dict) -> TwinResult:
        arguments = {}
        if self.config.model_type == "xmod":
            arguments["lang_ids"] = torch.tensor([list(self.config.languages).index(code)])
        with torch.no_grad():
            hidden = self.model(torch.tensor([ids]), attention_mask=torch.tensor([mask]), **arguments)[0][0]
        vectors = torch.nn.functional.normalize(hidden @ self.head.T, p=2, dim=1)
        kept = [place for place, i in enumerate(ids) if i not in skiplist and i != self.tokenizer.pad_token_id]
        return TwinResult(ids, mask, [ids[place] for place in kept], vectors[kept].numpy())


def twin_score(query: TwinResult, passage: TwinResult) -> float:
    """D @ Q^T, max over the passage, sum over the query."""
    total = 0.0
    for query_vector in query.vectors:
        total += max(float(np.dot(passage_vector, query_vector)) for passage_vector in passage.vectors)
    return total
