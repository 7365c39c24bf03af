"""The encoder: every text through the adapter of its own language, to one unit vector a scored token.

Leaves out: choosing the language (xm.languages) and anything about indexes.
"""

import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import linear, normalize

from xm.encoder.checkpoints import CheckpointFacts, check_folder, facts_of
from xm.encoder.hub import find_folder, revision_of
from xm.encoder.layouts import check_weights
from xm.encoder.precision import Precision, fast_precision
from xm.encoder.tokens import PASSAGE_MARKER, QUERY_MARKER, TextTokenizer, TextTokens
from xm.encoder.weights import build_backbone, open_weights, read_config, read_tensor
from xm.encoder.xmod import add_adapter, build_shared, check_adapter, route_adapters
from xm.options import DEFAULT_MODEL, EncodeOptions
from xm.types import LanguageGuess, TokenEmbeddings

_N_REMEMBERED_QUERIES = 256
_N_LOADED = 2  # encoders kept per process; a base-size one takes about a gigabyte

# One encoding at a time: two at once on the same cores are slower than one after the other.
_ENCODING = threading.Lock()
_LOADING = threading.Lock()


def load_encoder(
    model: str = DEFAULT_MODEL, *, revision: str | None = None, options: EncodeOptions = EncodeOptions()
) -> "Encoder":
    """Load a checkpoint, or return the one already loaded with the same arguments.

    Args:
        model: "xm-mini", a folder, or a hub name such as "antoinelouis/colbert-xm".
        revision: for a hub name a branch, tag or commit; for a folder the digest its content must have.
        options: precision and batch size.

    Raises:
        CheckpointError: it cannot be found or fetched, is damaged, or is in a layout that cannot be loaded.
    """
    with _LOADING:
        return _load(model, revision, options)


@lru_cache(maxsize=_N_LOADED)
def _load(model: str, revision: str | None, options: EncodeOptions) -> "Encoder":
    folder = find_folder(model, revision=revision)
    return Encoder(folder, model=model, revision=revision_of(folder, revision), options=options)


