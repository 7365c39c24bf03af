"""A ColBERT index written by colbert-ai, and what colbert-ai says of any index in its layout.

Run in colbert-ai's environment (README.md): `python -m benchmarks.parity.colbert_index write WORK`, and
`python -m benchmarks.parity.colbert_index score FOLDER OUT.json` for an index in FOLDER.

`write` makes tests/golden/colbert_index/ and colbert_index.json beside it: scores of every passage on decompressed
vectors, and what the library's own search finds. `score` writes the same numbers for another folder, such as one that
xm.index.colbert_format.export_colbert wrote.
"""

import base64
import json
import random
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from colbert import Indexer, Searcher
from colbert.infra import ColBERTConfig, Run, RunConfig

from benchmarks.parity.pinned import build
from benchmarks.parity.texts import GOLDEN, QUERIES, plain

CHECKPOINT = "stanford-bert"
INDEX = GOLDEN / "colbert_index"
ROOT = Path(__file__).resolve().parents[2]


def passages() -> list[str]:
    """Return the English passages of the parallel sample."""
    path = ROOT / "sample_corpora" / "parallel" / "passages.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row["text"] for row in rows if row["language"] == "en_XX"]


def write(work: Path) -> None:
    """Let colbert-ai index the passages with 2 bits, and keep index and scores."""
    shutil.rmtree(work, ignore_errors=True)
    checkpoint = build(CHECKPOINT, work / "checkpoint")
    random.seed(42)
    torch.manual_seed(42)
    run = RunConfig(nranks=1, root=str(work), index_root=str(work), avoid_fork_if_possible=True)
    with Run().context(run):
        config = ColBERTConfig(nbits=2, kmeans_niters=4)
        Indexer(str(checkpoint), config=config, verbose=0).index("index", passages(), overwrite=True)
    shutil.rmtree(INDEX, ignore_errors=True)
    shutil.copytree(work / "index", INDEX)
    for file in ("metadata.json", "plan.json"):  # paths of this machine say nothing elsewhere
        text = (INDEX / file).read_text(encoding="utf-8")
        (INDEX / file).write_text(text.replace(str(work).replace("/", "\\/"), "WORK").replace(str(work), "WORK"))
    score(work / "index", GOLDEN / "colbert_index.json", checkpoint)


def score(folder: Path, out: Path, checkpoint: Path) -> None:
    """Open an index with colbert-ai and write its scores for the golden queries."""
    with Run().context(RunConfig(nranks=1, root=str(folder.parent))):
        texts = passages()
        searcher = Searcher(folder.name, str(checkpoint), texts, index_root=str(folder.parent), verbose=0)
        ranker = searcher.ranker
        n_passages, n_tokens = len(ranker.doclens), int(ranker.doclens.sum())
        decoded = ranker.codec.decompress(type(ranker.embeddings)(*_committed(ranker.embeddings, n_tokens)))
        found = [_one(searcher, text, n_passages) for _, text in QUERIES]
    values = {
        "library": "colbert-ai",
        "versions": {name: version(name) for name in ("colbert-ai", "transformers", "torch")},
        "checkpoint": CHECKPOINT,
        "lengths": ranker.doclens.tolist(),
        "decoded_rows": _base64(decoded[:100]),
        "decoded_sum": [plain(value) for value in decoded.double().sum(0)],
        "queries": found,
    }
    out.write_text(json.dumps(values, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    print(out, n_passages, "passages", n_tokens, "tokens")


def _one(searcher: Searcher, text: str, n_passages: int) -> dict[str, Any]:
    """Score all passages for one query on decompressed vectors, and search as the library does by itself."""
    vectors = searcher.encode([text])
    places, scores = searcher.ranker.rank(searcher.config, vectors, pids=list(range(n_passages)))
    by_place = dict(zip(places, scores, strict=True))
    hits, _, hit_scores = searcher.search(text, k=5)
    return {
        "text": text,
        "vectors": _base64(vectors[0]),
        "scores": [plain(by_place[place]) for place in range(n_passages)],
        "hits": [[place, plain(value)] for place, value in zip(hits, hit_scores, strict=True)],
    }


def _committed(embeddings: Any, n_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Leave out the rows of padding that the library adds when it loads an index."""
    return embeddings.codes[:n_tokens], embeddings.residuals[:n_tokens]


def _base64(values: torch.Tensor) -> str:
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode("ascii")


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]))
    else:
        folder = Path(sys.argv[2]).resolve()
        shutil.rmtree(folder.parent / "checkpoint", ignore_errors=True)
        score(folder, Path(sys.argv[3]), build(CHECKPOINT, folder.parent / "checkpoint"))
