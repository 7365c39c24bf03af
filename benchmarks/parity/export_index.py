"""An xm index written in ColBERT's layout, and whether colbert-ai scores it as xm does.

Run `.venv/bin/python -m benchmarks.parity.export_index FOLDER` to write FOLDER/bits-1, bits-2, bits-4 and bits-8, then
`python -m benchmarks.parity.colbert_index score FOLDER/bits-2 FOLDER/bits-2.json` (and so on) in colbert-ai's
environment, and this again with --check to compare, as JSON.
"""

import base64
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.parity.pinned import build
from xm.encoder import load_encoder
from xm.index.centroid import CentroidIndex, build_centroid
from xm.index.colbert_format import export_colbert, import_colbert
from xm.index.table import table_of
from xm.options import CodecOptions, EncodeOptions
from xm.types import Corpus, LanguageGuess, Passage

ROOT = Path(__file__).resolve().parents[2]
ENGLISH = LanguageGuess("en_XX", 1.0, "given")
CHECKPOINT = "stanford-bert"
N_BITS = (1, 2, 4, 8)


def corpus() -> Corpus:
    """Return the English passages of the parallel sample, as colbert_index.py indexes them."""
    path = ROOT / "sample_corpora" / "parallel" / "passages.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    english = (row for row in rows if row["language"] == "en_XX")
    return Corpus("parallel", tuple(Passage(row["id"], row["text"], ENGLISH) for row in english))


def build_index(checkpoint: Path, n_bits: int) -> CentroidIndex:
    """Index the passages with xm alone."""
    passages = corpus()
    encoder = load_encoder(str(checkpoint), options=EncodeOptions(exact=True))
    texts = [passage.text for passage in passages.passages]
    embeddings = encoder.encode_passages(texts, [ENGLISH] * len(texts))
    table = table_of(passages, embeddings, model=CHECKPOINT, revision="golden")
    vectors = np.concatenate([item.vectors for item in embeddings])
    return build_centroid(table, vectors, options=CodecOptions(n_bits=n_bits))


def export(folder: Path) -> None:
    """Write an index for each number of bits."""
    with tempfile.TemporaryDirectory() as place:
        checkpoint = build(CHECKPOINT, Path(place) / "checkpoint")
        for n_bits in N_BITS:
            export_colbert(build_index(checkpoint, n_bits), folder / f"bits-{n_bits}", checkpoint=CHECKPOINT)


def check(folder: Path) -> None:
    """Compare what colbert-ai says of each exported index with xm."""
    for n_bits in N_BITS:
        theirs = json.loads((folder / f"bits-{n_bits}.json").read_text(encoding="utf-8"))
        index = import_colbert(folder / f"bits-{n_bits}")
        worst = 0.0
        for query in theirs["queries"]:
            vectors = np.frombuffer(base64.b64decode(query["vectors"]), "<f4").reshape(-1, index.dim)
            worst = max(worst, float(np.abs(index.score_all(vectors) - query["scores"]).max()))
        facts = {"n_bits": n_bits, "queries": len(theirs["queries"]), "passages": index.n_passages}
        print(json.dumps({**facts, "largest_difference": worst}))


if __name__ == "__main__":
    if "--check" in sys.argv:
        check(Path(sys.argv[1]))
    else:
        export(Path(sys.argv[1]))
