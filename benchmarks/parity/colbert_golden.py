"""Golden numbers of colbert-ai: its own layout saved by itself, token ids, embeddings and scores.

Run `python -m benchmarks.parity.colbert_golden SEEDS WORK` in colbert-ai's environment (README.md).
"""

import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from colbert.infra import ColBERTConfig
from colbert.modeling.checkpoint import Checkpoint
from colbert.modeling.colbert import colbert_score

from benchmarks.parity.pinned import pin_weights, store
from benchmarks.parity.texts import PASSAGES, QUERIES, entry, write

# name of the golden checkpoint -> its seed, and whether masks are attended to
CHECKPOINTS = {
    "stanford-xmod": ("xmod", True),
    "stanford-xmod-unattended": ("xmod", False),
    "stanford-bert": ("bert", False),
    "stanford-xlm-roberta": ("xlm-roberta", True),
    "stanford-jina": ("jina", True),
}
VERSIONS = {name: version(name) for name in ("colbert-ai", "transformers", "torch")}


def main(seeds: Path, work: Path) -> None:
    """Save, pin, store and measure each checkpoint."""
    for name, (seed, attends) in CHECKPOINTS.items():
        folder = work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        config = ColBERTConfig(attend_to_mask_tokens=attends, checkpoint=str(seeds / seed))
        Checkpoint(str(seeds / seed), colbert_config=config, verbose=0).save(str(folder))
        pin_weights(folder)
        store(folder, name)
        measure(folder, name)


def measure(folder: Path, name: str) -> None:
    """Encode every text by itself, through the adapter of its language, and score every pair."""
    checkpoint = Checkpoint(str(folder), colbert_config=ColBERTConfig(checkpoint=str(folder)), verbose=0)
    texts, queries, passages = [], [], []
    for language, text in QUERIES:
        choose(checkpoint, language)
        ids, mask = checkpoint.query_tokenizer.tensorize([text])
        vectors = checkpoint.query(ids, mask)
        queries.append(vectors)
        scored = checkpoint.mask(ids, skiplist=[])[0]
        texts.append(entry("query", language, text, ids=ids[0], attended=mask[0], scored=scored, vectors=vectors[0]))
    for language, text in PASSAGES:
        choose(checkpoint, language)
        ids, mask = checkpoint.doc_tokenizer.tensorize([text])
        vectors = checkpoint.doc(ids, mask, keep_dims=False)[0]
        passages.append(vectors)
        scored = checkpoint.mask(ids, skiplist=checkpoint.skiplist)[0]
        texts.append(entry("passage", language, text, ids=ids[0], attended=mask[0], scored=scored, vectors=vectors))
    write("colbert-ai", name, versions=VERSIONS, texts=texts, scores=[score(query, passages) for query in queries])


def choose(checkpoint: Checkpoint, language: str) -> None:
    """Set the adapter of what is encoded next; a backbone without adapters has nothing to set."""
    if checkpoint.bert.config.model_type == "xmod":
        checkpoint.bert.set_default_language(language)


def score(query: torch.Tensor, passages: list[torch.Tensor]) -> list[float]:
    """Score one query (1, n_tokens, dim) against passages of unlike lengths with the library's own function."""
    padded = torch.nn.utils.rnn.pad_sequence(passages, batch_first=True)
    lengths = torch.tensor([len(passage) for passage in passages])
    mask = torch.arange(padded.shape[1]) < lengths[:, None]
    return colbert_score(query, padded, mask[..., None]).tolist()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
