"""What each figure measures, as jobs: a key that tells its line from others, and what works the line out.

All use benchmarks/evaluate_qa.py on the validation sets. Encoding runs on the processor, training wherever it can.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.evaluate_qa import MEASURES, QuestionSet, evaluate_set, find_files, read_set
from benchmarks.xm_mini.recipe import read_pairs
from xm.encoder import Encoder, load_encoder
from xm.encoder.adapters import read_adapter
from xm.encoder.exchange import merge_adapter
from xm.evaluation import Query
from xm.languages import find_code
from xm.options import EvaluateOptions
from xm.train import recipes
from xm.train.data import QuestionPair, read_questions
from xm.train.loop import LoopOptions
from xm.train.negatives import NegativeOptions, make_triples
from xm.train.translations import Translations
from xm.types import Corpus, LanguageGuess, Passage, TokenEmbeddings

N_SIZES, SIZE_STEP = 5, 4  # training sets of all English pairs, a quarter of them, a sixteenth, ...
RATE = 2e-5  # of fine-tuning, as `xm train finetune` has it
QUICK_QUESTIONS, QUICK_PASSAGES, QUICK_PAIRS, QUICK_STEPS = 4, 8, 512, 2


class Job(NamedTuple):
    """One line of a figure."""

    key: dict[str, object]
    measure: Callable[[], dict[str, object]]


@dataclass(frozen=True)
class Setting:
    """What figures are measured on.

    start: what the twin and the data-efficiency curve are fine-tuned from. adapters: files of the languages added
    afterwards, which the checkpoint has too. limit: questions and passages a set; None: all. max_pairs: English pairs
    to train on at most.
    """

    checkpoint: Path
    data: Path
    out: Path
    start: Path | None
    adapters: tuple[Path, ...]
    languages: tuple[str, ...]
    limit: tuple[int | None, int | None]
    seed: int
    device: str
    quick: bool
    max_pairs: int | None = None

    @cached_property
    def files(self) -> list[Path]:
        """The validation sets of the checkpoint's languages."""
        available = load_encoder(str(self.checkpoint)).languages
        found = find_files(self.data / "qa", list(self.languages) or None)
        return [path for path in found if find_code(path.name.split(".")[-3]) in available]

    def read(self, path: Path) -> QuestionSet:
        """Read a set, or the sample of it that was asked for."""
        return read_set(path, max_questions=self.limit[0], max_passages=self.limit[1], seed=self.seed)

    def evaluate(self, path: Path, encoder: "Encoder | View", *, code: str = "", twin: str | None = None) -> dict:
        """Evaluate a set, through the adapter `code` in place of its language's if one is named."""
        questions = self.read(path)
        options = EvaluateOptions(measures=MEASURES, single_vector=twin)
        return evaluate_set(_through(questions, code) if code else questions, encoder, options)

    def finetune(self, name: str, pairs: list[QuestionPair], **batch: object) -> Path:
        """Fine-tune `start` on English pairs alone, once through them or a little; return the checkpoint."""
        out = self.out / name
        if not (out / "model.safetensors").is_file():
            sizes = recipes.FinetuneOptions(parallel_every=0, negatives=NegativeOptions("given"), **batch)
            n_steps = max(1, len(pairs) // sizes.batch_size)
            options = LoopOptions(min(n_steps, QUICK_STEPS) if self.quick else n_steps, RATE, seed=self.seed)
            recipes.finetune(
                self.start, out, questions=pairs, pairs=(), batch=sizes, options=options, device=self.device
            )
        return out

    @cached_property
    def pairs(self) -> list[QuestionPair]:
        """The English questions that people really asked, in a random order, each with one negative among all."""
        found = read_questions(self.data / "qa" / "train.en.jsonl.xz", recipes.WEB_QUESTIONS)
        random.Random(self.seed).shuffle(found)
        kept = found[: QUICK_PAIRS if self.quick else self.max_pairs]
        triples = make_triples(kept, NegativeOptions(), seed=self.seed)
        return [QuestionPair(triple.question, triple.positive, negatives=triple.negatives) for triple in triples]


@dataclass(frozen=True)
class View:
    """An encoder read in another way: through a head of `dim`, or with queries that lose their masks."""

    encoder: Encoder
    dim: int
    masks: bool = True

    def __getattr__(self, name: str) -> object:
        """Everything else is the encoder's."""
        return getattr(self.encoder, name)

    def stream_passages(self, texts: list[str], languages: list[LanguageGuess]) -> Iterator:
        """Encode passages with this head."""
        return self.encoder.stream_passages(texts, languages, dim=self.dim)

    def encode_query(self, text: str, language: LanguageGuess) -> TokenEmbeddings:
        """Encode a query with this head, and leave its masks out if asked to."""
        query = self.encoder.encode_query(text, language, dim=self.dim)
        if self.masks:
            return query
        kept = np.array([kind != "mask" for kind in query.kinds])
        names = {"tokens": query.tokens, "kinds": query.kinds}
        left = {name: tuple(np.array(values)[kept].tolist()) for name, values in names.items()}
        return replace(query, vectors=query.vectors[kept], offsets=query.offsets[kept], **left)


def languages(setting: Setting) -> Iterator[Job]:
    """Every method on every set; the twin is trained here, from `start`, on the English pairs alone."""
    encoder = load_encoder(str(setting.checkpoint))
    for path in setting.files:
        yield Job(
            {"file": path.name}, lambda path=path: setting.evaluate(path, encoder, twin=str(_train_twin(setting)))
        )


def efficiency(setting: Setting) -> Iterator[Job]:
    """Five sizes of the training set, once through each (colbert-xm, table 4, in miniature)."""
    for power in reversed(range(N_SIZES)):
        n_pairs = len(setting.pairs) // SIZE_STEP**power

        def tuned(n: int = n_pairs) -> Encoder:
            encoder = load_encoder(str(setting.finetune(f"pairs-{n}", setting.pairs[:n], batch_size=min(8, n))))
            for path in setting.adapters:
                if read_adapter(path).facts.code not in encoder.languages:
                    encoder.import_adapter(path)
            return encoder

        for path in setting.files:
            key = {"n_pairs": n_pairs, "file": path.name}
            yield Job(key, lambda path=path, tuned=tuned: setting.evaluate(path, tuned()))


def added(setting: Setting) -> Iterator[Job]:
    """Added languages through their adapter and through the nearest; the others through the one they were given."""
    encoder = load_encoder(str(setting.checkpoint))
    facts = [read_adapter(path).facts for path in setting.adapters]
    nearest = {fact.code: fact.notes["nearest"] for fact in facts}
    for path in setting.files:
        own = find_code(path.name.split(".")[-3])
        ways = _ways(own, nearest[own]) if own in nearest else {"its own adapter, pretrained": own}
        for way, code in ways.items():
            key = {"through": way, "adapter": code, "file": path.name}
            yield Job(key, lambda path=path, code=code: setting.evaluate(path, encoder, code=code))


def across(setting: Setting) -> Iterator[Job]:
    """Held-out sentences and words of the added languages find their translations, and the reverse."""
    encoder = load_encoder(str(setting.checkpoint))
    for path in setting.adapters:
        facts = read_adapter(path).facts
        held = Translations(read_pairs(setting.data, [facts.code]), size=1, seed=setting.seed).held[: setting.limit[0]]
        iso = facts.code.split("_")[0]
        for way, code in _ways(facts.code, facts.notes["nearest"]).items():
            theirs, english = ([(code, pair.text) for pair in held], [("en_XX", pair.english) for pair in held])
            for name, asked, read in ((f"en to {iso}", english, theirs), (f"{iso} to en", theirs, english)):
                key = {"through": way, "adapter": code, "file": f"dev.translations.{name}.jsonl.xz"}
                questions = _matched(key["file"], asked, read)
                options = EvaluateOptions(measures=MEASURES)
                yield Job(key, lambda questions=questions, options=options: evaluate_set(questions, encoder, options))


def heads(setting: Setting) -> Iterator[Job]:
    """Every head that the checkpoint has."""
    encoder = load_encoder(str(setting.checkpoint))
    for dim in sorted(encoder.facts.dims):
        for path in setting.files:
            key = {"dim": dim, "file": path.name}
            yield Job(key, lambda path=path, dim=dim: setting.evaluate(path, View(encoder, dim)))


def masks(setting: Setting) -> Iterator[Job]:
    """Masks as trained, masks that other tokens do not see, and none: changed at search time, trained as it is."""
    unattended = load_encoder(str(_with_attention(setting, attend=False)))
    attended = load_encoder(str(_with_attention(setting, attend=True)))
    ways = {
        "on": View(attended, attended.dim),
        "unattended": View(unattended, unattended.dim),
        "off": View(unattended, unattended.dim, masks=False),  # what is not seen can be left out
    }
    for way, view in ways.items():
        for path in setting.files:
            yield Job({"masks": way, "file": path.name}, lambda path=path, view=view: setting.evaluate(path, view))


FIGURES = {
    "languages": languages,
    "efficiency": efficiency,
    "added": added,
    "across": across,
    "heads": heads,
    "masks": masks,
}
NEED_START = ("languages", "efficiency")


def _ways(own: str, nearest: str) -> dict[str, str]:
    """Name the adapters through which an added language is read."""
    return {"its own adapter, added": own, "the nearest adapter": nearest, "English's adapter": "en_XX"}


def _matched(name: str, asked: list[tuple[str, str]], read: list[tuple[str, str]]) -> QuestionSet:
    """Make a set of (adapter, text) in which the text at a place answers the one that asks at that place."""
    passages = (Passage(f"p{i}", text, LanguageGuess(code, 1.0, "given")) for i, (code, text) in enumerate(read))
    queries = (Query(f"q{i}", text, code) for i, (code, text) in enumerate(asked))
    qrels = {f"q{i}": {f"p{i}": 1} for i in range(len(asked))}
    return QuestionSet(name, Corpus(name, tuple(passages)), tuple(queries), qrels)


def _train_twin(setting: Setting) -> Path:
    """Train the twin on what the multi-vector model's last stage had, and give it the added languages too."""
    twin = setting.finetune("twin", setting.pairs, pooling="mean")
    for path in setting.adapters:
        target = setting.out / f"twin_{path.stem}"
        if not target.is_dir():
            merge_adapter(str(twin), path, target)
        twin = target
    return twin


def _with_attention(setting: Setting, *, attend: bool) -> Path:
    """Return the checkpoint, or one of the same weights whose metadata says otherwise of masks."""
    metadata = json.loads((setting.checkpoint / "artifact.metadata").read_text(encoding="utf-8"))
    if metadata["attend_to_mask_tokens"] == attend:
        return setting.checkpoint
    folder = setting.out / ("attended" if attend else "unattended")
    folder.mkdir(parents=True, exist_ok=True)
    for path in setting.checkpoint.iterdir():
        if path.is_file() and not (folder / path.name).exists():
            (folder / path.name).symlink_to(path.resolve())
    (folder / "artifact.metadata").unlink()
    changed = json.dumps({**metadata, "attend_to_mask_tokens": attend})
    (folder / "artifact.metadata").write_text(changed, encoding="utf-8")
    return folder


def _through(questions: QuestionSet, code: str) -> QuestionSet:
    """Give passages and questions another language, and so its adapter."""
    guess = LanguageGuess(code, 1.0, "given")
    passages = tuple(replace(passage, language=guess) for passage in questions.corpus.passages)
    queries = tuple(replace(query, language=code) for query in questions.queries)
    return replace(questions, corpus=replace(questions.corpus, passages=passages), queries=queries)
