"""The slow, obvious twins of the layouts with modules.json: one text at a time, transformers' own classes.

Written from what PyLate 1.6 and sentence-transformers 6.2 do; the language adapter is given, as they never do.
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn.functional import normalize
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast


class ModuleTwin:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = self.read("config_sentence_transformers.json")
        names = {role: name for role, name in self.read("tokenizer_config.json").items() if role.endswith("_token")}
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **names)
        self.config = AutoConfig.from_pretrained(folder)
        self.model = AutoModel.from_config(self.config).eval()
        missing = self.model.load_state_dict(load_file(folder / "model.safetensors"), strict=False).missing_keys
        assert all(name.startswith("pooler") for name in missing)
        self.dense = [path for path in sorted(folder.iterdir()) if path.name.endswith("Dense")]

    def read(self, name: str) -> dict:
        return json.loads((self.folder / name).read_text())

    def pylate(self, text: str, code: str, *, is_query: bool) -> np.ndarray:
        side, settings = ("query" if is_query else "document"), self.settings
        expands = is_query and settings["do_query_expansion"]
        self.tokenizer.pad_token = "[MASK]" if self.tokenizer.mask_token == "[MASK]" else "<mask>"
        length = settings[f"{side}_length"] - 1
        padding = {"padding": "max_length"} if expands else {}
        out = self.tokenizer(text.strip(), truncation=True, max_length=length, **padding)
        marker = self.tokenizer.convert_tokens_to_ids(settings[f"{side}_prefix"])
        ids = [out["input_ids"][0], marker, *out["input_ids"][1:]]
        mask = [1, 1, *out["attention_mask"][1:]]
        if expands and settings["attend_to_expansion_tokens"]:
            mask = [1] * len(mask)
        skipped = {self.tokenizer.convert_tokens_to_ids(word) for word in settings["skiplist_words"]}
        kept = [is_query or token_id not in skipped for token_id in ids]
        return normalize(self.project(self.hidden(ids, mask, code)), dim=-1)[kept].numpy()

    def multi_vector(self, text: str, code: str, *, is_query: bool) -> np.ndarray:
        side, transformer = ("query" if is_query else "document"), self.read("sentence_bert_config.json")
        expansion = transformer.get("query_expansion") if is_query else None
        cut = expansion["strategy"] == "fixed" if expansion else True
        length = expansion["length"] if expansion and cut else transformer.get(f"{side}_length", 66 if expansion else 0)
        ids = self.tokenizer(self.settings["prompts"][side] + text, truncation=True, max_length=length)["input_ids"]
        n_masks = max(0, expansion["length"] - len(ids)) if expansion else 0
        mask = [1] * len(ids) + [int(bool(expansion and expansion["attend"]))] * n_masks
        ids = ids + [self.tokenizer.mask_token_id] * n_masks
        words = json.loads(next(self.folder.glob("*_MultiVectorMask/config.json")).read_text())["skiplist_words"]
        vocabulary = self.tokenizer.get_vocab()
        skipped = {vocabulary[word] for word in words if word in vocabulary}
        kept = [is_query or token_id not in skipped for token_id in ids]
        return normalize(self.project(self.hidden(ids, mask, code)), dim=-1)[kept].numpy()

    def single_vector(self, text: str, code: str, *, mode: str) -> np.ndarray:
        length = self.read("sentence_bert_config.json")["max_seq_length"]
        ids = self.tokenizer(text, truncation=True, max_length=length)["input_ids"]
        hidden = self.hidden(ids, [1] * len(ids), code)
        pooled = {"mean": hidden.mean(0), "max": hidden.max(0).values, "cls": hidden[0]}[mode]
        return normalize(pooled[None], dim=-1).numpy()

    def hidden(self, ids: list[int], mask: list[int], code: str) -> torch.Tensor:
        arguments = {}
        if self.config.model_type == "xmod":
            arguments["lang_ids"] = torch.tensor([list(self.config.languages).index(code)])
        with torch.no_grad():
            return self.model(torch.tensor([ids]), attention_mask=torch.tensor([mask]), **arguments)[0][0]

    def project(self, hidden: torch.Tensor) -> torch.Tensor:
        for folder in self.dense:
            config, weights = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
            out = hidden @ weights["linear.weight"].T + (weights["linear.bias"] if config["bias"] else 0)
            out = torch.tanh(out) if config["activation_function"].endswith("Tanh") else out
            if config.get("use_residual"):
                out = out + hidden @ weights["residual.weight"].T
            hidden = out
        return hidden
