"""Compute the alignments the page opens with: `python benchmarks/make_first_screen.py [--model xm-mini]`.

Queries and passages come from sample_corpora/parallel; a query meets the passage on its topic in another language. Of
all topics, each pair of languages shows the one whose query finds the nearest tokens: good cases, not typical ones.
Writes assets/first_screen.json and prints what was written as JSON. Run it again after the embedded model changes.
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from xm import maxsim  # noqa: E402  the path above comes first
from xm.encoder import Encoder, load_encoder  # noqa: E402
from xm.figures import alignment as figure  # noqa: E402
from xm.languages import LANGUAGES, detect, find_code  # noqa: E402
from xm.types import Alignment  # noqa: E402

# Languages of query and passage; the first is what the page opens with.
PAIRS = ("en fr", "en ja", "en ar", "de fr", "es en", "ja id", "ar ru", "hi zh")
QUESTIONS = ".2"  # ends the id of a topic's short question; .1 are search words, .3 is a long one


def main() -> None:
    """Choose a topic for every pair and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="xm-mini")
    parser.add_argument("--out", type=Path, default=ROOT / "assets" / "first_screen.json")
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.model)
    queries = [row for row in _rows("queries.jsonl") if row["id"].endswith(QUESTIONS)]
    passages = _rows("passages.jsonl")
    examples = []
    for pair in PAIRS:
        asked, read = map(find_code, pair.split())
        aligned = _clearest(encoder, _of_language(queries, asked), _of_language(passages, read))
        title = f"{LANGUAGES[asked].native_name} → {LANGUAGES[read].native_name}"
        examples.append({"title": title, "payload": figure.payload(aligned)})
    facts = {"model": encoder.model, "revision": encoder.revision, "precision": encoder.precision}
    lines = ",\n".join(json.dumps(example, ensure_ascii=False, separators=(",", ":")) for example in examples)
    # One example a line, so that a change of one is a change of one line.
    arguments.out.write_text(f'{json.dumps(facts)[:-1]}, "examples": [\n{lines}\n]}}\n', encoding="utf-8")
    sizes = {"examples": len(examples), "bytes": arguments.out.stat().st_size}
    print(json.dumps({"file": str(arguments.out), **facts, **sizes}))


def _rows(name: str) -> list[dict[str, str]]:
    """Read a file of the parallel sample."""
    path = ROOT / "sample_corpora" / "parallel" / name
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _of_language(rows: list[dict[str, str]], code: str) -> dict[str, dict[str, str]]:
    """Return the rows of a language by topic: those that the page, too, will detect as of that language."""
    return {row["topic"]: row for row in rows if row["language"] == code == detect(row["text"]).code}


def _clearest(encoder: Encoder, queries: dict[str, dict[str, str]], passages: dict[str, dict[str, str]]) -> Alignment:
    """Align every question with the passage on its topic; return where its own tokens find the nearest ones."""
    found = []
    for topic in sorted(queries.keys() & passages.keys()):
        query, passage = (row["text"] for row in (queries[topic], passages[topic]))
        encoded = encoder.encode_passages([passage], [detect(passage)])[0]
        asked = encoder.encode_query(query, detect(query))
        found.append(maxsim.align(asked, encoded, passage_id=passages[topic]["id"], model=encoder.model))
    return max(found, key=_nearness)


def _nearness(aligned: Alignment) -> float:
    """Return the mean cosine of the query's content tokens with what they found."""
    content = [kind == "content" for kind in aligned.query.kinds]
    return float(aligned.contribution[content].mean())


if __name__ == "__main__":
    main()
