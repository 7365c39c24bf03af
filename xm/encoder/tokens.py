"""Texts to token ids exactly as the original ColBERT library makes them (facts sheet, section 2).

A marker is looked up, never added: where the vocabulary lacks it, as XLM-R's does, it is <unk>. Leaves out: vectors.
"""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Encoding, Tokenizer

from xm.encoder.layouts import Metadata, read_json
from xm.errors import CheckpointError, TextError
from xm.types import NO_SPAN, Kind

QUERY_MARKER, PASSAGE_MARKER = "[Q]", "[D]"  # how markers are shown; what stands for them in the vocabulary varies
_N_BEFORE = 2  # CLS and marker stand before the text
_N_SPECIAL = 3  # and SEP behind it
_SPACE = "\u2581"  # sentencepiece's visible space


@dataclass(frozen=True, eq=False)
class TextTokens:
    """One text as the model reads it: CLS, marker, n_content pieces of text, SEP, and a query's masks.

    ids: (n_tokens,) int32. offsets: (n_tokens, 2) int32, spans of the text's visible characters or (-1, -1).
    attended, scored: (n_tokens,) bool. n_unseen: characters behind the last piece that fitted.
    """

    ids: np.ndarray
    offsets: np.ndarray
    n_content: int
    attended: np.ndarray
    scored: np.ndarray
    n_unseen: int

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kind of each token, by its place: a "<mask>" that someone typed is content."""
        n_masks = len(self.ids) - self.n_content - _N_SPECIAL
        before: tuple[Kind, ...] = ("marker",) * _N_BEFORE
        content: tuple[Kind, ...] = ("content",) * self.n_content
        masks: tuple[Kind, ...] = ("mask",) * n_masks
        return (*before, *content, "marker", *masks)


class TextTokenizer:
    """The tokenizer of one checkpoint with its markers, lengths and skiplist; safe to share between threads."""

    def __init__(self, folder: Path, metadata: Metadata) -> None:
        """Read tokenizer.json and the names of the special tokens.

        Raises:
            CheckpointError: a file is missing or damaged, or there is no mask, padding or unknown token, or a text is
                not put between one token before and one behind.
        """
        self.metadata = metadata
        self._tokenizer = _read_tokenizer(folder)
        names = _special_names(folder)
        self.mask_id = self._special(folder, names, "mask_token")
        self.pad_id = self._special(folder, names, "pad_token")
        self._unk_id = self._special(folder, names, "unk_token")
        self.query_marker_id = self._look_up(metadata.query_token_id)
        self.passage_marker_id = self._look_up(metadata.doc_token_id)
        self._cls_id, self._sep_id = self._frame(folder)
        self.skip_ids = self._skiplist() if metadata.mask_punctuation else ()

    @property
    def n_pieces(self) -> int:
        """Size of the vocabulary, added tokens included."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def piece(self, token_id: int) -> str:
        """Return the piece of an id of this vocabulary."""
        return self._tokenizer.id_to_token(token_id)

    def query(self, text: str) -> TextTokens:
        """Tokenise a query: exactly query_maxlen tokens, filled up with masks.

        Raises:
            TextError: the query is empty or cannot be read.
        """
        encoding = self._encode([text], ["the query"])[0]
        ids, offsets, n_unseen = self._framed(text, encoding, self.query_marker_id, self.metadata.query_maxlen)
        n_content = len(ids) - _N_SPECIAL
        n_masks = self.metadata.query_maxlen - len(ids)
        ids = np.concatenate([ids, np.full(n_masks, self.mask_id, np.int32)])
        ids[ids == self.pad_id] = self.mask_id  # the original turns padding into masks, also where someone typed it
        attended = np.ones(len(ids), bool)
        if not self.metadata.attend_to_mask_tokens:
            attended[len(ids) - n_masks :] = False
        return TextTokens(
            ids=ids,
            offsets=np.concatenate([offsets, np.full((n_masks, 2), NO_SPAN, np.int32)]),
            n_content=n_content,
            attended=attended,
            scored=np.ones(len(ids), bool),
            n_unseen=n_unseen,
        )

    def passages(self, texts: Sequence[str]) -> list[TextTokens]:
        """Tokenise passages: at most doc_maxlen tokens each, the skiplist's not scored.

        Raises:
            TextError: a passage, named by its position, is empty or cannot be read.
        """
        encodings = self._encode(texts, [f"passage {position}" for position in range(len(texts))])
        unscored = np.array([*self.skip_ids, self.pad_id], np.int32)
        found = []
        for text, encoding in zip(texts, encodings, strict=True):
            ids, offsets, n_unseen = self._framed(text, encoding, self.passage_marker_id, self.metadata.doc_maxlen)
            everything = np.ones(len(ids), bool)
            scored = ~np.isin(ids, unscored)
            found.append(TextTokens(ids, offsets, len(ids) - _N_SPECIAL, everything, scored, n_unseen))
        return found

    def shown(self, tokens: TextTokens, marker: str) -> tuple[str, ...]:
        """Return the piece of each token, the marker by its role: <s>, [Q], ..., </s>, <mask>."""
        pieces = [self.piece(token_id) for token_id in tokens.ids.tolist()]
        pieces[_N_BEFORE - 1] = marker
        return tuple(pieces)

    def _encode(self, texts: Sequence[str], names: Sequence[str]) -> list[Encoding]:
        """Cut texts into pieces; a text without any is an error that names it."""
        for text, name in zip(texts, names, strict=True):
            _check_text(text, name)
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        for encoding, name in zip(encodings, names, strict=True):
            if not encoding.ids:
                raise TextError(f"{name} holds no character the tokenizer can read; give at least one word")
        return encodings

    def _framed(
        self, text: str, encoding: Encoding, marker_id: int, max_length: int
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Put CLS and marker before the pieces that fit, and SEP behind: ids, offsets, characters unseen."""
        n_content = min(len(encoding.ids), max_length - _N_SPECIAL)
        ids = [self._cls_id, marker_id, *encoding.ids[:n_content], self._sep_id]
        pairs = zip(encoding.tokens[:n_content], encoding.offsets, strict=False)
        spans = [NO_SPAN, NO_SPAN, *(_visible(text, piece, span) for piece, span in pairs), NO_SPAN]
        n_unseen = len(text) - encoding.offsets[n_content - 1][1] if n_content < len(encoding.ids) else 0
        return np.array(ids, np.int32), np.array(spans, np.int32), n_unseen

    def _look_up(self, token: str) -> int:
        """Return a token's id, or the unknown token's, as the original library does."""
        token_id = self._tokenizer.token_to_id(token)
        return self._unk_id if token_id is None else token_id

    def _special(self, folder: Path, names: dict[str, str], role: str) -> int:
        """Return the id of the special token in a role."""
        token_id = self._tokenizer.token_to_id(names[role]) if role in names else None
        if token_id is None:
            raise CheckpointError(
                f"{folder}: the tokenizer has no {role.replace('_', ' ')} (tokenizer_config.json or "
                f"special_tokens_map.json: {names.get(role)!r}); late interaction needs one"
            )
        return token_id

    def _frame(self, folder: Path) -> tuple[int, int]:
        """Return the ids the tokenizer itself puts before and behind a text."""
        content = self._tokenizer.encode("a", add_special_tokens=False).ids
        framed = self._tokenizer.encode("a", add_special_tokens=True).ids
        if len(framed) != len(content) + 2 or framed[1:-1] != content:
            raise CheckpointError(
                f"{folder}/tokenizer.json makes {framed} of text {content}; expected one token before and one behind"
            )
        return framed[0], framed[-1]

    def _skiplist(self) -> tuple[int, ...]:
        """Return the ids not scored in passages: the first piece of each punctuation mark, however odd.

        For a sentencepiece vocabulary that is often the lone space piece. The original also lists the marks
        themselves, as strings, which no id ever equals.
        """
        firsts = [self._tokenizer.encode(mark, add_special_tokens=False).ids[:1] for mark in string.punctuation]
        return tuple(sorted({token_id for first in firsts for token_id in first}))


def _read_tokenizer(folder: Path) -> Tokenizer:
    """Read tokenizer.json, without the truncation and padding it may have been saved with."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} has no tokenizer.json, the only form of tokenizer that is read")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - tokenizers raises plain Exception, nothing narrower
        raise CheckpointError(f"{path} is damaged: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _special_names(folder: Path) -> dict[str, str]:
    """Read the special tokens by role; an entry is a string or an object with `content`."""
    names: dict[str, str] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        if not (folder / file).is_file():
            continue
        for role, entry in read_json(folder / file).items():
            token = entry.get("content") if isinstance(entry, dict) else entry
            if role.endswith("_token") and isinstance(token, str):
                names[role] = token
    return names


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
