"""--clean-punctuation and --allow-remote-code, through every command that encodes, on a real tiny checkpoint."""

import json
from argparse import Namespace
from pathlib import Path

import pytest

import xm
from tests.command_line import error_of, json_of, printed
from tests.tiny import build_checkpoint, tiny_jina_like
from xm.commands import encode_options
from xm.errors import IndexFolderError, XmError
from xm.index.store import open_index
from xm.options import EncodeOptions, options_for
from xm.search import Searcher

QUERY = "plants store energy!"
MORE = "How do plants store energy? They keep sugar (as starch), in roots."
MARKS = {",", ".", "?", "!", "(", ")"}
CODE = """from transformers import XLMRobertaModel
open({mark!r}, "w").close()
class Own(XLMRobertaModel):
    def __init__(self, config):
        super().__init__(config, add_pooling_layer=False)
"""


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XM_MODEL", str(tmp_path / "model"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return build_checkpoint(tmp_path / "model")


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkpoint is one with code of its own, which makes this file when it runs."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder, mark = tiny_jina_like(tmp_path / "model"), tmp_path / "executed"
    (folder / "modeling.py").write_text(CODE.format(mark=str(mark)))
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"auto_map": {"AutoModel": "modeling.Own"}}))
    return mark


def tokens_of(folder: str, passage_id: str) -> tuple[str, ...]:
    return open_index(folder).reconstruct(passage_id).tokens


def scores_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, float]:
    hits = json_of(capsys, "search", *arguments, "--language", "en")["hits"]
    return {hit["passage_id"]: hit["score"] for hit in hits}