class Encoder:
    """A checkpoint in memory: the shared weights, and each language adapter from its first use on.

    Threads may share it. `model` is the name it was asked for by, `revision` the hub's commit or a digest of the
    files, `precision` the number format it computes in. `languages` are the codes it has adapters for; if there are
    none, the backbone is one model for all languages: any code is accepted and changes nothing.
    """

    def __init__(self, folder: Path, *, model: str, revision: str, options: EncodeOptions) -> None:
        """Read tokenizer, shared weights and head; use `load_encoder` instead, which finds and remembers."""
        self.model = model
        self.revision = revision
        self.options = options
        self._tokenizer = TextTokenizer(folder, check_folder(folder))
        check_weights(folder)
        self.facts: CheckpointFacts = facts_of(folder, self._tokenizer, model=model)
        self.precision: Precision = "float32" if options.exact else fast_precision()
        self._tensors = open_weights(folder)  # stays open: adapters then come from this very file, even if replaced
        self._head = read_tensor(self._tensors, "linear.weight")
        config = read_config(folder)
        if self.languages:
            backbone = build_shared(config, self._tensors)
            route_adapters(backbone)
        else:
            backbone = build_backbone(config, self._tensors)
        self._backbone = backbone.to(getattr(torch, self.precision))
        self._adapter_ids: dict[str, int] = {}
        self._remembered = lru_cache(maxsize=_N_REMEMBERED_QUERIES)(self._encode_query)

    @property
    def dim(self) -> int:
        """Length of a token embedding."""
        return self.facts.dim

    @property
    def languages(self) -> tuple[str, ...]:
        """XMOD codes of the adapters in the checkpoint, loaded or not."""
        return self.facts.languages

    @property
    def loaded_languages(self) -> tuple[str, ...]:
        """XMOD codes of the adapters read so far."""
        return tuple(self._adapter_ids)

    def encode_query(self, text: str, language: LanguageGuess) -> TokenEmbeddings:
        """Encode a query: query_maxlen tokens, masks included. The vectors are shared with later calls: read-only.

        Raises:
            TextError: the query is empty or cannot be read.
            LanguageError: the checkpoint has no adapter of this code.
        """
        self._check_languages([language])
        return replace(self._remembered(text, language.code), language=language)

    def encode_passages(self, texts: Sequence[str], languages: Sequence[LanguageGuess]) -> list[TokenEmbeddings]:
        """Encode passages and return them in their order; raises as `stream_passages` does."""
        found = dict(self.stream_passages(texts, languages))
        return [found[position] for position in range(len(texts))]

    def stream_passages(
        self, texts: Sequence[str], languages: Sequence[LanguageGuess]
    ) -> Generator[tuple[int, TokenEmbeddings], None, None]:
        """Encode passages batch by batch; closing the generator cancels what is left.

        Args:
            texts: the passages.
            languages: one per passage; passages of one adapter are batched together, longest first.

        Returns:
            A generator of (position in `texts`, embeddings), in any order. Inputs are checked before it comes back.

        Raises:
            TextError: a passage, named by its position, is empty or cannot be read.
            LanguageError: the checkpoint has no adapter of a code.
        """
        if len(texts) != len(languages):
            raise ValueError(f"each passage needs one language; got {len(texts)} texts and {len(languages)} languages")
        self._check_languages(languages)
        tokenised = self._tokenizer.passages(texts)
        return self._stream(texts, tokenised, languages)

    def _stream(
        self, texts: Sequence[str], tokenised: list[TextTokens], languages: Sequence[LanguageGuess]
    ) -> Generator[tuple[int, TokenEmbeddings], None, None]:
        codes = [language.code if self.languages else "" for language in languages]
        lengths = [len(tokens.ids) for tokens in tokenised]
        for batch in batches(codes, lengths, token_budget=self.options.token_budget):
            vectors = self._vectors([tokenised[position] for position in batch], codes[batch[0]])
            for position, rows in zip(batch, vectors, strict=True):
                tokens, language = tokenised[position], languages[position]
                yield position, self._embeddings(texts[position], tokens, rows, language, PASSAGE_MARKER)

    def _encode_query(self, text: str, code: str) -> TokenEmbeddings:
        tokens = self._tokenizer.query(text)
        vectors = self._vectors([tokens], code)[0]
        vectors.setflags(write=False)
        return self._embeddings(text, tokens, vectors, LanguageGuess(code, 1.0, "given"), QUERY_MARKER)

    def _embeddings(
        self, text: str, tokens: TextTokens, vectors: np.ndarray, language: LanguageGuess, marker: str
    ) -> TokenEmbeddings:
        """Keep what is scored of one text's tokens beside their vectors."""
        pieces, kinds = self._tokenizer.shown(tokens, marker), tokens.kinds
        kept = np.flatnonzero(tokens.scored).tolist()
        return TokenEmbeddings(
            text=text,
            vectors=vectors,
            tokens=tuple(pieces[index] for index in kept),
            offsets=tokens.offsets[kept],
            kinds=tuple(kinds[index] for index in kept),
            language=language,
            n_unseen=tokens.n_unseen,
        )

    def _vectors(self, batch: Sequence[TextTokens], code: str) -> list[np.ndarray]:
        """Encode texts of one language: per text (n_scored, dim) float32, unit rows."""
        ids, attended, scored = self._padded(batch)
        with _ENCODING:
            languages = {}
            if self.languages:
                languages["lang_ids"] = torch.full((len(batch),), self._adapter_id(code))
            with torch.inference_mode():
                hidden = self._backbone(input_ids=ids, attention_mask=attended, **languages).last_hidden_state
                vectors = normalize(linear(hidden[scored].float(), self._head), dim=-1)
        ends = np.cumsum([int(tokens.scored.sum()) for tokens in batch])[:-1]
        return np.split(vectors.numpy(), ends)

    def _padded(self, batch: Sequence[TextTokens]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pad to the longest: ids, attention mask and scored tokens, each (n_texts, n_longest)."""
        shape = (len(batch), max(len(tokens.ids) for tokens in batch))
        ids = np.full(shape, self._tokenizer.pad_id, np.int64)
        attended = np.zeros(shape, bool)
        scored = np.zeros(shape, bool)
        for row, tokens in enumerate(batch):
            n_tokens = len(tokens.ids)
            ids[row, :n_tokens] = tokens.ids
            attended[row, :n_tokens] = tokens.attended
            scored[row, :n_tokens] = tokens.scored
        return torch.from_numpy(ids), torch.from_numpy(attended).long(), torch.from_numpy(scored)

    def _adapter_id(self, code: str) -> int:
        """Return the adapter's id, reading it from the file on first use."""
        if code not in self._adapter_ids:
            self._adapter_ids[code] = add_adapter(self._backbone, code, self._tensors)
        return self._adapter_ids[code]

    def _check_languages(self, languages: Sequence[LanguageGuess]) -> None:
        if self.languages:
            for code in sorted({language.code for language in languages}):
                check_adapter(code, self.languages)


def batches(codes: Sequence[str], lengths: Sequence[int], *, token_budget: int) -> Iterator[list[int]]:
    """Group positions into batches of one code whose padded size stays within a budget.

    Longest first, so that texts of a batch are of like length and memory peaks at once. A text longer than the budget
    gets a batch of its own.
    """
    order = sorted(range(len(codes)), key=lambda position: (codes[position], -lengths[position]))
    batch: list[int] = []
    for position in order:
        if batch:
            longest = lengths[batch[0]]
            if codes[position] != codes[batch[0]] or (len(batch) + 1) * longest > token_budget:
                yield batch
                batch = []
        batch.append(position)
    if batch:
        yield batch
