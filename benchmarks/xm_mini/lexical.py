"""How far matching pieces goes, without a model: `python -m benchmarks.xm_mini.lexical CHECKPOINT DATA`.

Ranks each validation set by the pieces of the checkpoint's vocabulary that a passage shares with the question, in three
ways: every question piece counts alike, as in MaxSim; weighed by its rarity; and by BM25, which looks at lengths and
repetitions too. Passages are cut where the encoder cuts them. The first is what MaxSim gets of tokens that match only
themselves. Prints JSON: MRR@10 of each set and their means. Leaves out: vectors.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

from tokenizers import Tokenizer

from benchmarks.evaluate_qa import find_files, read_set
from xm.train.bm25 import Bm25

QUERY_PIECES, PASSAGE_PIECES = 29, 253  # what xm-mini reads, less its three special tokens
DEPTH = 10


class Matcher:
    """The pieces of a set's passages, and three ways to score a passage by those of a question."""

    def __init__(self, passages: Sequence[Sequence[int]]) -> None:
        self.passages = [Counter(pieces) for pieces in passages]
        self.statistics = Bm25.of(passages)

    def count(self, question: Sequence[int], pieces: Counter[int]) -> float:
        """Count the question's pieces that the passage has."""
        return sum(piece in pieces for piece in question)

    def rarity(self, question: Sequence[int], pieces: Counter[int]) -> float:
        """Add up the rarity of the question's pieces that the passage has."""
        return sum(self.statistics.rarity(piece) for piece in question if piece in pieces)

    def bm25(self, question: Sequence[int], pieces: Counter[int]) -> float:
        """Score as BM25 does."""
        return self.statistics.score(question, pieces)


def reciprocal_rank(scores: Sequence[float], place: int) -> float:
    """Return 1 / rank of the passage at `place`, 0 below the first ten; of equal scores the first passage leads."""
    rank = 1 + sum((score, -i) > (scores[place], -place) for i, score in enumerate(scores))
    return 1 / rank if rank <= DEPTH else 0.0


def measure(path: Path, tokenizer: Tokenizer, limit: tuple[int | None, int | None]) -> dict[str, object]:
    """Measure one set."""
    questions = read_set(path, max_questions=limit[0], max_passages=limit[1], seed=0)
    places = {passage.passage_id: place for place, passage in enumerate(questions.corpus.passages)}
    matcher = Matcher(_pieces(tokenizer, [p.text for p in questions.corpus.passages], PASSAGE_PIECES))
    asked = _pieces(tokenizer, [query.text for query in questions.queries], QUERY_PIECES)
    line: dict[str, object] = {"file": path.name}
    ways: tuple[Callable[[Sequence[int], Counter[int]], float], ...] = (matcher.count, matcher.rarity, matcher.bm25)
    for way in ways:
        ranks = []
        for query, pieces in zip(questions.queries, asked, strict=True):
            (gold,) = questions.qrels[query.query_id]
            ranks.append(reciprocal_rank([way(pieces, passage) for passage in matcher.passages], places[gold]))
        line[way.__name__] = round(fmean(ranks), 4)
    return line


def _pieces(tokenizer: Tokenizer, texts: Sequence[str], longest: int) -> list[list[int]]:
    return [e.ids[:longest] for e in tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def main() -> None:
    """Measure every set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path, help="holds qa/dev.SOURCE.LANG.jsonl.xz")
    parser.add_argument("--max-questions", type=int, metavar="N", help="a seeded sample of each file's questions")
    parser.add_argument("--max-passages", type=int, metavar="N", help="a seeded sample of each file's passages")
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(args.checkpoint / "tokenizer.json"))
    limit = (args.max_questions, args.max_passages)
    lines = [measure(path, tokenizer, limit) for path in find_files(args.data / "qa", None)]
    means = {name: round(fmean(line[name] for line in lines), 4) for name in ("count", "rarity", "bm25")}
    print(json.dumps({"limit": limit, "lines": lines, "means": means}, indent=1))


if __name__ == "__main__":
    main()