def test_a_clean_index_says_so_and_every_command_keeps_to_it(
    model: Path, corpus_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean, usual = str(tmp_path / "clean"), str(tmp_path / "usual")
    arguments = ("index", corpus_file, "--language", "en", "--kind", "centroid", "--bits", "8", "--out")
    json_of(capsys, *arguments, clean, "--clean-punctuation")
    json_of(capsys, *arguments, usual)
    revision, plain = (json_of(capsys, "info", folder)["index"]["revision"] for folder in (clean, usual))
    assert revision == f"{plain}+clean-punctuation"
    more = tmp_path / "more.txt"
    more.write_text(MORE, encoding="utf-8")
    for folder in (clean, usual):
        json_of(capsys, "add", folder, str(more), "--prefix", "more-", "--language", "en")
    for passage_id in ("row-1", "more-row-1"):
        assert set(tokens_of(usual, passage_id)) & MARKS
        assert list(tokens_of(clean, passage_id)) == [t for t in tokens_of(usual, passage_id) if t not in MARKS]
    scores = scores_of(capsys, clean, QUERY)
    assert scores == scores_of(capsys, clean, QUERY, "--clean-punctuation")
    assert scores != scores_of(capsys, usual, QUERY)
    for command in (["search", usual, QUERY], ["add", usual, str(more), "--prefix", "x-"]):
        message = error_of(capsys, *command, "--language", "en", "--clean-punctuation")
        assert "built without clean punctuation (--clean-punctuation)" in message
        assert "build the index again" in message


def test_a_passage_encoded_again_is_compared_as_it_was(
    model: Path, corpus_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exact, codes = str(tmp_path / "exact"), str(tmp_path / "codes")
    arguments = ("index", corpus_file, "--language", "en", "--clean-punctuation", "--out")
    json_of(capsys, *arguments, exact)
    json_of(capsys, *arguments, codes, "--kind", "centroid")
    score = json_of(capsys, "explain", exact, "..", "row-3", "--language", "en")["score"]
    rows = json_of(capsys, "compare", codes, "..", "row-3", "--language", "en")["rows"]
    assert rows[0]["score"] == pytest.approx(score, abs=1e-5)
    with_marks = json_of(capsys, "explain", corpus_file, "..", "row-3", "--language", "en")["score"]
    assert with_marks > score + 0.01  # of this passage a full stop is what they are most similar to


def test_a_corpus_in_memory_is_encoded_as_asked_and_kept_apart(
    model: Path, corpus_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = scores_of(capsys, corpus_file, QUERY)
    clean = scores_of(capsys, corpus_file, QUERY, "--clean-punctuation")
    assert clean != usual
    assert scores_of(capsys, corpus_file, QUERY) == usual  # both are in the cache by now
    assert scores_of(capsys, corpus_file, QUERY, "--clean-punctuation") == clean


def test_a_clean_index_is_evaluated_as_it_is(
    model: Path, corpus_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "clean")
    json_of(capsys, "index", corpus_file, "--language", "en", "--out", folder, "--clean-punctuation")
    (tmp_path / "queries.jsonl").write_text(json.dumps({"id": "q", "text": QUERY, "language": "en"}))
    (tmp_path / "qrels.txt").write_text("q 0 row-5 1")
    files = ("--queries", str(tmp_path / "queries.jsonl"), "--qrels", str(tmp_path / "qrels.txt"))
    facts = json_of(capsys, "evaluate", folder, *files)
    assert (facts["queries"], facts["revision"]) == (1, open_index(folder).revision)
    wrong = (*files, "--measures", "FUN@1", "--model", "missing")  # the measure shows before anything is loaded
    assert "unknown measure" in error_of(capsys, "evaluate", folder, *wrong)


def test_python_and_the_command_line_agree_on_a_clean_index(
    model: Path, corpus_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, clean = tmp_path / "clean", EncodeOptions(clean_punctuation=True)
    encoder, usual = xm.load_encoder(str(model), options=clean), xm.load_encoder(str(model))
    xm.build_index(xm.read_corpus(corpus_file, language="en"), encoder, folder=folder)
    hits = xm.open(folder).search(QUERY, language="en").hits
    assert scores_of(capsys, str(folder), QUERY) == {hit.passage_id: hit.score for hit in hits}
    assert xm.open(folder, options=clean).encoder is encoder
    with pytest.raises(IndexFolderError, match=r"clean-punctuation, dim 16\), and cannot be searched"):
        Searcher(usual, open_index(folder))
    in_memory = (xm.open(corpus_file, model=str(model), options=options) for options in (clean, EncodeOptions()))
    assert len({searcher.index.n_tokens for searcher in in_memory}) == 2


def test_a_strangers_code_runs_only_when_it_is_allowed(
    mark: Path, corpus_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "index")
    assert "modeling.Own" in printed(capsys, "info", str(tmp_path / "model"))
    arguments = ("index", corpus_file, "--language", "en", "--out", folder)
    message = error_of(capsys, *arguments)
    assert "needs remote code (modeling.Own)" in message
    assert "--allow-remote-code" in message
    assert not mark.exists()
    json_of(capsys, *arguments, "--allow-remote-code")
    assert mark.exists()
    assert "needs remote code" in error_of(capsys, "search", folder, QUERY, "--language", "en")
    assert scores_of(capsys, folder, QUERY, "--allow-remote-code")


@pytest.mark.parametrize("command", "index add import-colbert search explain why trace compare evaluate".split())
def test_every_command_that_encodes_has_both_flags_and_says_what_they_do(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        printed(capsys, command, "--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "--clean-punctuation" in text
    assert "this changes the model" in text
    assert "--allow-remote-code" in text
    assert "a stranger's code" in text


def test_what_loads_no_checkpoint_has_neither(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("info x", "delete x y", "centroid x 1", "export-colbert x y", "adapter show x"):
        message = error_of(capsys, *command.split(), "--allow-remote-code")
        assert "unrecognized arguments: --allow-remote-code" in message


def test_flags_become_options_and_an_index_has_the_last_word() -> None:
    clean, remote = EncodeOptions(clean_punctuation=True), EncodeOptions(allow_remote_code=True)
    assert encode_options(Namespace(clean_punctuation=True, allow_remote_code=False)) == clean
    assert encode_options(Namespace(clean_punctuation=False, allow_remote_code=True)) == remote
    assert options_for("0") == EncodeOptions()
    assert options_for("0", remote) == remote
    assert options_for("0+clean-punctuation+de_DE-1") == options_for("0+clean-punctuation", clean) == clean
    with pytest.raises(XmError, match="built without clean punctuation"):
        options_for("0", clean)
