"""Texts to token ids exactly as the library that saved the checkpoint makes them (facts sheet, sections 1.6 and 2).

A marker is looked up, never added: where ColBERT's vocabulary lacks it, as XLM-R's does, it is <unk>. Leaves out:
vectors, and files that name special tokens (xm.encoder.tokenizer_files).
"""

import string
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tokenizers import Encoding

from xm.encoder.recipe import STANFORD, Recipe, Side
from xm.encoder.tokenizer_files import read_tokenizer, special_names
from xm.errors import CheckpointError, TextError
from xm.types import NO_SPAN, Kind

QUERY_MARKER, PASSAGE_MARKER = "[Q]", "[D]"  # how markers are shown; what stands for them in the vocabulary varies
_SPACE = "\u2581"  # sentencepiece's visible space


@dataclass(frozen=True, eq=False)
class TextTokens:
    """One text as the model reads it: n_before tokens of frame, marker and prompt, n_content of text, SEP, masks.

    ids: (n_tokens,) int32. offsets: (n_tokens, 2) int32, spans of the text's visible characters or (-1, -1).
    attended, scored: (n_tokens,) bool. n_unseen: characters behind the last piece that fitted.
    """

    ids: np.ndarray
    offsets: np.ndarray
    n_before: int
    n_content: int
    attended: np.ndarray
    scored: np.ndarray
    n_unseen: int

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kind of each token, by its place: a "<mask>" that someone typed is content."""
        n_masks = len(self.ids) - self.n_before - self.n_content - 1
        before: tuple[Kind, ...] = ("marker",) * self.n_before
        content: tuple[Kind, ...] = ("content",) * self.n_content
        masks: tuple[Kind, ...] = ("mask",) * n_masks
        return (*before, *content, "marker", *masks)


class TextTokenizer:
    """The tokenizer of one checkpoint with its markers, lengths and skiplist; safe to share between threads.

    mask_id is None where there is no mask token, marker ids where no marker is put in. is_clean: see __init__.
    """

    def __init__(self, folder: Path, recipe: Recipe, *, clean_punctuation: bool = False) -> None:
        """Read tokenizer.json and the names of the special tokens.

        Args:
            folder: of the checkpoint.
            recipe: its markers, lengths and skiplist.
            clean_punctuation: score no passage token of punctuation or space alone, in place of the skiplist; this
                changes the model.

        Raises:
            CheckpointError: a file is missing or damaged, a mask, padding or unknown token or a marker that is needed
                is not there, or a text is not put between one token before and one behind.
        """
        self.recipe = recipe
        self.is_clean = clean_punctuation
        self._home = folder / recipe.backbone
        self._tokenizer = read_tokenizer(self._home, lowercases=recipe.lowercases)
        self._names = special_names(self._home)
        self.pad_id = self._special("pad_token")
        self.mask_id = self._mask()
        self._unk_id = self._special("unk_token") if recipe.layout == STANFORD else self._find_special("unk_token")
        self.query_marker_id = self._marker(recipe.query)
        self.passage_marker_id = self._marker(recipe.passage)
        self._cls_id, self._sep_id = self._frame()
        self.skip_ids = self._skiplist()

    @property
    def n_pieces(self) -> int:
        """Size of the vocabulary, added tokens included."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def piece(self, token_id: int) -> str:
        """Return the piece of an id of this vocabulary."""
        return self._tokenizer.id_to_token(token_id)

    def query(self, text: str) -> TextTokens:
        """Tokenise a query, filled up with masks if the checkpoint expands queries.

        Raises:
            TextError: the query is empty or cannot be read.
        """
        found = self._framed([text], ["the query"], self.recipe.query, self.query_marker_id)[0]
        n_masks, ids, attended = 0, found.ids, found.attended
        if self.recipe.expansion and self.mask_id is not None:
            n_masks = max(0, self.recipe.expansion.length - len(ids))
            ids = np.concatenate([ids, np.full(n_masks, self.mask_id, np.int32)])
            attended = np.concatenate([attended, np.full(n_masks, self.recipe.expansion.attends)])
            if self.recipe.layout == STANFORD:
                ids[ids == self.pad_id] = self.mask_id  # it turns padding into masks, also where someone typed it
        skipped = self.skip_ids if self.recipe.skiplist.in_queries else ()
        offsets = np.concatenate([found.offsets, np.full((n_masks, 2), NO_SPAN, np.int32)])
        scored = ~np.isin(ids, np.array(skipped, np.int32))
        return replace(found, ids=ids, offsets=offsets, attended=attended, scored=scored)

    def passages(self, texts: Sequence[str]) -> list[TextTokens]:
        """Tokenise passages: cut to the passage length, the skiplist's tokens not scored.

        Raises:
            TextError: a passage, named by its position, is empty or cannot be read.
        """
        names = [f"passage {position}" for position in range(len(texts))]
        found = self._framed(texts, names, self.recipe.passage, self.passage_marker_id)
        return [self._scored(text, tokens) for text, tokens in zip(texts, found, strict=True)]

    def shown(self, tokens: TextTokens, marker: str) -> tuple[str, ...]:
        """Return the piece of each token, a marker put in by its role: <s>, [Q], ..., </s>, <mask>."""
        pieces = [self.piece(token_id) for token_id in tokens.ids.tolist()]
        if (self.query_marker_id if marker == QUERY_MARKER else self.passage_marker_id) is not None:
            pieces[1] = marker
        return tuple(pieces)

    def _scored(self, text: str, tokens: TextTokens) -> TextTokens:
        """Say which tokens of a passage are scored."""
        unscored = [*self.skip_ids] if self.recipe.skiplist.in_passages and not self.is_clean else []
        if self.recipe.layout == STANFORD:
            unscored.append(self.pad_id)
        scored = ~np.isin(tokens.ids, np.array(unscored, np.int32))
        if self.is_clean:
            content = slice(tokens.n_before, tokens.n_before + tokens.n_content)
            scored[content] &= [_says_something(text, span) for span in tokens.offsets[content].tolist()]
        return replace(tokens, scored=scored)

    def _framed(
        self, texts: Sequence[str], names: Sequence[str], side: Side, marker_id: int | None
    ) -> list[TextTokens]:
        """Cut texts into pieces and put the frame around those that fit; a text without any is an error."""
        for text, name in zip(texts, names, strict=True):
            _check_text(text, name)
        prompted = [side.prompt + text for text in texts]
        shifts = [-len(side.prompt)] * len(texts)
        if self.recipe.strips:
            shifts = [shift + len(text) - len(text.lstrip()) for shift, text in zip(shifts, prompted, strict=True)]
            prompted = [text.strip() for text in prompted]
        encodings = self._tokenizer.encode_batch(prompted, add_special_tokens=False)
        before = [self._cls_id] if marker_id is None else [self._cls_id, marker_id]
        room = side.length - len(before) - 1
        found = []
        for name, text, full, encoding, shift in zip(names, texts, prompted, encodings, shifts, strict=True):
            n_prompt = sum(end + shift <= 0 for _, end in encoding.offsets) if side.prompt else 0
            if len(encoding.ids) <= n_prompt:
                raise TextError(f"{name} holds no character the tokenizer can read; give at least one word")
            if n_prompt >= room:
                raise CheckpointError(f"{self._home}: a prompt of {n_prompt} tokens leaves none of {room} for the text")
            pairs = zip(encoding.tokens[:room], encoding.offsets, strict=False)
            spans = [_shifted(_visible(full, piece, span), shift) for piece, span in pairs]
            ids = np.array([*before, *encoding.ids[:room], self._sep_id], np.int32)
            found.append(
                TextTokens(
                    ids=ids,
                    offsets=np.array([*[NO_SPAN] * len(before), *spans, NO_SPAN], np.int32),
                    n_before=len(before) + n_prompt,
                    n_content=len(spans) - n_prompt,
                    attended=np.ones(len(ids), bool),
                    scored=np.ones(len(ids), bool),
                    n_unseen=_n_unseen(text, encoding, room, shift),
                )
            )
        return found

    def _marker(self, side: Side) -> int | None:
        """Return a marker's id, None if there is none; the original library takes the unknown token for an unknown."""
        if not side.marker:
            return None
        token_id = self._tokenizer.token_to_id(side.marker)
        if token_id is None and self.recipe.layout != STANFORD:
            raise CheckpointError(
                f"{self._home}: the tokenizer has no marker {side.marker!r}; the library that saved the checkpoint "
                "would add it with random weights"
            )
        return self._unk_id if token_id is None else token_id

    def _mask(self) -> int | None:
        """Return the id queries are filled up with."""
        expansion = self.recipe.expansion
        if not expansion:
            return self._find_special("mask_token")
        if expansion.token is None:
            return self._special("mask_token")
        token_id = self._tokenizer.token_to_id(expansion.token)
        if token_id is None:
            raise CheckpointError(f"{self._home}: the tokenizer has no {expansion.token!r} to expand queries with")
        return token_id

    def _find_special(self, role: str) -> int | None:
        """Return the id of the special token in a role, None if there is none."""
        return self._tokenizer.token_to_id(self._names[role]) if role in self._names else None

    def _special(self, role: str) -> int:
        """Return the id of a special token that is needed."""
        token_id = self._find_special(role)
        if token_id is None:
            raise CheckpointError(
                f"{self._home}: the tokenizer has no {role.replace('_', ' ')} (tokenizer_config.json or "
                f"special_tokens_map.json: {self._names.get(role)!r}); this checkpoint needs one"
            )
        return token_id

    def _frame(self) -> tuple[int, int]:
        """Return the ids the tokenizer itself puts before and behind a text."""
        content = self._tokenizer.encode("a", add_special_tokens=False).ids
        framed = self._tokenizer.encode("a", add_special_tokens=True).ids
        if len(framed) != len(content) + 2 or framed[1:-1] != content:
            raise CheckpointError(
                f"{self._home}/tokenizer.json makes {framed} of text {content}; expected one token before and one "
                "behind"
            )
        return framed[0], framed[-1]

    def _skiplist(self) -> tuple[int, ...]:
        """Return the ids not scored, however odd the checkpoint's rule.

        The first piece of a mark is often the lone space piece in a sentencepiece vocabulary; the original library
        also lists the marks themselves, as strings, which no id ever equals.
        """
        words, rule = self.recipe.skiplist.words, self.recipe.skiplist.rule
        if rule == "first piece":
            firsts = [self._tokenizer.encode(word, add_special_tokens=False).ids[:1] for word in words]
            return tuple(sorted({token_id for first in firsts for token_id in first}))
        found = {self._tokenizer.token_to_id(word) for word in words}
        if rule == "own or unknown" and None in found:
            found.add(self._unk_id)
        return tuple(sorted(token_id for token_id in found if token_id is not None))


