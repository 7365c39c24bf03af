"""Masked-language-model pretraining over plain text, one language a batch (X-MOD: Pfeiffer et al. 2022, section 3).

Adapters and shared weights learn together. Starts cold, from sizes, or from any checkpoint folder. Leaves out: the
vocabulary (xm.train.tokenizer).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from transformers import XmodConfig, XmodModel

from xm.errors import TrainingError
from xm.train.data import language_files, read_lines
from xm.train.loop import LoopOptions, RunReport, Step, train
from xm.train.mlm import MaskedLanguageModel, check_shape, masked_batch, save_head
from xm.train.packing import MASKED_SHARE, Masker, pack, piece_counts
from xm.train.student import LateInteraction, Texts, load_student, save_student
from xm.train.tokenizer import train_tokenizer


@dataclass(frozen=True)
class Size:
    """How large a cold start is; the defaults train at a usable speed on two cores.

    reduction: hidden width over adapter width. dim: of the late-interaction head, which pretraining leaves alone.
    """

    layers: int = 4
    width: int = 256
    heads: int = 4
    reduction: int = 4
    vocab: int = 36_000
    dim: int = 128


@dataclass(frozen=True)
class PretrainOptions:
    """What a batch holds.

    sampling: a language is drawn with a probability like its text's size to this power: 0 draws all equally often,
    0.3 is XLM-R's (Conneau et al. 2020), 1 follows the sizes.
    """

    batch_size: int = 32
    length: int = 128
    masked: float = MASKED_SHARE
    sampling: float = 0.0


def read_size(parts: Sequence[str]) -> Size:
    """Read `layers=4 width=256 ...`.

    Raises:
        TrainingError: a name is unknown, a value no whole number from 1, or the heads do not divide the width.
    """
    names = asdict(Size())
    values: dict[str, int] = {}
    for part in parts:
        name, _, value = part.partition("=")
        if name not in names or not value.isdigit() or int(value) < 1:
            known = " ".join(f"{key}={default}" for key, default in names.items())
            raise TrainingError(f"--config {part!r}: expected NAME=NUMBER of these, shown with their defaults: {known}")
        values[name] = int(value)
    size = Size(**values)
    if size.width % size.heads or size.reduction > size.width:
        expected = f"a multiple of heads={size.heads} and at least reduction={size.reduction}"
        raise TrainingError(f"--config: width={size.width} must be {expected}")
    return size


def cold_start(
    texts: Mapping[str, Path], out: Path, *, size: Size, seed: int, languages: Sequence[str] | None = None
) -> None:
    """Write an untrained checkpoint to `out`: a vocabulary of these texts, random weights, XMOD's own adapter flags.

    Args:
        texts: of each language that the vocabulary is to cover.
        languages: those with an adapter; None: all of them.
    """
    tokenizer = train_tokenizer(texts, out, vocab_size=size.vocab)
    languages = list(languages or texts)
    torch.manual_seed(seed)
    config = XmodConfig(
        architectures=["HF_ColBERT"],
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.width,
        hidden_dropout_prob=0.0,  # small data seen a few times at most; and dropout is slow on a CPU
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=514,
        type_vocab_size=1,
        languages=languages,
        default_language="en_XX" if "en_XX" in languages else languages[0],
        adapter_reduction_factor=size.reduction,
        adapter_layer_norm=False,
        adapter_reuse_layer_norm=True,
        ln_before_adapter=True,
        pre_norm=False,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    head = torch.nn.init.orthogonal_(torch.empty(size.dim, size.width))
    save_student(LateInteraction(XmodModel(config, add_pooling_layer=False), head), out, out)


def pretrain(
    source: Path, out: Path, *, texts: Path, batch: PretrainOptions, options: LoopOptions, device: str = "auto"
) -> RunReport:
    """Train everything but the late-interaction head of `source` on the texts of its languages; write to `out`.

    The MLM head goes to `out/run/mlm_head.safetensors`, where `xm train add-language` finds it.

    Args:
        texts: folder with LANG.txt or LANG.txt.xz for each language of `source`.

    Raises:
        TrainingError: a text is missing or too short, or the run cannot go on.
    """
    student, tokens = load_student(source, device=device)
    check_shape(student, length=batch.length, masked=batch.masked)
    packed = _packed(language_files(texts, student.languages), source, tokens, out / "run", length=batch.length)
    n_pieces = student.backbone.config.vocab_size
    counts = sum((piece_counts(rows, n_pieces) for rows in packed.values()), np.zeros(n_pieces, np.int64))
    model = MaskedLanguageModel(student, counts)
    student.freeze([*student.head.parameters(), *student.smaller.parameters()])
    masker = Masker(tokens.tokenizer, share=batch.masked)
    diet = Diet({code: len(rows) for code, rows in packed.items()}, batch, options)

    def step_loss(step: int) -> Step:
        language, places = diet(step)
        rows = packed[language][np.sort(places)]
        masked = masked_batch(rows, masker, language, seed=(options.seed, step), device=tokens.device)
        return Step(model(masked), rows.size, language)

    subject = f"{source.resolve()} on {', '.join(f'{code} {len(rows)}' for code, rows in packed.items())} rows"
    whole = replace(options, subject=subject)
    report = train(model, step_loss, parameters=model.parameters(), options=whole, folder=out / "run")
    save_head(model, out / "run")
    save_student(student, source, out)
    return report


class Diet:
    """Which language and which rows each step takes: each language's rows in random order, over and over."""

    def __init__(self, n_rows: Mapping[str, int], batch: PretrainOptions, options: LoopOptions) -> None:
        """Draw the languages of all steps; `n_rows` is how many rows each has."""
        self._codes, self._n_rows = list(n_rows), np.array(list(n_rows.values()))
        self._batch_size, self._seed = batch.batch_size, options.seed
        weights = self._n_rows.astype(float) ** batch.sampling
        generator = np.random.default_rng(options.seed)
        self._languages = generator.choice(len(weights), size=options.n_steps, p=weights / weights.sum())
        self._turns = np.zeros(options.n_steps, np.int64)  # how often the step's language was taken before
        for language in range(len(weights)):
            taken = self._languages == language
            self._turns[taken] = np.arange(taken.sum())

    def __call__(self, step: int) -> tuple[str, np.ndarray]:
        """Return the language of a step, and its rows, (batch_size,) int64."""
        language = int(self._languages[step])
        n_rows = int(self._n_rows[language])
        places = self._turns[step] * self._batch_size + np.arange(self._batch_size)
        rounds = places // n_rows
        orders = {int(number): _order(n_rows, self._seed, language, int(number)) for number in np.unique(rounds)}
        chosen = [orders[int(number)][place] for number, place in zip(rounds, places % n_rows, strict=True)]
        return self._codes[language], np.array(chosen)


