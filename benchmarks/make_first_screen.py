"""Compute the alignments the page opens with: `python benchmarks/make_first_screen.py [--model xm-mini]`.

Queries and passages come from sample_corpora/parallel; each query meets a passage on its topic in another language.
Writes assets/first_screen.json and prints what was written as JSON. Run it again after the embedded model changes.
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from xm import maxsim  # noqa: E402  the path above comes first
from xm.encoder import load_encoder  # noqa: E402
from xm.figures import alignment as figure  # noqa: E402
from xm.languages import LANGUAGES, detect  # noqa: E402
from xm.types import LanguageGuess  # noqa: E402

# Query id and passage id; the first is what the page opens with. Chosen by eye among the short questions, for words
# that find their translations: good cases, not typical ones (benchmarks/xm_mini/translations.py says how typical).
PAIRS = (
    ("vaccines.en.2", "vaccines.fr"),
    ("seasons.en.2", "seasons.ja"),
    ("tides.en.2", "tides.ar"),
    ("ocean_currents.de.2", "ocean_currents.fr"),
    ("tsunami.es.2", "tsunami.en"),
    ("moon_phases.ja.2", "moon_phases.id"),
    ("vaccines.ar.2", "vaccines.ru"),
    ("vaccines.hi.2", "vaccines.zh"),
)


def main() -> None:
    """Align every pair and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="xm-mini")
    parser.add_argument("--out", type=Path, default=ROOT / "assets" / "first_screen.json")
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.model)
    queries, passages = _rows("queries.jsonl"), _rows("passages.jsonl")
    examples = []
    for query_id, passage_id in PAIRS:
        query, passage = queries[query_id], passages[passage_id]
        encoded_query = encoder.encode_query(query["text"], _detected(query))
        encoded_passage = encoder.encode_passages([passage["text"]], [_detected(passage)])[0]
        aligned = maxsim.align(encoded_query, encoded_passage, passage_id=passage_id, model=encoder.model)
        title = f"{_name(query)} → {_name(passage)}"
        examples.append({"title": title, "payload": figure.payload(aligned)})
    facts = {"model": encoder.model, "revision": encoder.revision, "precision": encoder.precision}
    lines = ",\n".join(json.dumps(example, ensure_ascii=False, separators=(",", ":")) for example in examples)
    # One example a line, so that a change of one is a change of one line.
    arguments.out.write_text(f'{json.dumps(facts)[:-1]}, "examples": [\n{lines}\n]}}\n', encoding="utf-8")
    sizes = {"examples": len(examples), "bytes": arguments.out.stat().st_size}
    print(json.dumps({"file": str(arguments.out), **facts, **sizes}))


def _rows(name: str) -> dict[str, dict[str, str]]:
    """Read a file of the parallel sample by id."""
    path = ROOT / "sample_corpora" / "parallel" / name
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {row["id"]: row for row in rows}


def _detected(row: dict[str, str]) -> LanguageGuess:
    """Detect a text's language as the page will when "Explain" is pressed; a wrong guess has no place on the page."""
    guess = detect(row["text"])
    if guess.code != row["language"]:
        raise SystemExit(f"{row['id']} is {row['language']} but reads like {guess.code}; choose another example")
    return guess


def _name(row: dict[str, str]) -> str:
    """Name a text's language in itself."""
    return LANGUAGES[row["language"]].native_name


if __name__ == "__main__":
    main()
