"""The one text that a language is added from: its batches, a part to measure on, and whether it can be read at all.

Leaves out: the training (xm.train.add_language).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xm.errors import TrainingError
from xm.train.data import read_lines
from xm.train.mlm import MaskedBatch, masked_batch
from xm.train.packing import MASKED_SHARE, UNKNOWN, Masker, pack, piece_counts
from xm.train.student import Texts

_HELD_SHARE, HELD_ROWS = 0.05, 32
_MOST_UNKNOWN = 0.3
N_SENTENCES, SENTENCE_CHARS = 6, 120  # shown in the picture of what changed


@dataclass(frozen=True)
class AddOptions:
    """What a batch holds, and what learns.

    head: MLM head that `xm train pretrain` wrote; None: SOURCE/run/mlm_head.safetensors, else one is learned first.
    embeddings: also learn the word embeddings of the text's pieces, for this language alone.
    """

    batch_size: int = 8
    length: int = 128
    masked: float = MASKED_SHARE
    embeddings: bool = False
    head: Path | None = None

    def __post_init__(self) -> None:
        if self.head is not None and not self.head.is_file():
            raise TrainingError(f"no such MLM head: {self.head}; leave --head out to have one learned first")


class Material:
    """One text, packed, with its last lines held out of training, to measure on."""

    def __init__(self, path: Path, tokens: Texts, batch: AddOptions, *, code: str, seed: int) -> None:
        """Read and pack a text in the language `code`.

        Raises:
            TrainingError: it is missing, too short, or in a script that the vocabulary lacks.
        """
        lines = list(read_lines(path))
        n_held = max(1, round(_HELD_SHARE * len(lines)))
        self.rows = pack(lines[:-n_held], tokens.tokenizer, length=batch.length)
        self.held = pack(lines[-n_held:], tokens.tokenizer, length=batch.length)[:HELD_ROWS]
        if len(self.rows) < batch.batch_size or not len(self.held):
            raise TrainingError(
                f"{path} is too short: {len(lines)} lines fill {len(self.rows)} rows of {batch.length} tokens and "
                f"{len(self.held)} to measure on; at least {batch.batch_size} and 1 are needed"
            )
        self.sentences = [line[:SENTENCE_CHARS] for line in lines[-n_held:][:N_SENTENCES]]
        self.counts = piece_counts(np.concatenate([self.rows, self.held]), tokens.tokenizer.get_vocab_size())
        self.unknown = unknown_share(self.counts, path)
        self._masker = Masker(tokens.tokenizer, share=batch.masked)
        self._code, self._seed, self._size, self._device = code, seed, batch.batch_size, tokens.device

    def batch(self, step: int) -> MaskedBatch:
        """Return the batch of a step: rows drawn at random."""
        chosen = np.random.default_rng((self._seed, step)).choice(len(self.rows), self._size, replace=False)
        return self._masked(self.rows[chosen], step)

    def held_batches(self, n_rows: int) -> list[MaskedBatch]:
        """Return the first held-out rows in batches, always masked alike."""
        starts = range(0, min(n_rows, len(self.held)), self._size)
        return [self._masked(self.held[start : start + self._size], start) for start in starts]

    def _masked(self, rows: np.ndarray, number: int) -> MaskedBatch:
        return masked_batch(rows, self._masker, self._code, seed=(self._seed, number, 1), device=self._device)


def unknown_share(counts: np.ndarray, path: Path) -> float:
    """Return the share of a text's pieces that the vocabulary lacks, given how often each piece occurs.

    Raises:
        TrainingError: it is more than an adapter can make up for.
    """
    unknown = float(counts[UNKNOWN] / counts.sum())
    if unknown > _MOST_UNKNOWN:
        raise TrainingError(
            f"{path}: {unknown:.0%} of its pieces are not in the checkpoint's vocabulary (at most "
            f"{_MOST_UNKNOWN:.0%}); an adapter cannot learn a script that the vocabulary lacks"
        )
    return unknown
