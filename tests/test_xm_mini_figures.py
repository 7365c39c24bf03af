"""The figures of xm-mini: charts from a small JSON, jobs that are not done twice, encoders read in another way."""

import itertools
import json
import lzma
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.xm_mini.figures.__main__ import measure
from benchmarks.xm_mini.figures.charts import CHARTS, draw, table
from benchmarks.xm_mini.figures.measure import FIGURES, Job, Setting, View, _matched, across
from tests.tiny import build_checkpoint
from tests.train.texts import WORDS, write_start, write_texts
from xm.encoder import load_encoder
from xm.encoder.adapters import adapter_of, write_adapter
from xm.encoder.exchange import merge_adapter
from xm.errors import XmError
from xm.train.add_language import grow
from xm.train.student import load_student
from xm.types import LanguageGuess

FILES = {"dev.piaf.fr.jsonl.xz": "fr_XX", "dev.jaquad.ja.jsonl.xz": "ja_XX"}


def lines_of(name: str) -> list[dict]:
    """Two sets, each measured twice."""
    values = {"efficiency": (60, 240), "heads": (128, 32), "masks": ("on", "off")}
    values |= dict.fromkeys(("added", "across"), ("one", "other"))
    lines = []
    for i, value in enumerate(values.get(name, (0,))):
        for j, (file, language) in enumerate(FILES.items()):
            runs = {"multi_vector": {"MRR@10": 0.1 + 0.2 * i + 0.1 * j, "R@100": 0.9}}
            if name in ("languages", "added", "across"):
                runs["bm25"] = {"MRR@10": 0.7, "R@100": 0.8}
            lines.append({"file": file, "language": language, "runs": runs, CHARTS[name].across or "none": value})
    return lines


def test_there_is_a_chart_for_each_figure() -> None:
    assert CHARTS.keys() == FIGURES.keys()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("languages", {"multi-vector": {"fr (piaf)": 0.1, "ja (jaquad)": 0.2}, "BM25": {"fr (piaf)": 0.7}}),
        ("efficiency", {"fr (piaf)": {60: 0.1, 240: 0.3}, "ja (jaquad)": {60: 0.2, 240: 0.4}}),
        ("heads", {"fr (piaf)": {32: 0.3, 128: 0.1}, "mean of all sets": {32: 0.35, 128: 0.15}}),
        ("added", {"one": {"fr (piaf)": 0.1}, "other": {"ja (jaquad)": 0.4}, "BM25": {"fr (piaf)": 0.7}}),
        ("across", {"one": {"fr (piaf)": 0.1}, "other": {"ja (jaquad)": 0.4}}),
        ("masks", {"on": {"fr (piaf)": 0.1}, "off": {"fr (piaf)": 0.3}}),
    ],
)
def test_a_chart_shows_what_its_lines_say(name: str, expected: dict) -> None:
    figure = draw(name, lines_of(name))
    shown = {trace.name: dict(zip(trace.x, trace.y, strict=True)) for trace in figure.data}
    for series, points in expected.items():
        for x, y in points.items():
            assert shown[series][x] == pytest.approx(y)
    assert all(list(trace.x) == sorted(trace.x) for trace in figure.data if CHARTS[name].is_curve)


def test_a_table_has_the_numbers_of_its_chart() -> None:
    assert table("added", lines_of("added")).splitlines() == [
        "| MRR@10 / R@100 | one | BM25 | other |",
        "| --- | --- | --- | --- |",
        "| fr (piaf) | 0.100 / 0.900 | 0.700 / 0.800 | 0.300 / 0.900 |",
        "| ja (jaquad) | 0.200 / 0.900 | 0.700 / 0.800 | 0.400 / 0.900 |",
        "| mean of all sets | 0.150 / 0.900 | 0.700 / 0.800 | 0.350 / 0.900 |",
    ]
    lines = lines_of("added")
    lines[0]["language"] = "ko_KR"  # read through another language's adapter
    assert "ko" not in table("added", lines)
    rows = table("heads", lines_of("heads")).splitlines()
    assert rows[0] == "| MRR@10 / R@100 | 32 | 128 |"
    assert rows[-1] == "| mean of all sets | 0.350 / 0.900 | 0.150 / 0.900 |"


