"""Golden numbers of PyLate: its own layout saved by itself, token ids, embeddings and scores.

Run `python -m benchmarks.parity.pylate_golden SEEDS WORK` in PyLate's environment (README.md).

No XMOD: PyLate gives no language to the backbone, so all goes through the default adapter (xm routes by language).
"""

import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pylate.models import ColBERT
from pylate.scores import colbert_scores

from benchmarks.parity.pinned import pin_weights, store
from benchmarks.parity.texts import PASSAGES, QUERIES, entry, write

_LENGTHS = {"query_length": 24, "document_length": 40}
# name of the golden checkpoint -> its seed, and what PyLate is told when it makes a model of the bare encoder
CHECKPOINTS: dict[str, tuple[str, dict[str, Any]]] = {
    "pylate-bert": ("bare-bert", {}),
    "pylate-bert-attended": ("bare-bert", {"attend_to_expansion_tokens": True, "skiplist_words": [".", "the"]}),
    "pylate-bert-unexpanded": ("bare-bert", {"do_query_expansion": False}),
    "pylate-modernbert": ("bare-modernbert", {}),
}
VERSIONS = {name: version(name) for name in ("pylate", "sentence-transformers", "transformers", "torch")}


def main(seeds: Path, work: Path) -> None:
    """Save, pin, store and measure each checkpoint."""
    for name, (seed, settings) in CHECKPOINTS.items():
        folder = work / name
        shutil.rmtree(folder, ignore_errors=True)
        model = ColBERT(str(seeds / seed), device="cpu", embedding_size=16, **_LENGTHS, **settings)
        model.save(str(folder), create_model_card=False)
        pin_weights(folder)
        store(folder, name)
        measure(folder, name)


def measure(folder: Path, name: str) -> None:
    """Encode every text by itself and score every pair."""
    model = ColBERT(str(folder), device="cpu")
    texts, vectors = [], {"query": [], "passage": []}
    for role, pairs in (("query", QUERIES), ("passage", PASSAGES)):
        for language, text in pairs:
            found = model.encode([text], is_query=role == "query", output_value=None, convert_to_tensor=True)
            kept = found["token_embeddings"][0][found["masks"][0]]
            masks = {"attended": found["attention_mask"][0], "scored": found["masks"][0]}
            texts.append(entry(role, language, text, ids=found["input_ids"][0], vectors=kept, **masks))
            vectors[role].append(kept)
    scores = [
        [colbert_scores(query[None], passage[None]).item() for passage in vectors["passage"]]
        for query in vectors["query"]
    ]
    write("pylate", name, versions=VERSIONS, texts=texts, scores=scores)


if __name__ == "__main__":
    with torch.inference_mode():
        main(Path(sys.argv[1]), Path(sys.argv[2]))
