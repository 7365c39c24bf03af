"""The texts of the golden numbers, and how a number is written down; runs in each library's environment."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"

# (adapter, text): short with many masks, cut at the limit, punctuation, special tokens that someone typed.
QUERIES = (
    ("en_XX", "why tides?"),
    ("en_XX", "How do plants store energy in their roots, seeds and leaves during the long, cold winter months?"),
    ("de_DE", "Wie speichern Pflanzen Energie?"),
    ("ja_XX", "植物は何を蓄えますか"),
    ("en_XX", "the <mask> or [MASK] of a <pad> [PAD]"),
)
PASSAGES = (
    ("en_XX", "Plants keep sugar as starch, in roots and seeds."),
    ("en_XX", 'The old bank (by the river) was closed; "nobody" came back! Why? It cost $5 - 50% more & nobody paid.'),
    (
        "en_XX",
        "The moon pulls the sea towards it, and the water piles up on the near side and on the far side, so that most "
        "shores see two floods and two ebbs a day; near full moon and new moon they are higher than at other times.",
    ),
    ("de_DE", "Pflanzen lagern Zucker als Stärke in Wurzeln und Samen ein."),
    ("ru_RU", "Растения хранят сахар в виде крахмала."),
    ("hi_IN", "पौधे शर्करा को स्टार्च के रूप में रखते हैं।"),
    ("ja_XX", "糖をでんぷんとして根に蓄えます。"),
    ("en_XX", "...!? , ;"),
    ("en_XX", "a <mask>, a [MASK] and some <pad> or [PAD]"),
)


def entry(role: str, language: str, text: str, *, ids: Any, attended: Any, scored: Any, vectors: Any) -> dict[str, Any]:
    """Write down one text: token ids, attention and scoring mask per token, and float32 vectors of the scored."""
    return {
        "role": role,
        "language": language,
        "text": text,
        "ids": [int(value) for value in ids],
        "attended": [int(value) for value in attended],
        "scored": [int(value) for value in scored],
        "dim": int(np.asarray(vectors).shape[1]),
        "vectors": base64.b64encode(np.asarray(vectors, "<f4").tobytes()).decode("ascii"),
    }


def vectors_of(entry: dict[str, Any]) -> np.ndarray:
    """Return the vectors of the scored tokens of one text: (n_scored, dim) float32."""
    return np.frombuffer(base64.b64decode(entry["vectors"]), "<f4").reshape(-1, entry["dim"])


def plain(value: Any) -> float:
    """Return the number whose shortest decimal form is that of `value` as float32."""
    return float(str(np.float32(value)))


def write(library: str, checkpoint: str, *, versions: dict[str, str], texts: list[dict], scores: Any) -> None:
    """Write tests/golden/<library>.<checkpoint>.json; scores: (n_queries, n_passages)."""
    values = {
        "library": library,
        "checkpoint": checkpoint,
        "versions": versions,
        "texts": texts,
        "scores": [[plain(value) for value in row] for row in np.asarray(scores)],
    }
    path = GOLDEN / f"{library}.{checkpoint}.json"
    path.write_text(json.dumps(values, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{path.name}: {len(texts)} texts, {path.stat().st_size} bytes")
