"""Plain text for masked language modelling: lines packed into rows of one length, and words masked in them.

Every batch has the same shape and the same number of masked positions, since varying sizes fragment the heap.
Leaves out: which language a batch is of (xm.train.pretrain), and the loss (xm.train.mlm).
"""

from collections.abc import Iterable
from itertools import islice

import numpy as np
from tokenizers import Tokenizer

from xm.errors import TrainingError
from xm.languages import LANGUAGES
from xm.train.tokenizer import MASK, SPECIALS

BOS, EOS, UNKNOWN = SPECIALS.index("<s>"), SPECIALS.index("</s>"), SPECIALS.index("<unk>")
MASKED_SHARE = 0.25  # of all positions: more to learn from a row than BERT's 15 % (Wettig et al. 2023 masked 40 %)
_UNSPACED = frozenset(("Han", "Japanese", "Thai", "Lao", "Khmer", "Myanmar"))  # no spaces: each piece is a word
_KEPT, _RANDOM = 0.1, 0.1  # of the masked positions: shown as they are; shown as another piece (Devlin et al. 2019)
_LINES = 2_000  # tokenised at a time


def pack(lines: Iterable[str], tokenizer: Tokenizer, *, length: int) -> np.ndarray:
    """Return (n_rows, length) int32: `<s>`, text, `</s>`, with `</s>` between lines; what fills no row is dropped."""
    parts: list[np.ndarray] = []
    lines = iter(lines)
    while chunk := list(islice(lines, _LINES)):
        encodings = tokenizer.encode_batch(chunk, add_special_tokens=False)
        parts.append(np.array([i for encoding in encodings for i in (*encoding.ids, EOS)], dtype=np.int32))
    stream = np.concatenate(parts) if parts else np.empty(0, np.int32)
    n_rows = len(stream) // (length - 2)
    rows = np.full((n_rows, length), EOS, dtype=np.int32)
    rows[:, 0] = BOS
    rows[:, 1:-1] = stream[: n_rows * (length - 2)].reshape(n_rows, length - 2)
    return rows


def piece_counts(rows: np.ndarray, n_pieces: int) -> np.ndarray:
    """Return how often each piece occurs, (n_pieces,) int64; `<s>` and `</s>` count as never."""
    counts = np.bincount(rows.ravel(), minlength=n_pieces)
    counts[[BOS, EOS]] = 0
    return counts


class Masker:
    """Masks whole words of packed rows, always the same number of positions a batch."""

    def __init__(self, tokenizer: Tokenizer, *, share: float = MASKED_SHARE) -> None:
        """Find out which pieces begin a word; `share` of a batch's positions are masked."""
        n_pieces = tokenizer.get_vocab_size()
        pieces = [tokenizer.id_to_token(i) for i in range(n_pieces)]
        self.mask_id = tokenizer.token_to_id(MASK)
        self.share = share
        self._starts = np.array([piece.startswith("▁") for piece in pieces])
        self._fixed = np.array([piece in (*SPECIALS, MASK) for piece in pieces])
        self._drawn = np.flatnonzero(~self._fixed)

    def __call__(
        self, rows: np.ndarray, *, language: str, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mask whole words, drawn at random, until the number is reached; the last one may be masked in part.

        Args:
            rows: (n_rows, length) piece ids.
            language: XMOD code; where its script has no spaces, each piece counts as a word.

        Returns:
            The rows as the model sees them, (n_rows, length) int64; the masked positions in the flattened rows,
            (n_masked,) int64, ascending; the pieces that stood there, (n_masked,) int64.

        Raises:
            TrainingError: too few positions can be masked, as most pieces are unknown.
        """
        flat = rows.ravel().astype(np.int64)
        n_masked = round(self.share * flat.size)
        maskable = ~self._fixed[flat]
        if maskable.sum() < n_masked:
            raise TrainingError(
                f"{maskable.sum()} of {flat.size} pieces of a {language} batch are known, {n_masked} are to be masked; "
                "is the text in a script that the checkpoint's tokenizer covers?"
            )
        starts = np.ones(flat.size, bool) if _is_unspaced(language) else self._starts[flat] | ~maskable
        starts[:: rows.shape[1]] = True
        words = np.cumsum(starts) - 1
        draw = generator.random(words[-1] + 1)[words]
        draw[~maskable] = np.inf
        positions = np.sort(np.argsort(draw, kind="stable")[:n_masked])
        seen = flat.copy()
        fate = generator.random(n_masked)
        seen[positions[fate >= _KEPT]] = self.mask_id
        swapped = positions[(fate >= _KEPT) & (fate < _KEPT + _RANDOM)]
        seen[swapped] = generator.choice(self._drawn, len(swapped))
        return seen.reshape(rows.shape), positions, flat[positions]


def _is_unspaced(language: str) -> bool:
    return LANGUAGES[language].script in _UNSPACED
