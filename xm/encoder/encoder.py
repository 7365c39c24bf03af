"""The encoder: every text through the adapter of its own language, to one unit vector a scored token.

Leaves out: choosing the language (xm.languages) and anything about indexes.
"""

import threading
from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize

from xm.encoder.adapters import AdapterFacts, check_fit, install, read_adapter
from xm.encoder.checkpoints import CheckpointFacts, facts_of
from xm.encoder.heads import pool, read_heads
from xm.encoder.hub import find_folder, revision_of
from xm.encoder.layouts import check_remote_code, read_recipe
from xm.encoder.packed import Rows, batches, can_pack, pack, run_packed
from xm.encoder.precision import Precision, choose_precision, lower
from xm.encoder.tokens import PASSAGE_MARKER, QUERY_MARKER, TextTokenizer, TextTokens
from xm.encoder.weights import build_backbone, build_remote, open_weights, read_config
from xm.encoder.xmod import add_adapter, build_shared, check_adapter, route_adapters
from xm.errors import CheckpointError
from xm.options import CLEAN, DEFAULT_MODEL, EncodeOptions
from xm.types import NO_SPAN, LanguageGuess, TokenEmbeddings

POOLED = "<pooled>"  # stands for the one vector of a text where a checkpoint gives no others
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
        options: precision, batch size, and what is read otherwise than the checkpoint says.

    Raises:
        CheckpointError: it cannot be found or fetched, is damaged, or is in a layout that cannot be loaded.
    """
    with _LOADING:
        return _load(model, revision, options)


@lru_cache(maxsize=_N_LOADED)
def _load(model: str, revision: str | None, options: EncodeOptions) -> "Encoder":
    folder = find_folder(model, revision=revision, allow_remote_code=options.allow_remote_code)
    return Encoder(folder, model=model, revision=revision_of(folder, revision), options=options)


class Encoder:
    """A checkpoint in memory: the shared weights, and each language adapter from its first use on.

    Threads may share it. `model` is the name it was asked for by, `revision` the hub's commit or a digest of the
    files, with what else changes its passages' vectors, `precision` the number format it computes in. `languages` are
    the codes it has adapters for; if there are none, the backbone is one model for all languages: any code is accepted
    and changes nothing.
    """

    def __init__(self, folder: Path, *, model: str, revision: str, options: EncodeOptions) -> None:
        """Read tokenizer, shared weights and head; use `load_encoder` instead, which finds and remembers."""
        self.model = model
        self.revision = revision + CLEAN if options.clean_punctuation else revision
        self.options = options
        recipe = read_recipe(folder)
        check_remote_code(folder, recipe, allowed=options.allow_remote_code)
        home = folder / recipe.backbone
        self._tokenizer = TextTokenizer(folder, recipe, clean_punctuation=options.clean_punctuation)
        self.facts: CheckpointFacts = facts_of(folder, self._tokenizer, model=model)
        self.precision: Precision = choose_precision(options)
        self._tensors = open_weights(home)  # stays open: adapters then come from this very file, even if replaced
        self._heads = read_heads(folder, recipe, self.facts.dims, self._tensors)
        self._pooling = recipe.pooling
        self._imported: tuple[str, ...] = ()
        self._rows: dict[str, Rows] = {}
        if recipe.remote_code:
            backbone = build_remote(home, self._tensors)
        elif self.languages:
            backbone = build_shared(read_config(home), self._tensors)
            route_adapters(backbone)
        else:
            backbone = build_backbone(read_config(home), self._tensors)
        self._packs = not recipe.remote_code and can_pack(backbone.config)
        # Packed, the word embeddings stay in the file as they are; transformers' own forward wants one format.
        lower(backbone.encoder if self._packs else backbone, self.precision)
        self._backbone = backbone
        self._adapter_ids: dict[str, int] = {}
        self._remembered = lru_cache(maxsize=_N_REMEMBERED_QUERIES)(self._encode_query)

    @property
    def dim(self) -> int:
        """Length of a token embedding."""
        return self.facts.dim

    @property
    def languages(self) -> tuple[str, ...]:
        """XMOD codes of the adapters in the checkpoint, loaded or not, and of those imported."""
        return (*self.facts.languages, *self._imported)

    @property
    def loaded_languages(self) -> tuple[str, ...]:
        """XMOD codes of the adapters read so far."""
        return tuple(self._adapter_ids)

    def import_adapter(self, path: str | Path) -> AdapterFacts:
        """Add a language from an adapter file; the others stay as they are, and `revision` names it from now on.

        Import before the encoder is used: it may be shared with whoever loaded the same checkpoint.

        Raises:
            CheckpointError: the file cannot be read, was made for another base, or brings word embeddings that this
                backbone cannot keep apart; or this language is there already.
        """
        adapter = read_adapter(path)
        code, content = adapter.facts.code, sha256(Path(path).read_bytes()).hexdigest()[:8]
        if code in self.languages or not self.facts.languages:
            known = f"an adapter {code} already" if self.languages else "a backbone without language adapters"
            raise CheckpointError(f"{self.model} has {known}; {path} cannot be added to it")
        with _ENCODING:
            check_fit(adapter, self._backbone.config, self._backbone.embeddings.LayerNorm.weight, self.model)
            if adapter.facts.n_rows and not self._packs:
                raise CheckpointError(f"{path} brings word embeddings of its own, which {self.model} cannot keep apart")
            self._adapter_ids[code] = install(self._backbone, adapter)
            self._lower_adapter(code)
            self._imported = (*self._imported, code)
            if adapter.facts.n_rows:
                self._rows[code] = Rows(adapter.row_ids, adapter.rows)
            self.revision = f"{self.revision}+{code}-{content}"
        return adapter.facts

    def encode_query(self, text: str, language: LanguageGuess, *, dim: int | None = None) -> TokenEmbeddings:
        """Encode a query: query_maxlen tokens, masks included. The vectors are shared with later calls: read-only.

        Args:
            text: the query.
            language: its adapter.
            dim: length of a vector, one of `facts.dims`; None is the checkpoint's own.

        Raises:
            TextError: the query is empty or cannot be read.
            LanguageError: the checkpoint has no adapter of this code.
            CheckpointError: the checkpoint has no head of this dim.
        """
        self._check_languages([language])
        return replace(self._remembered(text, language.code, self._checked_dim(dim)), language=language)

    def encode_passages(
        self, texts: Sequence[str], languages: Sequence[LanguageGuess], *, dim: int | None = None
    ) -> list[TokenEmbeddings]:
        """Encode passages and return them in their order; arguments and errors are those of `stream_passages`."""
        found = dict(self.stream_passages(texts, languages, dim=dim))
        return [found[position] for position in range(len(texts))]

    def stream_passages(
        self, texts: Sequence[str], languages: Sequence[LanguageGuess], *, dim: int | None = None
    ) -> Generator[tuple[int, TokenEmbeddings], None, None]:
        """Encode passages batch by batch; closing the generator cancels what is left.

        Args:
            texts: the passages.
            languages: one per passage; passages of one adapter are batched together, longest first.
            dim: length of a vector, one of `facts.dims`; None is the checkpoint's own.

        Returns:
            A generator of (position in `texts`, embeddings), in any order. Inputs are checked before it comes back.

        Raises:
            TextError: a passage, named by its position, is empty or cannot be read.
            LanguageError: the checkpoint has no adapter of a code.
            CheckpointError: the checkpoint has no head of this dim.
        """
        if len(texts) != len(languages):
            raise ValueError(f"each passage needs one language; got {len(texts)} texts and {len(languages)} languages")
        self._check_languages(languages)
        tokenised = self._tokenizer.passages(texts)
        return self._stream(texts, tokenised, languages, self._checked_dim(dim))

    def _stream(
        self, texts: Sequence[str], tokenised: list[TextTokens], languages: Sequence[LanguageGuess], dim: int
    ) -> Generator[tuple[int, TokenEmbeddings], None, None]:
        codes = [language.code if self.languages else "" for language in languages]
        lengths = [len(tokens.ids) for tokens in tokenised]
        apart = [""] * len(codes) if self._packs else codes  # packed, the languages of a batch may differ
        for group in batches(apart, lengths, token_budget=self.options.token_budget):
            batch = sorted(group, key=lambda position: (codes[position], lengths[position]))
            vectors = self._vectors([tokenised[position] for position in batch], [codes[at] for at in batch], dim)
            for position, rows in zip(batch, vectors, strict=True):
                tokens, language = tokenised[position], languages[position]
                yield position, self._embeddings(texts[position], tokens, rows, language, PASSAGE_MARKER)

    def _encode_query(self, text: str, code: str, dim: int) -> TokenEmbeddings:
        tokens = self._tokenizer.query(text)
        vectors = self._vectors([tokens], [code], dim)[0]
        vectors.setflags(write=False)
        return self._embeddings(text, tokens, vectors, LanguageGuess(code, 1.0, "given"), QUERY_MARKER)

    def _embeddings(
        self, text: str, tokens: TextTokens, vectors: np.ndarray, language: LanguageGuess, marker: str
    ) -> TokenEmbeddings:
        """Keep what is scored of one text's tokens beside their vectors."""
        if self._pooling:
            no_span = np.array([NO_SPAN], np.int32)
            return TokenEmbeddings(text, vectors, (POOLED,), no_span, ("marker",), language, tokens.n_unseen)
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

    def _vectors(self, batch: Sequence[TextTokens], codes: Sequence[str], dim: int) -> list[np.ndarray]:
        """Encode texts in one pass: per text (n_scored, dim) float32, unit rows; one row if they are pooled."""
        with _ENCODING, torch.inference_mode():
            states = self._packed_states(batch, codes) if self._packs else self._padded_states(batch, codes[0])
            if self._pooling:
                kept = [self._pooled(rows, tokens) for rows, tokens in zip(states, batch, strict=True)]
            else:
                kept = [rows[torch.from_numpy(tokens.scored)] for rows, tokens in zip(states, batch, strict=True)]
            vectors = normalize(self._heads[dim](torch.cat(kept).float()), dim=-1)
        ends = np.cumsum([len(rows) for rows in kept])[:-1]
        return np.split(vectors.numpy(), ends)

    def _pooled(self, rows: torch.Tensor, tokens: TextTokens) -> torch.Tensor:
        """Pool the hidden states of one text, (n_tokens, hidden), to (1, hidden)."""
        return pool(rows[None].float(), torch.from_numpy(tokens.attended)[None], self._pooling)

    def _packed_states(self, batch: Sequence[TextTokens], codes: Sequence[str]) -> Sequence[torch.Tensor]:
        """Hidden states of each text, (n_tokens, hidden), from one pass without padding."""
        if self.languages:
            for code in sorted(set(codes)):
                self._adapter_id(code)
        packed = pack(batch, codes, self._backbone.config)
        states = run_packed(self._backbone, packed, self._rows)
        return states.split([len(tokens.ids) for tokens in batch])

    def _padded_states(self, batch: Sequence[TextTokens], code: str) -> Sequence[torch.Tensor]:
        """Hidden states of each text, (n_tokens, hidden), of one language, from transformers' own forward pass."""
        ids, attended = self._padded(batch)
        languages = {"lang_ids": torch.full((len(batch),), self._adapter_id(code))} if self.languages else {}
        states = self._backbone(input_ids=ids, attention_mask=attended, **languages).last_hidden_state
        return [rows[: len(tokens.ids)] for rows, tokens in zip(states, batch, strict=True)]

    def _padded(self, batch: Sequence[TextTokens]) -> tuple[torch.Tensor, torch.Tensor]:
        """Pad to the longest: ids and attention mask, each (n_texts, n_longest)."""
        shape = (len(batch), max(len(tokens.ids) for tokens in batch))
        ids = np.full(shape, self._tokenizer.pad_id, np.int64)
        attended = np.zeros(shape, np.int64)
        for row, tokens in enumerate(batch):
            n_tokens = len(tokens.ids)
            ids[row, :n_tokens] = tokens.ids
            attended[row, :n_tokens] = tokens.attended
        return torch.from_numpy(ids), torch.from_numpy(attended)

    def _adapter_id(self, code: str) -> int:
        """Return the adapter's id, reading it from the file on first use."""
        if code not in self._adapter_ids:
            self._adapter_ids[code] = add_adapter(self._backbone, code, self._tensors)
            self._lower_adapter(code)
        return self._adapter_ids[code]

    def _lower_adapter(self, code: str) -> None:
        for layer in self._backbone.encoder.layer:
            lower(layer.output.adapter_modules[code], self.precision)

    def _check_languages(self, languages: Sequence[LanguageGuess]) -> None:
        if self.languages:
            for code in sorted({language.code for language in languages}):
                check_adapter(code, self.languages)

    def _checked_dim(self, dim: int | None) -> int:
        wanted = self.dim if dim is None else dim
        if wanted not in self._heads:
            raise CheckpointError(
                f"{self.model} has no head of dim {wanted}; it has {', '.join(map(str, self._heads))}"
            )
        return wanted
