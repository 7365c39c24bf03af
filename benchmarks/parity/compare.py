"""Hold xm to the stored numbers of the original libraries: token ids, masks, embeddings, scores.

`.venv/bin/python -m benchmarks.parity.compare` prints the largest differences to each library as JSON;
tests/encoder/test_golden.py asserts on the same comparison. Needs neither a network nor those libraries.
"""

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.parity.pinned import build
from benchmarks.parity.texts import GOLDEN, vectors_of
from xm.encoder.encoder import Encoder, load_encoder
from xm.maxsim import maxsim
from xm.options import EncodeOptions
from xm.types import LanguageGuess, TokenEmbeddings


@dataclass(frozen=True)
class Comparison:
    """How far xm is from one golden file.

    unlike: a line for each text whose token ids, attention mask or scoring mask differ. embedding: the largest
    difference between two numbers of a vector. score: the largest between two scores.
    """

    golden: str
    unlike: tuple[str, ...]
    embedding: float
    score: float


def golden_files() -> list[Path]:
    """Return the files of golden numbers, by name."""
    return sorted(GOLDEN.glob("*.*.json"))


def load(path: Path, folder: Path) -> tuple[dict[str, Any], Encoder]:
    """Read golden numbers, and build their checkpoint below `folder` and load it in float32."""
    golden = json.loads(path.read_text(encoding="utf-8"))
    built = build(golden["checkpoint"], folder / path.stem)
    return golden, load_encoder(str(built), options=EncodeOptions(exact=True))


def compare(name: str, golden: dict[str, Any], encoder: Encoder) -> Comparison:
    """Encode the golden texts with `encoder`, score every query with every passage, and compare."""
    unlike = [line for text in golden["texts"] for line in _unlike_tokens(text, encoder)]
    found = {role: _encoded(golden, encoder, role) for role in ("query", "passage")}
    theirs = [vectors_of(text) for text in golden["texts"]]
    # The golden files list queries first, then passages.
    ours = [embeddings.vectors for embeddings in (*found["query"], *found["passage"])]
    unlike += [
        f"{text['text']!r}: {their.shape} vectors, xm has {our.shape}"
        for text, their, our in zip(golden["texts"], theirs, ours, strict=True)
        if their.shape != our.shape
    ]
    if unlike:
        return Comparison(name, tuple(unlike), np.inf, np.inf)
    scores = [[maxsim(query.vectors, passage.vectors) for passage in found["passage"]] for query in found["query"]]
    return Comparison(
        golden=name,
        unlike=(),
        embedding=max(float(np.abs(our - their).max()) for our, their in zip(ours, theirs, strict=True)),
        score=float(np.abs(np.array(scores) - np.array(golden["scores"])).max()),
    )


def _unlike_tokens(text: dict[str, Any], encoder: Encoder) -> list[str]:
    """Say what differs between the tokens of a golden text and xm's."""
    tokenizer = encoder._tokenizer
    tokens = tokenizer.query(text["text"]) if text["role"] == "query" else tokenizer.passages([text["text"]])[0]
    ours = {"ids": tokens.ids, "attended": tokens.attended, "scored": tokens.scored}
    lines = []
    for what, values in ours.items():
        numbers = [int(value) for value in values]
        if numbers != text[what]:
            lines.append(f"{text['role']} {text['text']!r}: {what} are {text[what]}, xm has {numbers}")
    return lines


def _encoded(golden: dict[str, Any], encoder: Encoder, role: str) -> list[TokenEmbeddings]:
    """Encode the texts of a role, passages of all languages in one call."""
    texts = [text for text in golden["texts"] if text["role"] == role]
    languages = [LanguageGuess(text["language"], 1.0, "given") for text in texts]
    if role == "passage":
        return encoder.encode_passages([text["text"] for text in texts], languages)
    return [encoder.encode_query(text["text"], language) for text, language in zip(texts, languages, strict=True)]


def main() -> None:
    """Print a comparison for each golden file."""
    with tempfile.TemporaryDirectory() as folder:
        found = [compare(path.stem, *load(path, Path(folder))) for path in golden_files()]
    print(json.dumps([asdict(comparison) for comparison in found], indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
