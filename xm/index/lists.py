"""Inverted lists: for each centroid, the passages that have a token there.

Leaves out: which lists a query reads (xm.index.stages), files (xm.index.store).
"""

from dataclasses import dataclass

import numpy as np

# Passages a block holds: a list names a passage by its place in the block, in two bytes instead of four. At 2 bits and
# 128 dimensions, codes (34 bytes a token) and lists together stay within 36 bytes a token.
BLOCK_PASSAGES = 2**16


@dataclass(frozen=True, eq=False)
class InvertedLists:
    """The lists of consecutive stored passages, a block of BLOCK_PASSAGES after the other. Make them with `lists_of`.

    passages: (n_entries,) uint16, places within a block, rising within a list and each there once. starts:
    (n_blocks, n_centroids + 1) int64; block b's list of centroid c is passages[starts[b, c] : starts[b, c + 1]].
    first_passage: the stored place of the first block's first passage. Deleted passages stay in the lists.
    """

    passages: np.ndarray
    starts: np.ndarray
    first_passage: int = 0

    def lengths(self) -> np.ndarray:
        """(n_centroids,) int64: passages in each centroid's list."""
        return np.diff(self.starts, axis=1).sum(axis=0)

    def passages_of(self, centroid_id: int) -> np.ndarray:
        """Return the stored places of a centroid's passages, rising: (n,) int64."""
        blocks = enumerate(self.starts[:, centroid_id : centroid_id + 2].tolist())
        places = [
            self.passages[begin:end].astype(np.int64) + self.first_passage + block * BLOCK_PASSAGES
            for block, (begin, end) in blocks
        ]
        return np.concatenate(places)


def lists_of(
    centroid_ids: np.ndarray, starts: np.ndarray, *, n_centroids: int, first_passage: int = 0
) -> InvertedLists:
    """Invert codes.

    Args:
        centroid_ids: (n_tokens,) int, of consecutive stored passages.
        starts: (n_passages + 1,) int64, the rows of passage i in `centroid_ids` are starts[i] to starts[i + 1].
        n_centroids: of the codec.
        first_passage: the stored place of the first of these passages.
    """
    n_passages = len(starts) - 1
    all_passages, all_starts, n_before = [], [], 0
    for first in range(0, max(n_passages, 1), BLOCK_PASSAGES):
        bounds = starts[first : first + BLOCK_PASSAGES + 1]
        ids = centroid_ids[bounds[0] : bounds[-1]]
        places = np.repeat(np.arange(len(bounds) - 1, dtype=np.uint16), np.diff(bounds))
        order = np.argsort(ids, kind="stable")  # a radix sort where ids have 16 bits
        ids, places = ids[order], places[order]
        once = np.ones(len(ids), dtype=bool)
        once[1:] = (ids[1:] != ids[:-1]) | (places[1:] != places[:-1])
        ends = np.cumsum(np.bincount(ids[once], minlength=n_centroids))
        all_starts.append(n_before + np.concatenate([[0], ends]))
        all_passages.append(places[once])
        n_before += int(ends[-1])
    return InvertedLists(np.concatenate(all_passages), np.stack(all_starts).astype(np.int64), first_passage)