def test_added_languages_are_read_through_three_adapters_in_both_directions(tmp_path: Path) -> None:
    source = write_start(tmp_path / "source", write_texts(tmp_path / "texts"))
    student, _ = load_student(source)
    grow(student, "it_IT", like="fr_XX")
    for layer in student.backbone.encoder.layer:
        torch.nn.init.normal_(layer.output.adapter_modules["it_IT"].dense1.weight)
        torch.nn.init.normal_(layer.output.adapter_modules["it_IT"].dense2.weight)
    adapter = adapter_of(student.backbone, "it_IT", base="source", notes={"nearest": "fr_XX"})
    write_adapter(adapter, tmp_path / "it_IT.safetensors")
    merge_adapter(str(source), tmp_path / "it_IT.safetensors", tmp_path / "merged")
    (tmp_path / "parallel").mkdir()
    with lzma.open(tmp_path / "parallel" / "it-en.tsv.xz", "wt", encoding="utf-8") as file:
        pairs = itertools.product(zip(WORDS["it"], WORDS["en"], strict=False), repeat=2)
        file.write("it\ten\n" + "".join(f"{a} {c}\t{b} {d}\n" for (a, b), (c, d) in pairs))
    files = {"checkpoint": tmp_path / "merged", "data": tmp_path, "out": tmp_path, "start": None}
    rest = {"languages": (), "limit": (20, None), "seed": 0, "device": "cpu", "quick": False}
    jobs = list(across(Setting(**files, **rest, adapters=(tmp_path / "it_IT.safetensors",))))
    assert [job.key["adapter"] for job in jobs] == ["it_IT", "it_IT", "fr_XX", "fr_XX", "en_XX", "en_XX"]
    lines = [{**job.measure(), **job.key} for job in jobs]
    assert [line["n_questions"] for line in lines] == [20] * 6
    own, nearest = ([line["runs"]["multi_vector"] for line in lines[i : i + 2]] for i in (0, 2))
    assert own != nearest
    assert lines[0]["runs"]["bm25"] == lines[2]["runs"]["bm25"]
    assert "| it to en (translations) | " in table("across", lines)


def test_matched_texts_answer_each_other() -> None:
    asked, read = [("en_XX", "cat"), ("en_XX", "dog")], [("it_IT", "gatto"), ("it_IT", "cane")]
    questions = _matched("dev.translations.en to it.jsonl.xz", asked, read)
    for query in questions.queries:
        (answer,) = questions.qrels[query.query_id]
        passage = next(passage for passage in questions.corpus.passages if passage.passage_id == answer)
        assert (query.language, query.text, passage.language.code, passage.text) in {
            ("en_XX", "cat", "it_IT", "gatto"), ("en_XX", "dog", "it_IT", "cane"),
        }  # fmt: skip


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    done, path = [], tmp_path / "heads.json"

    def job(dim: int) -> Job:
        return Job({"dim": dim}, lambda: done.append(dim) or {"runs": dim, "dim": 0})

    measure([job(32)], path, {"revision": "a"})
    measure([job(32), job(64)], path, {"revision": "a"})
    assert done == [32, 64]
    assert json.loads(path.read_text()) == {
        "revision": "a", "lines": [{"runs": 32, "dim": 32}, {"runs": 64, "dim": 64}],
    }  # fmt: skip
    with pytest.raises(XmError, match="other facts \\(revision\\)"):
        measure([job(32)], path, {"revision": "b"})


def test_a_view_without_masks_keeps_the_other_vectors(tmp_path: Path) -> None:
    encoder = load_encoder(str(build_checkpoint(tmp_path)))
    english = LanguageGuess("en_XX", 1.0, "given")
    whole = encoder.encode_query("water", english)
    query = View(encoder, encoder.dim, masks=False).encode_query("water", english)
    n_kept = sum(kind != "mask" for kind in whole.kinds)
    assert 0 < n_kept < len(whole.kinds)
    assert "mask" not in query.kinds
    assert query.tokens == whole.tokens[:n_kept]
    assert np.array_equal(query.vectors, whole.vectors[:n_kept])
    assert View(encoder, encoder.dim).encode_query("water", english).kinds == whole.kinds