@lru_cache(maxsize=128)
def _order(n_rows: int, seed: int, language: int, number: int) -> np.ndarray:
    """Return the random order of a language's rows in one round."""
    return np.random.default_rng((seed, language, number)).permutation(n_rows)


def _packed(
    files: Mapping[str, Path], source: Path, tokens: Texts, folder: Path, *, length: int
) -> dict[str, np.ndarray]:
    """Pack each text once; a resumed run finds the rows in `folder`, unless text or vocabulary have changed."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = (source / "tokenizer.json").read_bytes()
    packed: dict[str, np.ndarray] = {}
    for code, path in files.items():
        facts = path.stat()
        key = hashlib.sha256(vocabulary + f"{facts.st_size} {facts.st_mtime_ns} {length}".encode()).hexdigest()[:12]
        place = folder / f"{code}-{key}.npy"
        if not place.is_file():
            rows = pack(read_lines(path), tokens.tokenizer, length=length)
            if not len(rows):
                raise TrainingError(f"{path} is too short: it fills no row of {length} tokens")
            _write(rows, place)
        packed[code] = np.load(place, mmap_mode="r")  # rows are read as their turn comes
    return packed


def _write(rows: np.ndarray, place: Path) -> None:
    """Write packed rows beside their place, then rename them."""
    new = place.with_suffix(".new")
    try:
        with new.open("wb") as file:
            np.save(file, rows)
        new.replace(place)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise TrainingError(f"cannot write {place}: {error}; free some disk space, and resume") from error
