"""An index that colbert-ai wrote, read by xm: decoded vectors and scores are colbert-ai's own; and the way back."""

import base64
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.parity.pinned import build
from tests.index.made import clustered, index_of, query_like
from xm.encoder import load_encoder
from xm.errors import IndexFolderError, XmError
from xm.index.centroid import CentroidIndex
from xm.index.codec import decode, encode
from xm.index.colbert_format import COLLECTION, SIDECAR, export_colbert, import_colbert, read_colbert
from xm.index.torch_files import read_tensors, write_tensors
from xm.options import EncodeOptions, SearchOptions
from xm.types import Corpus, LanguageGuess, Passage, TokenEmbeddings

ROOT = Path(__file__).resolve().parents[2]
INDEX = ROOT / "tests" / "golden" / "colbert_index"
GOLDEN = json.loads(INDEX.with_suffix(".json").read_text(encoding="utf-8"))
ENGLISH = LanguageGuess("en_XX", 1.0, "given")
EVERYTHING = SearchOptions(n_probe=512, n_candidates=1000)


def numbers(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, 16)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    path = ROOT / "sample_corpora" / "parallel" / "passages.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    english = (row for row in rows if row["language"] == "en_XX")
    return Corpus("parallel", tuple(Passage(row["id"], row["text"], ENGLISH) for row in english))


@pytest.fixture(scope="module")
def imported(corpus: Corpus) -> CentroidIndex:
    return import_colbert(INDEX, corpus)


def embeddings_of(index: CentroidIndex, *, noise: float) -> list[TokenEmbeddings]:
    """What the right checkpoint (little noise) or another (much) would give for an index's passages."""
    passages = [index.reconstruct(passage.passage_id) for passage in index.corpus.passages]
    return [replace(item, vectors=query_like(item.vectors, noise=noise)) for item in passages]


def test_decoded_vectors_are_colberts_own(imported: CentroidIndex) -> None:
    decoded = decode(imported.codec, imported.codes)
    assert np.diff(imported.table.starts).tolist() == GOLDEN["lengths"]
    np.testing.assert_allclose(decoded[:100], numbers(GOLDEN["decoded_rows"]), atol=2e-7)
    np.testing.assert_allclose(decoded.sum(axis=0, dtype=np.float64), GOLDEN["decoded_sum"], atol=1e-4)


@pytest.mark.parametrize("query", GOLDEN["queries"], ids=lambda query: query["text"][:20])
def test_scores_and_ranking_are_colberts_own(imported: CentroidIndex, query: dict) -> None:
    vectors = numbers(query["vectors"])
    np.testing.assert_allclose(imported.score_all(vectors), query["scores"], atol=1e-5)
    best = np.argsort(-np.array(query["scores"]), kind="stable")[:5].tolist()
    hits = imported.search(vectors, k=5, options=EVERYTHING)
    assert [imported.place_of(hit.passage_id) for hit in hits] == best
    # What colbert-ai's own search finds, it scores so too, but for its clamp at zero: these scores have no negative.
    for place, score in query["hits"]:
        assert query["scores"][place] == pytest.approx(score, abs=1e-5)


def test_inverted_lists_are_colberts_own(imported: CentroidIndex) -> None:
    passages, lengths = read_tensors(INDEX / "ivf.pid.pt")
    (lists,) = imported.lists
    assert lists.lengths().tolist() == lengths.tolist()
    ours = np.concatenate([lists.passages_of(centroid_id) for centroid_id in range(imported.codec.n_centroids)])
    assert ours.tolist() == passages[: lengths.sum()].tolist()  # the rest is padding


def test_xm_encodes_and_compresses_the_same_texts_to_the_same_bytes(corpus: Corpus, tmp_path: Path) -> None:
    checkpoint = build(GOLDEN["checkpoint"], tmp_path / "checkpoint")
    encoder = load_encoder(str(checkpoint), options=EncodeOptions(exact=True))
    embeddings = encoder.encode_passages(
        [passage.text for passage in corpus.passages], [ENGLISH] * len(corpus.passages)
    )
    files = read_colbert(INDEX)
    vectors = np.concatenate([item.vectors for item in embeddings])
    ours = encode(files.codec, vectors.astype(np.float16))  # colbert-ai rounds them before it compresses them
    np.testing.assert_array_equal(ours.centroid_ids, files.codes.centroid_ids)
    # A number that lies on a cutoff may fall to either side, as the last bits of the embeddings differ by machine.
    assert (ours.residuals != files.codes.residuals).mean() < 1e-3
    index = import_colbert(INDEX, corpus, embeddings)
    assert index.reconstruct("tides.en").tokens == embeddings[index.place_of("tides.en")].tokens


def test_tokens_come_from_the_checkpoints_own_reading_of_the_texts(tmp_path: Path) -> None:
    index = index_of(clustered(n_passages=30))
    export_colbert(index, tmp_path / "out", checkpoint="x")
    items = embeddings_of(index, noise=0.1)
    again = import_colbert(tmp_path / "out", index.corpus, items, model="m")
    assert again.model == "m"
    assert again.reconstruct("p3").tokens == index.reconstruct("p3").tokens
    with pytest.raises(XmError, match="mean cosine"):
        import_colbert(tmp_path / "out", index.corpus, embeddings_of(index, noise=30.0))
    longer = replace(
        items[3],
        vectors=np.repeat(items[3].vectors, 2, axis=0),
        tokens=items[3].tokens * 2,
        kinds=items[3].kinds * 2,
        offsets=np.repeat(items[3].offsets, 2, axis=0),
    )
    with pytest.raises(XmError, match="'p3' has"):
        import_colbert(tmp_path / "out", index.corpus, [*items[:3], longer, *items[4:]])


