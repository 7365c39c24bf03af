"""What bfloat16 and int8 cost: score differences and rank changes against float32, xm-mini on the sample corpora."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from xm.corpus import read_corpus
from xm.encoder import load_encoder
from xm.encoder.precision import fast_precision
from xm.maxsim import maxsim
from xm.options import EncodeOptions
from xm.types import LanguageGuess

SAMPLES = Path(__file__).resolve().parents[2] / "sample_corpora"
DEPTH = 10
N_QUERIES = 200


def measure_quality(*, quick: bool) -> dict[str, Any]:
    """Return, per corpus and format, how scores and ranks move against float32.

    Args:
        quick: few texts. bfloat16 always takes few where this processor has no fast form of it.
    """
    facts: dict[str, Any] = {}
    for name in ("parallel", "lecture"):
        for precision in ("int8", "bfloat16"):
            few = quick or (precision == "bfloat16" and fast_precision() == "float32")
            texts = _texts(SAMPLES / name, n_passages=40 if few else None, n_queries=20 if few else N_QUERIES)
            exact, rough = (_scores(*texts, EncodeOptions(precision=kind)) for kind in ("float32", precision))
            facts[f"{name} {precision}"] = _difference(exact, rough)
    return facts


def _texts(folder: Path, *, n_passages: int | None, n_queries: int) -> tuple[list[tuple], list[tuple]]:
    """Read passages and evenly drawn queries, each as (text, language)."""
    corpus = read_corpus(folder).passages[:n_passages]
    lines = (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    queries = [json.loads(line) for line in lines[:: max(1, len(lines) // n_queries)]]
    return (
        [(passage.text, passage.language) for passage in corpus],
        [(query["text"], LanguageGuess(query["language"], 1.0, "given")) for query in queries],
    )


def _scores(passages: list[tuple], queries: list[tuple], options: EncodeOptions) -> np.ndarray:
    """Return the MaxSim of every query with every passage, (n_queries, n_passages)."""
    encoder = load_encoder(options=options)
    encoded = encoder.encode_passages([text for text, _ in passages], [language for _, language in passages])
    rows = []
    for text, language in queries:
        query = encoder.encode_query(text, language).vectors
        rows.append([maxsim(query, passage.vectors) for passage in encoded])
    return np.array(rows)


def _difference(exact: np.ndarray, rough: np.ndarray) -> dict[str, float]:
    """Compare scores, and the first ranks they give."""
    ranks = [np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH] for scores in (exact, rough)]
    kept = [len(set(one) & set(other)) / len(one) for one, other in zip(*map(np.ndarray.tolist, ranks), strict=True)]
    gaps = np.sort(exact, axis=1)
    return {
        "n_queries": len(exact),
        "n_passages": exact.shape[1],
        "score_mean": float(exact.mean()),
        "score_difference_mean": float(np.abs(exact - rough).mean()),
        "score_difference_max": float(np.abs(exact - rough).max()),
        "gap_of_first_to_second_median": float(np.median(gaps[:, -1] - gaps[:, -2])),
        "first_hit_changed": float((ranks[0][:, 0] != ranks[1][:, 0]).mean()),
        f"of_first_{DEPTH}_kept": float(np.mean(kept)),
        f"order_of_first_{DEPTH}_changed": float((ranks[0] != ranks[1]).any(axis=1).mean()),
    }
