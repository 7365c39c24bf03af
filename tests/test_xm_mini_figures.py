"""The figures of xm-mini: charts from a small JSON, jobs that are not done twice, encoders read in another way."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.xm_mini.figures.__main__ import measure
from benchmarks.xm_mini.figures.charts import CHARTS, draw, table
from benchmarks.xm_mini.figures.measure import FIGURES, Job, View
from tests.tiny import build_checkpoint
from xm.encoder import load_encoder
from xm.errors import XmError
from xm.types import LanguageGuess

FILES = {"dev.piaf.fr.jsonl.xz": "fr_XX", "dev.jaquad.ja.jsonl.xz": "ja_XX"}


def lines_of(name: str) -> list[dict]:
    """Two sets, each measured twice."""
    values = {"efficiency": (60, 240), "heads": (128, 32), "added": ("one", "other"), "masks": ("on", "off")}
    lines = []
    for i, value in enumerate(values.get(name, (0,))):
        for j, (file, language) in enumerate(FILES.items()):
            runs = {"multi_vector": {"MRR@10": 0.1 + 0.2 * i + 0.1 * j, "R@100": 0.9}}
            if name in ("languages", "added"):
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
