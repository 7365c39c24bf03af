"""Golden numbers of sentence-transformers: its own layouts saved by itself, token ids, embeddings and scores.

Run `.venv/bin/python -m benchmarks.parity.sentence_transformers_golden SEEDS WORK`.

Multi-vector models of BERT and ModernBERT, and single-vector ones of XMOD. Those see the default adapter alone, since
sentence-transformers gives no language to the backbone: the golden numbers of other languages are made by setting it.
"""

import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

from benchmarks.parity.pinned import pin_weights, store
from benchmarks.parity.texts import PASSAGES, QUERIES, entry, write

VERSIONS = {name: version(name) for name in ("sentence-transformers", "transformers", "torch")}
_FIXED = {"query_expansion": {"strategy": "fixed", "attend": False, "length": 24}, "document_length": 40}
# name of the golden checkpoint -> its seed, settings of its Transformer, skipped words, prompts, dims of its Denses
MULTI: dict[str, tuple[str, dict[str, Any], list[str], dict[str, str], list[int]]] = {
    "st-bert": ("bare-bert", _FIXED, [".", ",", "?"], {"query": "[Q] ", "document": "[D] "}, [32, 16]),
    "st-modernbert": ("bare-modernbert", {"query_length": 24, "document_length": 40}, [], {"query": "query: "}, [16]),
}
POOLINGS = ("mean", "max", "cls")


def main(seeds: Path, work: Path) -> None:
    """Save, pin, store and measure each checkpoint."""
    for name, (seed, settings, words, prompts, dims) in MULTI.items():
        modules = [Transformer(str(seeds / seed), **settings)]
        modules[0].tokenizer.add_special_tokens(
            {"additional_special_tokens": [prompt.strip() for prompt in prompts.values() if prompt.startswith("[")]}
        )
        modules[0].auto_model.resize_token_embeddings(len(modules[0].tokenizer))
        for position, dim in enumerate(dims):
            is_last = position == len(dims) - 1
            activation = torch.nn.Identity() if is_last else torch.nn.Tanh()
            modules.append(
                Dense(
                    modules[-1].out_features if position else 48,
                    dim,
                    bias=not is_last,
                    activation_function=activation,
                    module_input_name="token_embeddings",
                )
            )
        modules += [MultiVectorMask(words), Normalize(module_input_name="token_embeddings")]
        model = MultiVectorEncoder(modules=modules, prompts=prompts, device="cpu")
        keep(model, work / name, name)
        measure_multi(work / name, name)
    for pooling in POOLINGS:
        name = f"dpr-xmod-{pooling}"
        modules = [Transformer(str(seeds / "bare-xmod"), max_seq_length=40), Pooling(48, pooling)]
        keep(SentenceTransformer(modules=modules, device="cpu"), work / name, name)
        measure_single(work / name, name)


def keep(model: MultiVectorEncoder | SentenceTransformer, folder: Path, name: str) -> None:
    """Save, pin and store a model."""
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(str(folder), create_model_card=False)
    pin_weights(folder)
    store(folder, name)


def measure_multi(folder: Path, name: str) -> None:
    """Encode every text by itself and score every pair."""
    model = MultiVectorEncoder(str(folder), device="cpu")
    texts, vectors = [], {"query": [], "passage": []}
    for role, pairs in (("query", QUERIES), ("passage", PASSAGES)):
        task = "query" if role == "query" else "document"
        encode = model.encode_query if role == "query" else model.encode_document
        for language, text in pairs:
            # MultiVectorMask overwrites the attention mask, so what was attended is asked of the tokenizer's side.
            before = model.preprocess([model.prompts.get(task, "") + text], task=task)
            found = encode([text], output_value=None)[0]
            scored = found["attention_mask"].bool()
            kept = encode([text])[0]
            attended = before["attention_mask"][0]
            texts.append(
                entry(role, language, text, ids=found["input_ids"], attended=attended, scored=scored, vectors=kept)
            )
            vectors[role].append(kept)
    scores = [model.similarity([query], vectors["passage"])[0] for query in vectors["query"]]
    write("sentence-transformers", name, versions=VERSIONS, texts=texts, scores=torch.stack(scores))


def measure_single(folder: Path, name: str) -> None:
    """Encode every text by itself to one vector, through its language's adapter, and score every pair by cosine."""
    model = SentenceTransformer(str(folder), device="cpu")
    texts, vectors = [], {"query": [], "passage": []}
    for role, pairs in (("query", QUERIES), ("passage", PASSAGES)):
        for language, text in pairs:
            model[0].auto_model.set_default_language(language)
            found = model.preprocess([text])
            vector = model.encode([text], convert_to_tensor=True)
            mask = found["attention_mask"][0]
            ids = found["input_ids"][0]
            unit = torch.nn.functional.normalize(vector, dim=-1)
            texts.append(entry(role, language, text, ids=ids, attended=mask, scored=mask, vectors=unit))
            vectors[role].append(vector)
    scores = model.similarity(torch.cat(vectors["query"]), torch.cat(vectors["passage"]))
    write("sentence-transformers", name, versions=VERSIONS, texts=texts, scores=scores)


if __name__ == "__main__":
    with torch.inference_mode():
        main(Path(sys.argv[1]), Path(sys.argv[2]))
