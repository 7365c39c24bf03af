"""The commands that make, change and ask an index: their JSON, their lines, and what they refuse."""

from pathlib import Path

import pytest

import xm
from tests import fakes
from tests.command_line import error_of, json_of, printed
from xm.__main__ import main
from xm.index.store import open_index
from xm.options import CodecOptions
from xm.types import LanguageGuess

QUERY = "energy of plants"
PLANTS = "row-5"  # a passage goes by the line it starts on
pytestmark = pytest.mark.usefixtures("fake_encoder")


@pytest.fixture
def flat(corpus_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["index", corpus_file, "--out", str(tmp_path / "flat"), "--language", "en"]) == 0
    capsys.readouterr()
    return str(tmp_path / "flat")


@pytest.fixture
def centroid(corpus_file: str, tmp_path: Path, fake_encoder: fakes.FakeEncoder) -> str:
    # So few centroids leave residuals; `xm index` would give so small a corpus nearly one for each token.
    codec = CodecOptions(n_bits=4, n_centroids=12)
    read = xm.read_corpus(corpus_file, language="en")
    xm.build_index(read, fake_encoder, folder=tmp_path / "centroid", kind="centroid", codec=codec)
    return str(tmp_path / "centroid")


def test_index_says_of_each_kind_what_it_made(
    corpus_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["index", corpus_file, "--language", "en", "--out"]
    facts = json_of(capsys, *arguments, str(tmp_path / "a"))
    assert (facts["kind"], facts["dtype"], facts["n_bits"], facts["exact"]) == ("flat", "float32", None, True)
    assert facts["token_bytes"]["embeddings"] == pytest.approx(16 * 4 + 128 / facts["n_tokens"])  # and a header
    assert facts["reconstruction"] is None
    halves = json_of(capsys, *arguments, str(tmp_path / "b"), "--dtype", "float16")
    assert (halves["dtype"], halves["exact"]) == ("float16", False)
    assert halves["token_bytes"]["embeddings"] == pytest.approx(16 * 2 + 128 / facts["n_tokens"])
    codes = json_of(capsys, *arguments, str(tmp_path / "c"), "--kind", "centroid", "--bits", "8")
    assert (codes["kind"], codes["dtype"], codes["n_bits"], codes["exact"]) == ("centroid", None, 8, False)
    assert codes["token_bytes"]["embeddings"] == pytest.approx(16 + 2 + 256 / facts["n_tokens"])
    assert 0.95 < codes["reconstruction"]["cosine"] <= 1.000001
    assert "2 bits" in printed(capsys, *arguments, str(tmp_path / "d"), "--kind", "centroid")


def test_a_flat_index_that_will_be_slow_is_advised_against_and_built(
    corpus_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xm.index.kernels.FLAT_LIMIT_TOKENS", 10)
    facts = json_of(capsys, "index", corpus_file, "--out", str(tmp_path / "a"))
    assert "--kind centroid" in facts["advice"]
    assert facts["kind"] == "flat"
    assert f"advice: {facts['advice']}\n" in printed(capsys, "index", corpus_file, "--out", str(tmp_path / "b"))
    assert json_of(capsys, "index", corpus_file, "--out", str(tmp_path / "c"), "--kind", "centroid")["advice"] is None


def test_a_centroid_index_is_searched_and_explained_as_approximate(
    centroid: str, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = json_of(capsys, "search", centroid, QUERY, "--k", "2")
    assert sorted(facts) == ["adapter", "hits", "query", "seconds"]
    assert [(hit["rank"], hit["exact"]) for hit in facts["hits"]] == [(1, False), (2, False)]
    assert facts["hits"][0]["passage_id"] == PLANTS
    assert "approximate scores" in printed(capsys, "search", centroid, QUERY)
    explained = json_of(capsys, "explain", centroid, QUERY, PLANTS)
    assert (explained["score"], explained["exact"]) == (facts["hits"][0]["score"], False)
    assert "the score (approximate)" in printed(capsys, "explain", centroid, QUERY, PLANTS)
    # One list of each query token, and one passage kept: what remains cannot be more than one.
    few = json_of(capsys, "search", centroid, QUERY, "--k", "1", "--n-probe", "1", "--n-candidates", "1")
    assert len(few["hits"]) == 1
    options = ("--k", "1", "--n-probe", "3", "--n-candidates", "2", "--n-exact", "1", "--centroid-threshold", "-1")
    traced = json_of(capsys, "trace", centroid, QUERY, *options)
    assert traced["options"] == {"n_probe": 3, "n_candidates": 2, "n_exact": 1, "centroid_threshold": -1.0}
    assert json_of(capsys, "search", centroid, QUERY, "--centroid-threshold", "1")["hits"] == []


def test_why_answers_for_every_passage(centroid: str, capsys: pytest.CaptureFixture[str]) -> None:
    ids = open_index(centroid).corpus.passage_ids
    found = {i: json_of(capsys, "why", centroid, QUERY, i, "--k", "2", "--n-candidates", "2") for i in ids}
    hits = json_of(capsys, "search", centroid, QUERY, "--k", "2", "--n-candidates", "2")["hits"]
    ranks = {passage_id: facts["rank"] for passage_id, facts in found.items() if facts["outcome"] == "hit"}
    assert ranks == {hit["passage_id"]: hit["rank"] for hit in hits}
    assert len({facts["outcome"] for facts in found.values()}) > 1
    for passage_id, facts in found.items():
        near, rows = facts["nearest"], json_of(capsys, "explain", centroid, QUERY, passage_id)["rows"]
        assert near["query_token"] == rows[near["query_index"]]["token"]
        tokens = open_index(centroid).reconstruct(passage_id).tokens
        assert near["passage_token"] == tokens[near["passage_index"]]
    first, second = printed(capsys, "why", centroid, QUERY, PLANTS, "--k", "2", "--n-candidates", "2").splitlines()
    assert first == found[PLANTS]["sentence"]
    assert second.startswith("Its nearest centroid, ")


def test_trace_tells_what_each_stage_saw(centroid: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (centroid, QUERY, "--k", "2", "--n-probe", "5")
    facts = json_of(capsys, "trace", *arguments)
    hits = json_of(capsys, "search", *arguments)["hits"]
    assert [(h["passage_id"], h["score"]) for h in facts["hits"]] == [(h["passage_id"], h["score"]) for h in hits]
    assert [row["token"] for row in facts["tokens"]][:3] == ["<s>", "[Q]", "▁energy"]
    assert all(len(row["centroids"]) == 5 for row in facts["tokens"])
    gained = sum(row["n_gained"] for row in facts["tokens"])
    assert {"candidates", gained} <= {facts["stages"][1]["name"], facts["stages"][1]["n_out"]}
    lines = printed(capsys, "trace", *arguments).splitlines()
    assert len(lines) == 2 + 12 + len(facts["stages"]) + 1 + 2
    assert "and 1 more" in lines[2]
    assert lines[-2].endswith(PLANTS)


def test_compare_puts_the_exact_score_beside_the_compressed_ones(
    corpus_file: str, flat: str, centroid: str, capsys: pytest.CaptureFixture[str]
) -> None:
    exact = json_of(capsys, "explain", flat, QUERY, PLANTS)["score"]
    at_four_bits = json_of(capsys, "explain", centroid, QUERY, PLANTS)["score"]
    for folder in (flat, centroid, corpus_file):
        facts = json_of(capsys, "compare", folder, QUERY, PLANTS)
        names = [row["name"] for row in facts["rows"]]
        assert names == ["exact", "centroids", "1 bit", "2 bits", "4 bits", "8 bits"]
        assert facts["rows"][0]["score"] == pytest.approx(exact, abs=1e-5)
        assert abs(facts["rows"][5]["score"] - exact) < 0.01
        assert (facts["n_passages"], len(facts["query_tokens"])) == (4, 12)
    rows = json_of(capsys, "compare", centroid, QUERY, PLANTS)["rows"]
    assert rows[4]["score"] == pytest.approx(at_four_bits, abs=1e-5)  # the index's own codec at its own bits
    assert abs(at_four_bits - exact) > 1e-3
    assert abs(rows[1]["score"] - exact) > 0.1
    lines = printed(capsys, "compare", centroid, QUERY, PLANTS, "--k", "1").splitlines()
    assert (len(lines), lines[0].split()[0]) == (1 + 12 + 3, "exact")
    assert lines[-2].split()[:4] == ["rank", "of", "1", "1"]


def test_centroid_shows_its_tokens_in_context(centroid: str, capsys: pytest.CaptureFixture[str]) -> None:
    index = open_index(centroid)
    row = index.table.pieces.index("▁starch")
    centroid_id = str(index.codes.centroid_ids[index.table.token_ids.tolist().index(row)])
    facts = json_of(capsys, "centroid", centroid, centroid_id)
    members = [member for group in facts["members"].values() for member in group]
    assert "starch" in [member["inside"] for member in members]
    assert list(facts["n_tokens"]) == ["en_XX"]
    assert "as [starch]." in printed(capsys, "centroid", centroid, centroid_id)


@pytest.mark.parametrize("kind", ["flat", "centroid"])
def test_passages_are_added_deleted_and_compacted(
    kind: str,
    tmp_path: Path,
    fake_encoder: fakes.FakeEncoder,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    folder, more = request.getfixturevalue(kind), tmp_path / "more.txt"
    more.write_text("Ships sail over the deep sea at night.", encoding="utf-8")
    n_encoded = fake_encoder.n_encoded
    assert "row-1" in error_of(capsys, "add", folder, str(more))
    assert "built with fake" in error_of(capsys, "add", folder, str(more), "--prefix", "x-", "--model", "other")
    assert fake_encoder.n_encoded == n_encoded  # both are known before anything is encoded
    facts = json_of(capsys, "add", folder, str(more), "--prefix", "more-")
    assert (facts["n_added"], facts["n_passages"]) == (1, 5)
    assert json_of(capsys, "search", folder, "ships on the deep sea")["hits"][0]["passage_id"] == "more-row-1"
    facts = json_of(capsys, "delete", folder, PLANTS, "row-1", PLANTS)
    assert (facts["n_deleted"], facts["n_passages"], facts["n_not_compacted"]) == (2, 3, 2)
    assert json_of(capsys, "info", folder)["index"]["n_deleted"] == 2
    assert PLANTS not in [hit["passage_id"] for hit in json_of(capsys, "search", folder, QUERY)["hits"]]
    before = json_of(capsys, "search", folder, "ships on the deep sea")["hits"]
    facts = json_of(capsys, "compact", folder)
    assert (facts["n_dropped"], facts["n_passages"]) == (2, 3)
    assert facts["bytes_after"] < facts["bytes_before"]
    after = json_of(capsys, "search", folder, "ships on the deep sea")["hits"]
    assert [hit["passage_id"] for hit in after] == [hit["passage_id"] for hit in before]
    assert [hit["score"] for hit in after] == pytest.approx([hit["score"] for hit in before], abs=1e-6)


def test_info_says_what_an_index_is_and_names_a_damaged_file(
    centroid: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xm.index.parts._SMALL_BYTES", 0)  # as in an index too large to be verified at every opening
    facts = json_of(capsys, "info", centroid)
    assert facts["libraries"]["numpy"]
    assert facts["model"] == "fake"
    index = facts["index"]
    assert (index["kind"], index["n_bits"], index["exact"], index["verified"]) == ("centroid", 4, False, True)
    assert (index["n_passages"], index["n_deleted"], index["dtype"]) == (4, 0, None)
    assert "approximate" in printed(capsys, "info", centroid)
    residuals = next(Path(centroid).rglob("residuals.npy"))
    data = bytearray(residuals.read_bytes())
    data[-1] ^= 1
    residuals.write_bytes(data)
    assert "residuals.npy" in error_of(capsys, "info", centroid)


def test_an_index_goes_to_colberts_layout_and_back(
    centroid: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, hits = str(tmp_path / "colbert"), json_of(capsys, "search", centroid, QUERY)["hits"]
    assert json_of(capsys, "export-colbert", centroid, out)["checkpoint"] == "fake"
    facts = json_of(capsys, "import-colbert", out, "--out", str(tmp_path / "back"))
    assert (facts["kind"], facts["n_bits"], facts["model"]) == ("centroid", 4, "fake")
    assert json_of(capsys, "search", facts["index"], QUERY)["hits"] == hits
    # As colbert-ai knows it: without ids, and with the texts in a file of numbers and texts.
    (tmp_path / "colbert" / "xm.json").unlink()
    assert "give the corpus" in error_of(capsys, "import-colbert", out, "--out", str(tmp_path / "again"))
    texts = ["--texts", str(tmp_path / "colbert" / "collection.tsv"), "--language", "en"]
    facts = json_of(capsys, "import-colbert", out, *texts, "--out", str(tmp_path / "again"))
    found = json_of(capsys, "search", facts["index"], QUERY)["hits"]
    assert [(hit["text"], hit["score"]) for hit in found] == [(hit["text"], hit["score"]) for hit in hits]
    assert found[0]["passage_id"] == "2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["index", "{corpus}", "--out", "{flat}-2", "--bits", "2"], "flat index is not compressed"),
        (["index", "{corpus}", "--out", "{flat}-2", "--bits", "3"], "invalid choice"),
        (["index", "{corpus}", "--out", "{flat}-2", "--kind", "centroid", "--dtype", "float16"], "dtype float16"),
        (["search", "{flat}", "x", "--n-probe", "4"], "always scores every passage"),
        (["search", "{centroid}", "x", "--n-probe", "0"], "n_probe is 0"),
        (["why", "{flat}", "x", PLANTS], "this index is flat"),
        (["why", "{centroid}", "x", "no-such-id"], "no-such-id"),
        (["trace", "{flat}", "x"], "this index is flat"),
        (["trace", "{centroid}", ""], "empty"),
        (["compare", "{flat}", "x", "no-such-id"], "no-such-id"),
        (["centroid", "{flat}", "0"], "this index is flat"),
        (["centroid", "{centroid}", "100000"], "100000"),
        (["centroid", "{corpus}", "0"], "no index at"),
        (["add", "{corpus}", "{corpus}"], "manifest.json"),
        (["delete", "{flat}", "no-such-id"], "no-such-id"),
        (["compact", "{corpus}"], "manifest.json"),
        (["import-colbert", "{flat}", "--out", "{flat}-2"], "metadata.json"),
        (["export-colbert", "{flat}", "{flat}-2"], "this index is flat"),
        (["export-colbert", "{centroid}", "{flat}"], "not empty"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, corpus_file: str, flat: str, centroid: str, capsys: pytest.CaptureFixture[str]
) -> None:
    named = {"corpus": corpus_file, "flat": flat, "centroid": centroid}
    assert message in error_of(capsys, *(part.format(**named) for part in arguments))


def test_a_query_goes_by_its_own_language(
    centroid: str, fake_encoder: fakes.FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert json_of(capsys, "trace", centroid, QUERY, "--language", "de")["adapter"] == "de_DE"
    query = fake_encoder.encode_query(QUERY, LanguageGuess("de_DE", 1.0, "given"))
    score = open_index(centroid).search(query.vectors, k=1)[0].score
    assert json_of(capsys, "why", centroid, QUERY, PLANTS, "--language", "de")["score"] == pytest.approx(score)
