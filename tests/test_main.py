"""The command line: JSON as the design has it, errors of one line, nothing else on standard output."""

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.command_line import TEXTS, error_of, json_of
from xm.__main__ import main
from xm.errors import XmError
from xm.options import EvaluateOptions
from xm.search import Searcher

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.usefixtures("fake_encoder")


@pytest.fixture
def index(corpus_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["index", corpus_file, "--out", str(tmp_path / "index")]) == 0
    capsys.readouterr()
    return str(tmp_path / "index")


def test_languages_lists_all_81(capsys: pytest.CaptureFixture[str]) -> None:
    languages = json_of(capsys, "languages")["languages"]
    assert len(languages) == 81
    assert {"code": "de_DE", "name": "German", "detectable": True}.items() <= languages[8].items()
    assert sum(not language["detectable"] for language in languages) == 26
    main(["languages"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 81
    assert lines[8].split() == ["de_DE", "German", "detectable"]
    assert any("chosen by hand" in line for line in lines)


def test_detect_says_language_probability_and_adapter(capsys: pytest.CaptureFixture[str]) -> None:
    facts = json_of(capsys, "detect", "Wie speichern Pflanzen ihre Energie?")
    assert (facts["language"], facts["adapter"], facts["source"]) == ("de_DE", "de_DE", "detected")
    assert 0 < facts["probability"] <= 1
    assert "margin" in facts
    assert [text["adapter"] for text in facts["texts"]] == ["de_DE"]
    main(["detect", "Wie speichern Pflanzen ihre Energie?"])
    assert "margin" in capsys.readouterr().out


def test_detect_judges_several_texts_together_and_each(capsys: pytest.CaptureFixture[str]) -> None:
    german = "Wie speichern Pflanzen ihre Energie in den Wurzeln?"
    facts = json_of(capsys, "detect", german, "Как растения запасают энергию?", german)
    assert facts["language"] == "de_DE"
    assert [text["language"] for text in facts["texts"]] == ["de_DE", "ru_RU", "de_DE"]


def test_index_says_what_it_made(corpus_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json_of(
        capsys, "index", corpus_file, "--out", str(tmp_path / "index"), "--kind", "flat", "--language", "en"
    )
    assert (facts["n_passages"], facts["languages"], facts["model"]) == (4, {"en_XX": 4}, "fake")
    assert sorted(facts["seconds"]) == ["build", "load", "read"]
    files = [path for path in (tmp_path / "index").rglob("*") if path.is_file()]
    assert facts["bytes"] == sum(path.stat().st_size for path in files)
    assert facts["notes"] == []


def test_search_has_the_designs_shape(index: str, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json_of(capsys, "search", index, "energy of plants", "--k", "2", "--language", "en")
    assert sorted(facts) == ["adapter", "hits", "query", "seconds"]
    assert (facts["query"], facts["adapter"]) == ("energy of plants", "en_XX")
    assert sorted(facts["seconds"]) == ["detect", "encode", "score"]
    assert [hit["rank"] for hit in facts["hits"]] == [1, 2]
    first = facts["hits"][0]
    assert sorted(first) == ["exact", "language", "passage_id", "rank", "score", "text"]
    assert (first["text"], first["exact"], first["language"]) == (TEXTS[2], True, "en_XX")


def test_explain_has_the_designs_shape_and_adds_up(index: str, capsys: pytest.CaptureFixture[str]) -> None:
    query = "energy of plants"
    hit = json_of(capsys, "search", index, query)["hits"][0]
    facts = json_of(capsys, "explain", index, query, hit["passage_id"])
    assert {"query", "passage_id", "score", "exact", "query_adapter", "passage_adapter", "rows"} <= set(facts)
    for row in facts["rows"]:
        assert sorted(row) == ["best_index", "best_token", "kind", "similarity", "token"]
    assert sum(row["similarity"] for row in facts["rows"]) == pytest.approx(facts["score"], abs=1e-5)
    assert facts["score"] == hit["score"]


def test_people_get_lines(index: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", index, "energy of plants"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("query through en_XX")
    assert lines[2].strip() == TEXTS[2]
    assert main(["info"]) == 0
    assert "checkpoint" in capsys.readouterr().out


def test_explain_writes_the_figure(
    index: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xm.types.Alignment.to_html", lambda self: f"<p>{self.passage_id} ü</p>")
    hit = json_of(capsys, "search", index, "plants")["hits"][0]
    page = tmp_path / "page.html"
    assert main(["explain", index, "plants", hit["passage_id"], "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert page.read_text(encoding="utf-8") == f"<p>{hit['passage_id']} ü</p>"
    assert str(page) in out
    assert "is their sum, the score (exact)" in out
    nowhere = tmp_path / "no" / "page.html"
    assert "cannot be written" in error_of(
        capsys, "explain", index, "plants", hit["passage_id"], "--html", str(nowhere)
    )


def test_a_corpus_can_be_searched_without_an_index(corpus_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert json_of(capsys, "search", corpus_file, "river water")["hits"][0]["text"] == TEXTS[1]


def test_evaluate_asks_for_what_the_options_say_and_prints_the_result(
    index: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict = {}

    def evaluate_queries(searcher: Searcher, queries: str, qrels: str, **options: object) -> dict:
        asked.update(options, model=searcher.encoder.model, files=(queries, qrels))
        return {"measures": {"MRR@10": 0.25}, "queries": 4, "seconds": {"encode": 0.1}}

    replaced = {"evaluate_queries": evaluate_queries, "read_queries": str.upper, "read_qrels": str.upper}
    for name, function in (replaced | {"result_lines": lambda facts: [f"{len(facts)} facts"]}).items():
        monkeypatch.setattr(f"xm.evaluation.{name}", function)
    arguments = ["evaluate", index, "--queries", "q.jsonl", "--qrels", "r.txt", "--measures", "MRR@10 R@5"]
    assert json_of(capsys, *arguments) == {"measures": {"MRR@10": 0.25}, "queries": 4, "seconds": {"encode": 0.1}}
    assert (asked["model"], asked["files"]) == ("fake", ("Q.JSONL", "R.TXT"))
    assert asked["options"] == EvaluateOptions(("MRR@10", "R@5"))
    main([*arguments, "--single-vector", "twin", "--runs-out", "runs", "--depth", "7"])
    assert asked["options"] == EvaluateOptions(("MRR@10", "R@5"), 7, "twin", "runs")
    assert capsys.readouterr().out == "3 facts\n"


def test_info_says_versions_and_checkpoint(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    facts = json_of(capsys, "info", "other")
    assert (facts["model"], facts["checkpoint"]["dim"]) == ("other", 16)
    assert facts["libraries"]["numpy"]
    assert facts["cores"] >= 1
    assert "neither a folder" in error_of(capsys, "info", "missing")
    # Without a name, a broken installation still gets its versions.
    monkeypatch.setenv("XM_MODEL", "missing")
    facts = json_of(capsys, "info")
    assert facts["checkpoint"] is None
    assert "neither a folder" in facts["problem"]


def test_app_starts_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict] = []
    page = SimpleNamespace(launch=lambda **options: started.append(options))
    monkeypatch.setitem(sys.modules, "xm.ui", page)
    monkeypatch.setattr("xm.ui", page, raising=False)
    assert main(["app"]) == 0
    assert main(["app", "--port", "8000", "--host", "0.0.0.0", "--model", "other"]) == 0
    assert started == [
        {"host": None, "port": None, "model": "fake"},
        {"host": "0.0.0.0", "port": 8000, "model": "other"},
    ]


def test_the_model_is_the_named_one_or_the_indexs_own(
    index: str, corpus_file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XM_MODEL", "other")
    assert json_of(capsys, "search", index, "plants")["hits"]
    message = error_of(capsys, "search", index, "plants", "--model", "other")
    assert "built with fake" in message
    assert "with other" in message
    assert json_of(capsys, "index", corpus_file, "--out", f"{index}-2")["model"] == "other"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required"),
        (["fly"], "invalid choice: 'fly'"),
        (["search"], "required"),
        (["search", "{index}", "x", "--k", "many"], "--k"),
        (["search", "{index}", "x", "--k", "0"], "at least 1 hit"),
        (["search", "{index}", ""], "empty"),
        (["search", "{index}", "x", "--language", "xx"], "xx"),
        (["search", "/nowhere/at/all", "x"], "/nowhere/at/all"),
        (["explain", "{index}", "x", "no-such-id"], "no-such-id"),
        (["index", "{corpus}", "--out", "{corpus}"], "not a folder"),
        (["index", "{corpus}", "--out", "{index}-2", "--kind", "magic"], "invalid choice: 'magic'"),
        (["index", "{corpus}", "--out", "{index}-2", "--model", "missing"], "missing"),
        (["index", "/nowhere/at/all.txt", "--out", "{index}-2"], "all.txt"),
        (["detect", "12345"], ""),
        (["info", "missing"], "missing"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, index: str, corpus_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in error_of(capsys, *(part.format(index=index, corpus=corpus_file) for part in arguments))


def test_a_message_of_several_lines_becomes_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise XmError("first line\nsecond\tline")

    monkeypatch.setattr("xm.languages.detect", fail)
    assert error_of(capsys, "detect", "text") == "xm: first line second line\n"


def test_what_is_no_deliberate_error_stays_loud(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("xm.languages.detect", fail)
    with pytest.raises(ZeroDivisionError):
        main(["detect", "text"])


def test_ctrl_c_ends_quietly_and_leaves_the_former_index(
    index: str, corpus_file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted((path.name, path.stat().st_mtime_ns) for path in Path(index).iterdir())

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("xm.index_commands.show_progress", interrupt)
    assert main(["index", corpus_file, "--out", index]) == 130
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted((path.name, path.stat().st_mtime_ns) for path in Path(index).iterdir()) == before


def test_a_terminal_is_never_steered_by_a_passage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "red \x1b[31m text \x07 bell \u202e turned"
    (tmp_path / "evil.jsonl").write_text(json.dumps({"id": "a\x1b[2J", "text": hostile, "language": "en"}) + "\n")
    main(["search", str(tmp_path / "evil.jsonl"), "text"])
    out = capsys.readouterr().out
    assert not set(out) & {"\x1b", "\x07", "\u202e"}
    assert "red" in out


def test_progress_goes_to_a_terminal_alone(
    corpus_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["index", corpus_file, "--out", str(tmp_path / "quiet")])
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    main(["index", corpus_file, "--out", str(tmp_path / "shown")])
    assert "encode 4/4 (en_XX 4)" in capsys.readouterr().err


def run(*arguments: str, **options: object) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "xm", *arguments], cwd=ROOT, stderr=subprocess.PIPE, **options)


def test_a_reader_that_goes_away_is_no_crash() -> None:
    process = run("languages", "--json", stdout=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


def test_output_is_utf_8_whatever_the_surroundings_say() -> None:
    surroundings = {"PYTHONIOENCODING": "ascii", "PATH": "", "LC_ALL": "C", "PYTHONDONTWRITEBYTECODE": "1"}
    process = run("languages", "--json", stdout=subprocess.PIPE, env=surroundings)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert "Français" in json.dumps(json.loads(out.decode("utf-8")), ensure_ascii=False)


def test_starting_loads_no_heavy_library() -> None:
    code = (
        "import sys; from xm.__main__ import main; main(['languages']); main(['detect', 'Wie geht es dir heute?']); "
        "sys.exit(', '.join({'torch', 'transformers', 'gradio', 'plotly', 'faiss', 'umap'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stream_that_cannot_be_reconfigured_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert main(["languages"]) == 0
