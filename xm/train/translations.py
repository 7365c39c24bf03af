"""Sentences of one language with their English translations: what an added language learns from them.

English stands still, so the language is drawn to where English is, and no other teacher is needed. Leaves out: many
languages that learn together from a teacher (xm.train.distil, xm.train.joint).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from xm.errors import TrainingError
from xm.train.data import ParallelPair
from xm.train.distil import batches_of
from xm.train.finetune import Side, parallel_loss, score_texts
from xm.train.negatives import ENGLISH
from xm.train.student import LateInteraction, Texts

_FEWEST = 50  # pairs
_HELD_EVERY, _MOST_HELD = 10, 200  # every tenth pair is held out, or fewer of many


class Translations:
    """Batches to learn from, and pairs held out to measure on; pairs that share a text with these are not learnt."""

    def __init__(self, pairs: Sequence[ParallelPair], *, size: int, seed: int) -> None:
        """Hold pairs of one language out and put the others in batches of `size`.

        Raises:
            TrainingError: there are fewer than 50 pairs, or too few for batches are left.
        """
        if len(pairs) < _FEWEST:
            raise TrainingError(
                f"{len(pairs)} parallel sentences of the language: at least {_FEWEST} are needed, in files whose first "
                "line names a language a column"
            )
        step = max(_HELD_EVERY, -(-len(pairs) // _MOST_HELD))
        held = {pair.english: pair for pair in {pair.text: pair for pair in pairs[::step]}.values()}
        self.held = list(held.values())
        theirs = {pair.text for pair in pairs[::step]}
        self.learnt = [pair for pair in pairs if pair.english not in held and pair.text not in theirs]
        self._batches = batches_of(self.learnt, batch_size=size, seed=seed)

    def loss(self, student: LateInteraction, texts: Texts, place: int) -> tuple[Tensor, int]:
        """Return `parallel_loss` of a batch, and the tokens in it; after the last batch comes the first."""
        return parallel_loss(student, texts, self._batches[place % len(self._batches)])

    @torch.inference_mode()
    def found(self, student: LateInteraction, texts: Texts, code: str) -> float:
        """Return the share of held-out sentences that find their translation before all others, in both directions.

        Args:
            code: the adapter through which the language is read.
        """
        sides = Side([pair.text for pair in self.held], code), Side([pair.english for pair in self.held], ENGLISH)
        tables = [score_texts(student, texts, *asked)[0][0] for asked in (sides, sides[::-1])]
        places = torch.arange(len(self.held), device=tables[0].device)
        return float(np.mean([(table.argmax(1) == places).float().mean().item() for table in tables]))
