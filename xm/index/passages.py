"""The passages of an index on disk: ids and languages are known at once, a text is read when it is asked for.

Leaves out: which passages are deleted (xm.index.parts), their tokens (xm.index.table).
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from xm.errors import IndexFolderError
from xm.index.files import REBUILD, json_line
from xm.types import LanguageGuess, Passage


class StoredPassages:
    """The live passages of an index, as a sequence; each is read from the disk once, when it is first asked for.

    passage_ids, codes: id and XMOD code of each passage, in order.
    """

    def __init__(
        self, path: Path, data: np.ndarray, bounds: np.ndarray, *, passage_ids: Sequence[str], codes: Sequence[str]
    ) -> None:
        """Take what the index knows of its passages.

        Args:
            path: passages.jsonl, for messages.
            data: (n_bytes,) uint8, its committed bytes.
            bounds: (n_passages, 2) int64, first byte and the one after the last of each passage's line.
            passage_ids: one for each passage.
            codes: one for each passage.
        """
        self.passage_ids = tuple(passage_ids)
        self.codes = tuple(codes)
        self._path, self._data, self._bounds = path, data, bounds
        self._read: dict[int, Passage] = {}

    def __len__(self) -> int:
        return len(self.passage_ids)

    def __getitem__(self, place: int | slice) -> Passage | tuple[Passage, ...]:
        """Return a passage, or those of a slice; IndexFolderError if the file no longer holds them."""
        if isinstance(place, slice):
            return tuple(self[i] for i in range(*place.indices(len(self))))
        place = range(len(self))[place]
        if place not in self._read:
            self._read[place] = self._passage(place)
        return self._read[place]

    def __iter__(self) -> Iterator[Passage]:
        return (self[place] for place in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, tuple | StoredPassages):
            return NotImplemented
        return len(self) == len(other) and all(one == another for one, another in zip(self, other, strict=True))

    def _passage(self, place: int) -> Passage:
        """Read one passage, which must be the one that the index names."""
        begin, end = self._bounds[place].tolist()
        try:
            passage = passage_from(self._data[begin:end].tobytes())
        except (ValueError, KeyError, TypeError) as error:
            raise IndexFolderError(f"{self._path} holds no passage at byte {begin:,} ({error!r}); {REBUILD}") from error
        if (passage.passage_id, passage.language.code) != (self.passage_ids[place], self.codes[place]):
            raise IndexFolderError(
                f"{self._path} holds {passage.passage_id!r} where the index has {self.passage_ids[place]!r}; {REBUILD}"
            )
        return passage


def line_of(passage: Passage) -> bytes:
    """Return one passage as a line of JSON that `xm.read_corpus` can read too."""
    guess = asdict(passage.language)
    facts = {"id": passage.passage_id, "text": passage.text, "language": guess.pop("code"), **guess}
    return json_line({**facts, "parent_id": passage.parent_id})


def passage_from(line: bytes) -> Passage:
    """Read what `line_of` gave; ValueError, KeyError or TypeError if it is something else."""
    facts = json.loads(line.decode("utf-8", "surrogatepass"))
    guess = LanguageGuess(
        code=facts["language"],
        probability=facts["probability"],
        source=facts["source"],
        margin=facts["margin"],
        runner_up=facts["runner_up"],
    )
    return Passage(facts["id"], facts["text"], guess, facts["parent_id"])