@pytest.mark.parametrize("n_bits", [1, 2, 4, 8])
def test_what_is_exported_comes_back(tmp_path: Path, n_bits: int) -> None:
    index = index_of(clustered(n_passages=50), n_bits=n_bits)
    export_colbert(index, tmp_path / "out", checkpoint="/models/colbert")
    again = import_colbert(tmp_path / "out")
    query = query_like(index.reconstruct("p7").vectors)
    assert again.search(query, k=9) == index.search(query, k=9)
    assert again.reconstruct("p7").tokens == index.reconstruct("p7").tokens
    assert (again.model, again.corpus) == (index.model, index.corpus)
    assert read_colbert(tmp_path / "out").config["checkpoint"] == "/models/colbert"
    lines = (tmp_path / "out" / COLLECTION).read_text(encoding="utf-8").splitlines()
    assert lines[7] == f"7\t{index.corpus.passages[7].text}"


def test_deleted_passages_are_left_out_and_a_text_stays_one_line(tmp_path: Path) -> None:
    whole = index_of(clustered(n_passages=5))
    passages = tuple(replace(passage, text="a\tb\nc") for passage in whole.corpus.passages[1:])
    table = replace(whole.table, corpus=Corpus("made", passages), live=np.arange(1, 5))
    export_colbert(replace(whole, table=table), tmp_path / "out", checkpoint="x")
    again = import_colbert(tmp_path / "out")
    assert again.corpus.passage_ids == ("p1", "p2", "p3", "p4")
    assert again.corpus.passages[0].text == "a\tb\nc"
    np.testing.assert_array_equal(again.reconstruct("p1").vectors, whole.reconstruct("p1").vectors)
    assert (tmp_path / "out" / COLLECTION).read_text().splitlines() == [f"{place}\ta b c" for place in range(4)]


def test_torch_itself_reads_what_is_exported(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    index = index_of(clustered(n_passages=20))
    export_colbert(index, tmp_path / "out", checkpoint="x")
    load = {name: torch.load(tmp_path / "out" / f"{name}.pt", weights_only=True) for name in ("0.codes", "buckets")}
    assert load["0.codes"].dtype == torch.int32
    assert load["0.codes"].tolist() == index.codes.centroid_ids.tolist()
    assert [part.tolist() for part in load["buckets"]] == [index.codec.cutoffs.tolist(), index.codec.weights.tolist()]
    for saved in (torch.arange(6).reshape(2, 3), torch.rand(3).half(), torch.tensor(0.5), torch.rand(9)[2:5]):
        torch.save(saved, tmp_path / "one.pt")
        (read,) = read_tensors(tmp_path / "one.pt")
        np.testing.assert_array_equal(read, saved.numpy(), strict=True)


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "was here",))

    for bad in (Evil(), [torch.ones(2), Evil()], {"a": torch.ones(2)}, torch.rand(3, 4).T, torch.ones(2).bfloat16()):
        torch.save(bad, tmp_path / "bad.pt")
        with pytest.raises(IndexFolderError, match="bad.pt"):
            read_tensors(tmp_path / "bad.pt")
    assert not (tmp_path / "was here").exists()


def test_each_damaged_file_is_named(tmp_path: Path) -> None:
    names = ["metadata.json", "centroids.pt", "buckets.pt", "0.codes.pt", "0.residuals.pt", "doclens.0.json"]
    for name in names:
        folder = tmp_path / name
        shutil.copytree(INDEX, folder)
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(IndexFolderError, match=name):
            read_colbert(folder)
        (folder / name).unlink()
        with pytest.raises(IndexFolderError, match=name):
            read_colbert(folder)


def test_files_that_contradict_each_other_are_refused(tmp_path: Path, corpus: Corpus) -> None:
    (ids,) = read_tensors(INDEX / "0.codes.pt")
    (residuals,) = read_tensors(INDEX / "0.residuals.pt")
    changes = {
        "0.codes.pt": [ids[:-1], ids + 512, ids.astype(np.float32)],
        "0.residuals.pt": [residuals[:, :2], residuals.astype(np.int32)],
        "buckets.pt": [np.zeros(3, np.float32)],
    }
    for name, arrays in changes.items():
        for number, array in enumerate(arrays):
            folder = tmp_path / f"{name}.{number}"
            shutil.copytree(INDEX, folder)
            write_tensors(folder / name, np.ascontiguousarray(array))
            with pytest.raises(IndexFolderError, match=str(folder)):
                read_colbert(folder)
    with pytest.raises(IndexFolderError, match="give the corpus"):
        import_colbert(INDEX)
    with pytest.raises(XmError, match="31 passages, the index 32"):
        import_colbert(INDEX, Corpus("short", corpus.passages[:-1]))


def test_a_damaged_sidecar_and_a_full_folder_are_refused(tmp_path: Path) -> None:
    index = index_of(clustered(n_passages=9))
    export_colbert(index, tmp_path / "out", checkpoint="x")
    with pytest.raises(IndexFolderError, match="not empty"):
        export_colbert(index, tmp_path / "out", checkpoint="x")
    for name in SIDECAR:
        folder = tmp_path / name
        shutil.copytree(tmp_path / "out", folder)
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(IndexFolderError):
            import_colbert(folder)
