"""Teachers that score passages: a file of scores, a cross-encoder, or a single-vector model, all from local folders.

Leaves out: the loss that draws a student to the scores (xm.train.distil).
"""

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from xm.encoder import load_encoder
from xm.errors import TrainingError
from xm.train.data import read_lines
from xm.train.device import choose_device
from xm.train.negatives import ENGLISH, Triple
from xm.train.triples import look_up, table_rows
from xm.types import LanguageGuess

_LOG = logging.getLogger(__name__)
_LENGTH = 512  # tokens of query and passage together; what cross-encoders are trained with


@dataclass(frozen=True)
class ScoredQuery:
    """A question and a teacher's score of each of its passages, on any scale; more is better."""

    question: str
    passages: tuple[str, ...]
    scores: tuple[float, ...]


# A question and passages -> a score each.
Teacher = Callable[[str, Sequence[str]], Sequence[float]]


def read_scores(path: Path, *, queries: Path | None = None, collection: Path | None = None) -> list[ScoredQuery]:
    """Read JSON Lines (question, passages, scores) or TSV (query, passage, score: a line each, in any order).

    Args:
        queries, collection: TSV files of id and text, if the TSV file holds ids.

    Raises:
        TrainingError: the file is missing, or a row is bad: its number is named.
    """
    if ".jsonl" in path.suffixes:
        lines = enumerate(read_lines(path), 1)
        return [_scored(line, f"{path.name}, row {number}") for number, line in lines]
    rows = list(table_rows(path))
    wrong = next((number for number, row in enumerate(rows, 1) if len(row) != 3), None)
    if wrong is not None:
        n_columns = len(rows[wrong - 1])
        raise TrainingError(f"{path.name}, line {wrong}: {n_columns} columns; expected query, passage, score")
    texts = [row[:2] for row in rows]
    if queries is not None and collection is not None:
        texts = look_up(texts, queries, collection, path)
    grouped: dict[str, dict[str, float]] = {}
    for number, ((query, passage), row) in enumerate(zip(texts, rows, strict=True), 1):
        grouped.setdefault(query, {})[passage] = _number(row[2], f"{path.name}, line {number}")
    return [ScoredQuery(query, tuple(scores), tuple(scores.values())) for query, scores in grouped.items()]


def write_scores(scored: Sequence[ScoredQuery], path: Path) -> None:
    """Write what `read_scores` reads, beside its place, then rename it."""
    new = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text("".join(json.dumps(asdict(query), ensure_ascii=False) + "\n" for query in scored), "utf-8")
        new.replace(path)
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {error}; free some disk space, and resume") from error


def score_triples(teacher: Teacher, triples: Sequence[Triple]) -> list[ScoredQuery]:
    """Let a teacher score the positive and the negatives of each triple."""
    scored = []
    for done, triple in enumerate(triples, 1):
        passages = (triple.positive, *triple.negatives)
        scored.append(ScoredQuery(triple.question, passages, tuple(map(float, teacher(triple.question, passages)))))
        if done % 500 == 0:
            _LOG.info("scored %d of %d questions", done, len(triples))
    return scored


def cross_encoder(folder: Path, *, device: str = "auto") -> Teacher:
    """Load a model that reads query and passage together and gives one number; no code of the folder is run.

    Raises:
        TrainingError: the folder holds no such model in safetensors.
    """
    place = choose_device(device)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"{folder} cannot be loaded as a cross-encoder: {str(error)[:200]}") from error
    if model.config.num_labels != 1:
        raise TrainingError(f"{folder} gives {model.config.num_labels} numbers a pair; a cross-encoder's score is one")
    model = model.to(place).eval()

    @torch.inference_mode()
    def score(question: str, passages: Sequence[str]) -> list[float]:
        questions = [question] * len(passages)
        batch = tokenizer(
            questions, list(passages), padding=True, truncation="only_second", max_length=_LENGTH, return_tensors="pt"
        )
        return model(**batch.to(place)).logits[:, 0].float().tolist()

    return score


def single_vector_teacher(folder: Path) -> Teacher:
    """Load a single-vector model; a score is the cosine of query and passage.

    Raises:
        CheckpointError: the folder cannot be loaded.
        TrainingError: it gives more than one vector a text.
    """
    encoder, english = load_encoder(str(folder)), LanguageGuess(ENGLISH, 1.0, "given")

    def score(question: str, passages: Sequence[str]) -> list[float]:
        query = encoder.encode_query(question, english).vectors
        texts = encoder.encode_passages(passages, [english] * len(passages))
        if any(len(vectors) != 1 for vectors in (query, *(text.vectors for text in texts))):
            raise TrainingError(f"{folder} gives several vectors a text; a single-vector teacher pools them to one")
        return [float(query[0] @ text.vectors[0]) for text in texts]

    return score


def _scored(line: str, where: str) -> ScoredQuery:
    """Read one row of JSON Lines."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise TrainingError(f"{where}: not JSON ({error.msg}, column {error.colno})") from error
    expected = "`question`, `passages` and as many `scores`"
    if not isinstance(row, Mapping):
        raise TrainingError(f"{where}: a {type(row).__name__}; expected an object with {expected}")
    question, passages, scores = row.get("question"), row.get("passages"), row.get("scores")
    fit = isinstance(passages, list) and isinstance(scores, list) and len(passages) == len(scores) > 0
    if not (fit and all(isinstance(text, str) for text in (question, *passages))):
        raise TrainingError(f"{where}: needs {expected}; has {sorted(row)}")
    return ScoredQuery(question, tuple(passages), tuple(_number(score, where) for score in scores))


def _number(value: object, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise TrainingError(f"{where}: score {value!r}; expected a number") from error
    if not math.isfinite(number):
        raise TrainingError(f"{where}: score {value!r}; expected a finite number")
    return number
