"""The stages that make the model that ships: several kinds of batches in turn, over all languages.

Parallel sentences keep every language near the English teacher, inverse-cloze pairs teach each language to retrieve
from its own plain text, BM25 which words of a query count, and English questions what a question wants. Word
embeddings and adapters learn fast, shared weights and head slowly. Leaves out: the paper's own recipe
(xm.train.finetune with adapters frozen), which learns from English alone.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from xm.errors import TrainingError
from xm.train.bm25 import Ranking
from xm.train.cloze import ClozePair, cloze_batch, read_paragraphs
from xm.train.data import ParallelPair, language_files
from xm.train.distil import Teacher, batches_of, distil_loss
from xm.train.finetune import Side, score_texts, triple_loss
from xm.train.loop import LoopOptions, RunReport, Step, train
from xm.train.losses import in_batch_loss
from xm.train.negatives import Triple
from xm.train.student import LateInteraction, Texts, load_student, save_student

KINDS = ("parallel", "cloze", "bm25", "triples")
# They alternate: none is forgotten. Half of the batches are parallel: nothing else ties a language to the others.
JOINT = ("parallel", "cloze", "parallel", "cloze", "parallel", "triples", "parallel", "cloze")
# How to rank: half of the batches learn from BM25.
RANKING = ("bm25", "parallel", "bm25", "parallel", "bm25", "triples", "bm25", "parallel")


@dataclass(frozen=True)
class JointData:
    """texts: folder with LANG.txt[.xz] of every language; pairs: parallel sentences; triples: English questions."""

    texts: Path
    pairs: Sequence[ParallelPair]
    triples: Sequence[Triple]
    teacher: Path


@dataclass(frozen=True)
class JointOptions:
    """The kinds of batches in turn, their sizes, each about 1,000 tokens, and how much slower shared weights learn.

    cycle: JOINT or RANKING, or another order of parallel, cloze, bm25 and triples; any other kind is an error.
    heads: sizes trained beside the full one, from all kinds.
    """

    cycle: tuple[str, ...] = JOINT
    n_parallel: int = 24
    n_cloze: int = 12
    n_bm25: int = 8
    n_triples: int = 6
    shared_rate: float = 0.1
    heads: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.cycle if kind not in KINDS]
        if unknown or not self.cycle:
            raise TrainingError(f"batches of {unknown or 'no kind'}: expected some of {', '.join(KINDS)}")


def train_jointly(
    source: Path,
    out: Path,
    *,
    data: JointData,
    options: LoopOptions,
    batch: JointOptions = JointOptions(),
    device: str = "auto",
) -> RunReport:
    """Train every weight of `source`, shared ones slowly; write the checkpoint to `out`.

    Raises:
        TrainingError: a language's text is missing or too short, or the run cannot go on.
    """
    student, texts = load_student(source, device=device)
    if batch.heads:
        student.set_sizes(batch.heads)
    paragraphs = {code: read_paragraphs(path) for code, path in language_files(data.texts, student.languages).items()}
    rankings = {code: Ranking.of(texts, lines) for code, lines in paragraphs.items() if "bm25" in batch.cycle}
    parallel = batches_of(data.pairs, batch_size=batch.n_parallel, seed=options.seed)
    triples = list(data.triples)
    random.Random(options.seed).shuffle(triples)
    teacher = Teacher(data.teacher, texts.device, n_layers=student.n_layers)

    def step_loss(step: int) -> Step:
        kind, place = kind_of(step, batch.cycle)
        if kind == "parallel":
            pairs = parallel[place % len(parallel)]
            return Step(*distil_loss(student, texts, teacher, pairs), f"parallel {pairs[0].code}")
        if kind == "triples":
            chosen = [triples[(place * batch.n_triples + i) % len(triples)] for i in range(batch.n_triples)]
            return Step(*triple_loss(student, texts, chosen), "triples en_XX")
        code = language_of(place, student.languages, seed=options.seed)
        draw = random.Random(f"{options.seed}/{step}")
        if kind == "bm25":
            drawn = rankings[code].draw(draw, size=batch.n_bm25)
            return Step(*rankings[code].loss(student, drawn, code), f"bm25 {code}")
        drawn = cloze_batch(paragraphs[code], draw, size=batch.n_cloze)
        return Step(*cloze_loss(student, texts, drawn, code), f"cloze {code}")

    report = train(
        student,
        step_loss,
        parameters=student.parameters(),
        share=_share(student, batch.shared_rate),
        options=replace(options, subject=_subject(source, data, batch)),
        folder=out / "run",
    )
    save_student(student, source, out)
    return report


def _share(student: LateInteraction, shared_rate: float) -> Callable[[torch.nn.Parameter], float]:
    """Say what a parameter gets of the learning rate: adapters and word embeddings all of it."""
    fast = {id(p) for p in (*student.adapters(), student.backbone.embeddings.word_embeddings.weight)}
    return lambda parameter: 1.0 if id(parameter) in fast else shared_rate


def _subject(source: Path, data: JointData, batch: JointOptions) -> str:
    """Name what a run is of, by which a resumed one is known."""
    return f"{source.resolve()}, {len(data.pairs)} parallel pairs, {len(data.triples)} triples, {batch}"


def cloze_loss(
    student: LateInteraction, texts: Texts, pairs: Sequence[ClozePair], code: str
) -> tuple[torch.Tensor, int]:
    """Return L_IB (colbert-xm, equation 8) of one language's inverse-cloze pairs, and the tokens in it."""
    queries = Side([pair.query for pair in pairs], code)
    passages = Side([pair.passage for pair in pairs], code)
    tables, n_tokens = score_texts(student, texts, queries, passages)
    return torch.stack([in_batch_loss(table) for table in tables]).sum(), n_tokens


def kind_of(step: int, cycle: Sequence[str]) -> tuple[str, int]:
    """Return the kind of batch a step trains on, and how many of that kind came before it."""
    rounds, place = divmod(step, len(cycle))
    kind = cycle[place]
    return kind, rounds * cycle.count(kind) + cycle[:place].count(kind)


def language_of(place: int, codes: Sequence[str], *, seed: int) -> str:
    """Return the language of an inverse-cloze batch: all in turn, in an order of its own each round."""
    rounds, position = divmod(place, len(codes))
    order = list(codes)
    random.Random(f"{seed}/{rounds}").shuffle(order)
    return order[position]
