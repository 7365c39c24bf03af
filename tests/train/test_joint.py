"""The joint stage on tiny data: what each step trains on, what learns fast and what slowly, heads, resuming."""

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from tests.train.texts import ROWS, write_teacher
from xm.__main__ import main
from xm.errors import TrainingError
from xm.train import joint, recipes
from xm.train.cloze import cloze_batch, read_paragraphs
from xm.train.data import ParallelPair
from xm.train.distil import Teacher, distil_loss
from xm.train.joint import JOINT, RANKING, JointData, JointOptions, cloze_loss, kind_of, language_of, train_jointly
from xm.train.loop import LoopOptions, RunReport
from xm.train.negatives import Triple
from xm.train.student import load_student

LANGUAGES = ("en_XX", "fr_XX")
ENGLISH, FRENCH = zip(*ROWS, strict=True)
PAIRS = [ParallelPair(code, *row) for code, row in zip(LANGUAGES * 4, [*zip(FRENCH, ENGLISH, strict=True)] * 2)]  # noqa: B905
TRIPLES = [Triple(text[:12], text, (ENGLISH[i - 1],)) for i, text in enumerate(ENGLISH)]
BATCH = JointOptions(n_parallel=4, n_cloze=4, n_bm25=4, n_triples=2, heads=(4, 8, 16))
STEPS = LoopOptions(n_steps=16, learning_rate=1e-3, save_every=2, warmup=0.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with texts of five sentences a paragraph, a teacher, and a warm start of English and French."""
    folder = tmp_path_factory.mktemp("joint")
    (folder / "texts").mkdir()
    draw = random.Random(0)
    for language, sentences in (("en", ENGLISH), ("fr", FRENCH)):
        lines = [". ".join(draw.choices(sentences, k=6)) for _ in range(60)]
        (folder / "texts" / f"{language}.txt").write_text("\n".join(lines), encoding="utf-8")
    lines = ["en\tfr", *("\t".join(row) for row in ROWS)]
    (folder / "pairs.tsv").write_text("\n".join(lines), encoding="utf-8")
    rows = [{"question": triple.question, "context": triple.positive} for triple in TRIPLES]
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    files = recipes.WarmStartFiles(folder / "texts", (folder / "pairs.tsv",), write_teacher(folder / "teacher"))
    options = recipes.WarmStartOptions(LANGUAGES, vocab_size=65, dim=16)
    recipes.warm_start(files, folder / "warm", options=options)
    return folder


def run(data: Path, out: Path, *, options: LoopOptions = STEPS, batch: JointOptions = BATCH) -> RunReport:
    material = JointData(data / "texts", PAIRS, TRIPLES, data / "teacher")
    return train_jointly(data / "warm", out, data=material, options=options, batch=batch)


@pytest.fixture(scope="module")
def trained(data: Path) -> RunReport:
    return run(data, data / "joint")


def test_half_of_the_steps_are_parallel_and_each_kind_counts_on() -> None:
    steps = [kind_of(step, JOINT) for step in range(80)]
    assert Counter(kind for kind, _ in steps) == {"parallel": 40, "cloze": 30, "triples": 10}
    for kind in ("cloze", "parallel", "triples"):
        places = [place for other, place in steps if other == kind]
        assert places == list(range(len(places)))


@pytest.mark.parametrize("cycle", [("parallel", "cloz"), ()])
def test_a_kind_of_batch_that_there_is_not_is_an_error(cycle: tuple[str, ...]) -> None:
    with pytest.raises(TrainingError, match="expected some of parallel, cloze, bm25, triples"):
        JointOptions(cycle=cycle)


def test_every_language_comes_once_a_round_in_an_order_that_the_seed_draws() -> None:
    codes = ["en_XX", "fr_XX", "de_DE", "ja_XX", "ru_RU"]
    rounds = [[language_of(5 * i + place, codes, seed=3) for place in range(5)] for i in range(20)]
    assert all(sorted(turn) == sorted(codes) for turn in rounds)
    assert len({tuple(turn) for turn in rounds}) > 10
    assert rounds != [[language_of(5 * i + place, codes, seed=4) for place in range(5)] for i in range(20)]


def test_all_kinds_and_languages_are_trained_on(trained: RunReport) -> None:
    clozes = {f"cloze {code}" for code in LANGUAGES}
    assert set(trained.loss_by_label) == {"parallel en_XX", "parallel fr_XX", "triples en_XX", *clozes}
    assert trained.n_steps == 16


def test_ranking_learns_from_bm25_in_every_language_and_from_nothing_less(data: Path, tmp_path: Path) -> None:
    report = run(data, tmp_path, batch=replace(BATCH, cycle=RANKING))
    rankings = {f"bm25 {code}" for code in LANGUAGES}
    assert set(report.loss_by_label) == {"parallel en_XX", "parallel fr_XX", "triples en_XX", *rankings}
    assert Counter(RANKING) == {"bm25": 4, "parallel": 3, "triples": 1}


def test_shared_weights_move_at_their_share_of_the_rate(data: Path, tmp_path: Path) -> None:
    batch = replace(BATCH, shared_rate=0.01)
    run(data, tmp_path, batch=batch)
    before = load_student(data / "warm")[0]
    before.set_sizes(batch.heads)
    after = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["model"]
    furthest = {name: (after[name] - value).abs().max().item() for name, value in before.state_dict().items()}
    fast = {name for name in furthest if "adapter_modules" in name or "word_embeddings" in name}
    # AdamW moves a weight by about its rate a step.
    limit = 1.5 * STEPS.n_steps * STEPS.learning_rate * batch.shared_rate
    assert all(furthest[name] <= limit for name in furthest.keys() - fast)
    assert all(furthest[name] > 0 for name in furthest if name.endswith("dense.weight") or name.startswith("head"))
    assert all(furthest[name] > 3 * limit for name in fast)


def test_heads_of_every_size_learn_from_every_kind_of_batch(data: Path, trained: RunReport) -> None:
    saved = load_file(data / "joint" / "model.safetensors")
    for dim in (4, 8):
        head = saved[f"linear_{dim}.weight"]
        assert head.shape == (dim, 48)
        assert not torch.equal(head, saved["linear.weight"][:dim])
    student, texts = load_student(data / "joint")
    drawn = cloze_batch(read_paragraphs(data / "texts" / "fr.txt"), random.Random(0), size=4)
    losses = [
        distil_loss(student, texts, Teacher(data / "teacher"), PAIRS[1::2])[0],
        cloze_loss(student, texts, drawn, "fr_XX")[0],
    ]
    for loss in losses:
        student.zero_grad()
        loss.backward()
        assert all(head.grad.abs().sum() > 0 for head in student.heads())


def test_distillation_sums_the_token_part_over_heads_and_equals_a_slow_version(data: Path, trained: RunReport) -> None:
    student, texts = load_student(data / "joint")
    teacher, pairs = Teacher(data / "teacher"), PAIRS[1::2]
    expected = 0.0
    with torch.inference_mode():
        batch = texts.plain([pair.text for pair in pairs], "fr_XX", length=64)
        states = [state[kept] for state, kept in zip(student.hidden(batch), batch.attended, strict=True)]
        theirs = teacher.hidden([pair.english for pair in pairs])
        for head in student.heads():
            expected += _slow_token_loss(states, theirs, head)
        means = [functional.cosine_similarity(one.mean(0), other.mean(0), dim=0) for one, other in zip(states, theirs)]  # noqa: B905
        expected += 4 * (1 - sum(means) / len(means))
        assert distil_loss(student, texts, teacher, pairs)[0].item() == pytest.approx(expected.item(), rel=1e-4)


def _slow_token_loss(ours: list[torch.Tensor], theirs: list[torch.Tensor], head: torch.Tensor) -> torch.Tensor:
    ours, theirs = ([functional.normalize(state @ head.T, dim=1) for state in states] for states in (ours, theirs))
    forth = torch.stack([torch.stack([(one @ other.T).amax(1).sum() for other in theirs]) for one in ours])
    back = torch.stack([torch.stack([(one @ other.T).amax(1).sum() for other in ours]) for one in theirs])
    matched = [forth[i, i] / len(ours[i]) + back[i, i] / len(theirs[i]) for i in range(len(ours))]
    right = [table.log_softmax(1).diagonal().mean() for table in (forth, back)]
    return 4 * (1 - sum(matched) / len(matched) / 2) - right[0] - right[1]


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    data: Path, trained: RunReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(step: int, cycle: tuple[str, ...]) -> tuple[str, int]:
        if step == 5:
            raise KeyboardInterrupt
        return kind_of(step, cycle)

    with monkeypatch.context() as patch:
        patch.setattr(joint, "kind_of", killed)
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path)
    assert run(data, tmp_path).losses == trained.losses
    expected, found = (load_file(folder / "model.safetensors") for folder in (data / "joint", tmp_path))
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    with pytest.raises(TrainingError, match="another folder"):
        run(data, tmp_path, batch=replace(BATCH, shared_rate=0.5))


def test_the_command_trains_with_the_values_of_the_recipe(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"texts": "texts", "questions": "questions.jsonl", "teacher": "teacher", "parallel": "pairs.tsv"}
    named = [word for name, path in files.items() for word in (f"--{name}", str(data / path))]
    start = ["train", "joint", str(data / "warm"), str(tmp_path), *named, "--steps", "3", "--json"]
    assert main([*start, "--heads", "8", "--negatives", "in-batch"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts.items() >= {"stage": "joint", "n_steps": 3, "triples": 4, "parallel": 4 + 10 + 4}.items()
    assert "linear_8.weight" in load_file(tmp_path / "model.safetensors")
    assert torch.load(tmp_path / "run" / "state.pt", weights_only=True)["kept"]["average"] == 0.998