def _check_text(text: str, what: str) -> None:
    """Refuse what has nothing to encode."""
    if not text.strip():
        raise TextError(f"{what} is empty ({len(text)} characters, all spaces); give at least one word")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TextError(f"{what} holds half a character (a lone surrogate) at {error.start}; use UTF-8") from error


def _visible(text: str, piece: str, span: tuple[int, int]) -> tuple[int, int]:
    """Cut the spaces off a span; a piece that stands for a space alone has none, whatever the tokenizer says."""
    start, end = span
    if not piece.strip(_SPACE) and _SPACE not in text[start:end]:
        return NO_SPAN
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return (start, end) if start < end else NO_SPAN


def _shifted(span: tuple[int, int], shift: int) -> tuple[int, int]:
    """Move a span from what was encoded to the text itself; one that lies in the prompt is none."""
    start, end = max(span[0] + shift, 0), span[1] + shift
    return NO_SPAN if span == NO_SPAN or end <= 0 else (start, end)


def _n_unseen(text: str, encoding: Encoding, room: int, shift: int) -> int:
    """Count the characters of a text that did not fit."""
    return len(text) - max(0, encoding.offsets[room - 1][1] + shift) if room < len(encoding.ids) else 0


def _says_something(text: str, span: list[int]) -> bool:
    """Say whether a span holds more than punctuation."""
    marks = (char in string.punctuation or unicodedata.category(char).startswith("P") for char in text[slice(*span)])
    return tuple(span) != NO_SPAN and not all(marks)
