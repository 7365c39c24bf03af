"""Negatives mined by a late-interaction checkpoint: the passages it ranks high for a question they do not answer.

Passages are ranked in pools of a few thousand, so that memory and time stay bounded: a pool is still far larger than
what a negative has to stand out from. Leaves out: training on them (`xm train finetune --negatives given`).
"""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from xm.encoder import load_encoder
from xm.errors import TrainingError
from xm.search import build_index
from xm.train.data import QuestionPair
from xm.train.negatives import ENGLISH, Candidate, NegativeOptions, share_of, titles_of, true_negatives
from xm.types import Corpus, LanguageGuess, Passage

_LOG = logging.getLogger(__name__)
_GUESS = LanguageGuess(ENGLISH, 1.0, "given")


def mine(
    pairs: Sequence[QuestionPair], model: Path, out: Path, *, options: NegativeOptions, seed: int
) -> dict[str, int]:
    """Write each question with its passage and the negatives found, as JSON Lines that `xm train finetune` reads.

    Args:
        model: a checkpoint folder; usually the one that the next round of fine-tuning starts from.
        out: the file; it is written beside its place and then renamed.
        options: depth, false-negative limits and pool; `kind` and `n` do not count here.

    Returns:
        "questions", those "with_negatives", and how many "negatives" there are in all.

    Raises:
        TrainingError: there are fewer than two passages, or the file cannot be written.
    """
    found = dict(_ranked(pairs, model, options, seed))
    kept = [true_negatives(pair, found[place], options) for place, pair in enumerate(pairs)]
    rows = []
    for pair, negatives in zip(pairs, kept, strict=True):
        fields = asdict(pair)
        rows.append({"question": fields.pop("question"), "context": fields.pop("passage"), **fields,
                     "negatives": negatives})  # fmt: skip
    new = out.with_name(out.name + ".new")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        new.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        new.replace(out)
    except OSError as error:
        raise TrainingError(f"cannot write {out}: {error}; name a file that can be written") from error
    return {"questions": len(pairs), "with_negatives": sum(map(bool, kept)), "negatives": sum(map(len, kept))}


def _ranked(
    pairs: Sequence[QuestionPair], model: Path, options: NegativeOptions, seed: int
) -> Iterator[tuple[int, list[Candidate]]]:
    """Yield each pair's place and its candidates, best first: passages of its pool."""
    titles = titles_of(pairs)
    texts = list(titles)
    order = np.random.default_rng(seed).permutation(len(texts))
    n_pools = max(1, -(-len(texts) // options.pool))
    asking: dict[str, list[int]] = {}
    for place, pair in enumerate(pairs):
        asking.setdefault(pair.passage, []).append(place)
    encoder = load_encoder(str(model))
    for number, part in enumerate(np.array_split(order, n_pools), 1):  # even parts: no pool of a few is left over
        pool = [texts[i] for i in part]
        passages = tuple(Passage(str(i), text, _GUESS) for i, text in enumerate(pool))
        index = build_index(Corpus("pool", passages), encoder)
        for own, text in enumerate(pool):
            for place in asking[text]:
                query = encoder.encode_query(pairs[place].question, _GUESS)
                scores = index.score_all(query.vectors)
                # Deep enough for what is left out later, its own passage among it.
                best = np.argsort(-scores, kind="stable")[: 4 * options.depth]
                yield place, [Candidate(pool[i], titles[pool[i]], share_of(scores[i], scores[own])) for i in best]
        _LOG.info("mined pool %d of %d", number, n_pools)
