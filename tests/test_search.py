"""Building, searching and explaining end to end, with an encoder of hashes."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

import xm
from tests import fakes
from xm.errors import CheckpointError, CorpusError, IndexFolderError, LanguageError, TextError, XmError
from xm.index.codec import decode, encode
from xm.index.flat import FlatIndex
from xm.index.store import open_index, save_index
from xm.maxsim import align
from xm.options import CodecOptions, SearchOptions
from xm.search import BuildProgress, Cancelled, Searcher, align_texts, build_index, open_searcher
from xm.types import Corpus, LanguageGuess, TokenEmbeddings

TEXTS = (
    "The bank lends money at interest to people who buy a house.",
    "The river left its bank and the water stood in the fields.",
    "Plants keep the energy of the sun as sugar and as starch.",
    "A telescope gathers the light of distant stars in a mirror.",
)
GERMAN = "Die Bank verleiht Geld gegen Zinsen an Leute, die ein Haus kaufen."


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def corpus() -> Corpus:
    english = [fakes.passage(f"en{number}", text) for number, text in enumerate(TEXTS)]
    return Corpus("toy", (*english, fakes.passage("de0", GERMAN, "de_DE")))


@pytest.fixture
def searcher(corpus: Corpus) -> Searcher:
    encoder = fakes.FakeEncoder()
    return Searcher(encoder, build_index(corpus, encoder))


@pytest.fixture
def compressed(corpus: Corpus) -> Searcher:
    encoder, codec = fakes.FakeEncoder(), CodecOptions(n_bits=2, n_centroids=12)
    return Searcher(encoder, build_index(corpus, encoder, kind="centroid", codec=codec))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n\n".join(TEXTS), encoding="utf-8")
    return path


def test_the_passage_that_shares_words_is_found_first(searcher: Searcher) -> None:
    result = searcher.search("distant stars in a telescope", k=2)
    assert [hit.rank for hit in result.hits] == [1, 2]
    assert result.hits[0].passage_id == "en3"
    assert sorted(result.seconds) == ["detect", "encode", "score"]
    assert all(seconds >= 0 for seconds in result.seconds.values())


def test_an_explanation_adds_up_to_the_hits_score(searcher: Searcher) -> None:
    result = searcher.search("the bank that lends money", k=5)
    assert len(result.hits) == 5
    for hit in result.hits:
        alignment = searcher.explain(result.query, hit)
        assert alignment.score == hit.score
        assert sum(row["similarity"] for row in alignment.to_dict()["rows"]) == pytest.approx(hit.score, abs=1e-5)
        assert (alignment.passage_id, alignment.model, alignment.exact) == (hit.passage_id, "fake", True)


def test_an_approximate_hits_explanation_adds_up_too_and_says_what_it_is(
    compressed: Searcher, searcher: Searcher
) -> None:
    everything = SearchOptions(n_probe=12, n_candidates=100)
    result = compressed.search("the bank that lends money", k=5, options=everything)
    assert len(result.hits) == 5
    decoded = decode(compressed.index.codec, compressed.index.codes)
    # With every list read it is exact search over decoded embeddings.
    on_decoded = FlatIndex(compressed.index.table, decoded).search(result.query.vectors, k=5)
    assert [hit.passage_id for hit in result.hits] == [hit.passage_id for hit in on_decoded]
    for hit in result.hits:
        alignment = compressed.explain(result.query, hit)
        assert (alignment.score, alignment.exact, hit.exact) == (hit.score, False, False)
        assert alignment.score != searcher.explain(result.query, hit).score


def test_a_centroid_index_can_be_asked_by_text_or_embeddings(compressed: Searcher) -> None:
    query = compressed.encode_query("the bank that lends money")
    for asked in ("the bank that lends money", query):
        assert compressed.trace(asked, k=2).hits[0].passage_id == "en0"
        assert compressed.why(asked, compressed.search("the bank that lends money").hits[0]).outcome == "hit"
        assert compressed.compare_bits(asked, "en0").rows[0].rank == 1
    few = SearchOptions(n_probe=1, n_candidates=1)
    assert compressed.trace(query, k=1, options=few).options == few
    assert {compressed.why(query, f"en{i}", k=1, options=few).n_kept for i in range(4)} == {1}
    token_id = int(compressed.index.codes.centroid_ids[0])
    assert compressed.centroid_tokens(token_id, n=1).n_tokens["en_XX"] >= 1


def test_compression_is_measured_on_the_embeddings_themselves(compressed: Searcher, searcher: Searcher) -> None:
    exact, codec = searcher.index.vectors, compressed.index.codec
    decoded = decode(codec, encode(codec, exact))
    cosine = float((decoded * exact).sum(axis=1).mean())
    found = compressed.reconstruction_error()
    assert found["cosine"] == pytest.approx(cosine, abs=1e-6)
    assert found["residual"] == pytest.approx(float(np.abs(exact - decoded).mean()), abs=1e-6)
    # One passage drawn: another number, the same for the same seed.
    few = [compressed.reconstruction_error(n_passages=1, seed=seed)["cosine"] for seed in (1, 1, 2, 3)]
    assert few[0] == few[1]
    assert len({cosine, *few}) > 2
    with pytest.raises(XmError, match="at least 1"):
        compressed.reconstruction_error(n_passages=0)


def test_a_passage_outside_the_hits_is_compared_with_them(compressed: Searcher, searcher: Searcher) -> None:
    query = searcher.encode_query("the bank that lends money")
    last = searcher.search("the bank that lends money", k=5).hits[-1].passage_id
    for found in (compressed, searcher):
        compared = found.compare_bits(query, last, k=2)
        assert (compared.n_passages, compared.rows[0].rank) == (3, 3)
        assert compared.rows[0].score == pytest.approx(searcher.explain(query, last).score, abs=1e-5)


def test_what_a_flat_index_has_not_cannot_be_asked(searcher: Searcher) -> None:
    asked = (
        lambda: searcher.why("bank", "en0"),
        lambda: searcher.trace("bank"),
        lambda: searcher.centroid_tokens(0),
        searcher.reconstruction_error,
    )
    for ask in asked:
        with pytest.raises(XmError, match="this index is flat"):
            ask()
    with pytest.raises(XmError, match="always scores every passage"):
        searcher.search("bank", options=SearchOptions())


def test_options_of_another_kind_are_an_error_before_anything_is_encoded(corpus: Corpus) -> None:
    encoder = fakes.FakeEncoder()
    wrong = [
        ({"kind": "magic"}, "'magic'"),
        ({"dtype": "float8"}, "'float8'"),
        ({"codec": CodecOptions()}, "flat index is not compressed"),
        ({"kind": "centroid", "dtype": "float16"}, "dtype float16"),
        ({"kind": "centroid", "codec": CodecOptions(n_bits=3)}, "n_bits is 3"),
    ]
    for options, message in wrong:
        with pytest.raises(XmError, match=message):
            build_index(corpus, encoder, **options)
    assert encoder.n_encoded == 0
    halves = build_index(corpus, encoder, dtype="float16")
    assert (
        halves.vectors.dtype,
        halves.search(encoder.encode_query("x", corpus.passages[0].language).vectors, k=1)[0].exact,
    ) == (np.float16, True)


def test_text_or_embeddings_and_hit_or_id_explain_the_same(searcher: Searcher) -> None:
    result = searcher.search("water of the river", k=1)
    first = searcher.explain(result.query, result.hits[0])
    second = searcher.explain("water of the river", result.hits[0].passage_id)
    np.testing.assert_array_equal(first.similarity, second.similarity)


def test_the_index_equals_encoding_each_passage_alone(searcher: Searcher, corpus: Corpus) -> None:
    for passage in corpus.passages:
        alone = searcher.encoder.encode_passages([passage.text], [passage.language])[0]
        query = searcher.encoder.encode_query("bank", passage.language)
        indexed = searcher.explain(query, passage.passage_id)
        assert indexed.score == align(query, alone).score
        assert indexed.passage.language == passage.language


def test_every_passage_goes_through_its_own_adapter(searcher: Searcher) -> None:
    assert searcher.explain("bank", "de0").passage.language.code == "de_DE"
    given = searcher.search("Bank", language="de").query.language
    assert (given.code, given.source) == ("de_DE", "given")


def test_the_indexs_languages_are_the_prior_of_a_query(searcher: Searcher) -> None:
    assert searcher.search("Geld gegen Zinsen").query.language.code == "de_DE"
    assert searcher.search("12345").query.language.source == "inherited"


@pytest.mark.parametrize("query", ["", "  \n", "half a \ud83d pair"])
def test_a_query_that_cannot_be_read_is_an_error(query: str, searcher: Searcher) -> None:
    for call in (searcher.search, lambda text: searcher.explain(text, "en0")):
        with pytest.raises(TextError, match="the query is"):
            call(query)


def test_an_unknown_language_is_an_error_and_not_a_guess(searcher: Searcher) -> None:
    with pytest.raises(LanguageError, match="klingon"):
        searcher.search("bank", language="klingon")
    with pytest.raises(LanguageError, match="ko_KR"):
        searcher.search("bank", language="ko")


def test_an_unknown_passage_is_an_error_with_near_matches(searcher: Searcher) -> None:
    with pytest.raises(XmError, match="'en9'.*'en"):
        searcher.explain("bank", "en9")


def test_embeddings_of_another_model_are_an_error(searcher: Searcher) -> None:
    query = searcher.encoder.encode_query("bank", LanguageGuess("en_XX", 1.0, "given"))
    narrow = TokenEmbeddings(query.text, query.vectors[:, :4], query.tokens, query.offsets, query.kinds, query.language)
    with pytest.raises(XmError, match="dim 4, the index's 16"):
        searcher.explain(narrow, "en0")


def test_another_model_than_the_indexs_is_an_error_that_names_both(searcher: Searcher) -> None:
    other = fakes.FakeEncoder(model="other", revision="1" * 16)
    with pytest.raises(IndexFolderError, match=r"built with fake \(revision 000000000000.*with other \(revision 1111"):
        Searcher(other, searcher.index)
    renamed = fakes.FakeEncoder(model="another name of the same files")
    assert Searcher(renamed, searcher.index).search("bank").hits


def test_an_empty_corpus_cannot_be_built() -> None:
    with pytest.raises(CorpusError, match="'nothing' has no passages"):
        build_index(Corpus("nothing", ()), fakes.FakeEncoder())


def test_progress_counts_every_passage_by_language(corpus: Corpus) -> None:
    seen: list[BuildProgress] = []
    build_index(corpus, fakes.FakeEncoder(), on_progress=seen.append)
    encoded = [progress for progress in seen if progress.stage == "encode"]
    assert [progress.done for progress in encoded] == [0, 1, 2, 3, 4, 5]
    assert all(sum(progress.languages.values()) == progress.done for progress in encoded)
    assert seen[-1] == BuildProgress("write", 5, 5, {"en_XX": 4, "de_DE": 1})
    assert [progress.stage for progress in seen[6:]] == ["write", "write"]


@pytest.mark.parametrize("step", range(8))
def test_cancelling_at_any_step_leaves_the_former_index(step: int, corpus: Corpus, tmp_path: Path) -> None:
    encoder = fakes.FakeEncoder()
    build_index(fakes.corpus("the former one"), encoder, folder=tmp_path / "index")
    n_former = encoder.n_encoded
    with pytest.raises(Cancelled):
        build_index(corpus, encoder, folder=tmp_path / "index", on_progress=_cancelling_at(step))
    assert [passage.text for passage in open_index(tmp_path / "index").corpus.passages] == ["the former one"]
    assert encoder.n_encoded - n_former == min(step, 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index"]


def _cancelling_at(step: int) -> Callable[[BuildProgress], None]:
    steps: Iterator[int] = iter(range(100))

    def on_progress(progress: BuildProgress) -> None:
        if next(steps) == step:
            raise Cancelled("the visitor pressed Cancel")

    return on_progress


def test_cancelling_closes_the_encoders_stream(corpus: Corpus) -> None:
    closed = []

    class Watched(fakes.FakeEncoder):
        def _stream(
            self, texts: Sequence[str], languages: Sequence[LanguageGuess]
        ) -> Iterator[tuple[int, TokenEmbeddings]]:
            try:
                yield from super()._stream(texts, languages)
            finally:
                closed.append(True)

    with pytest.raises(Cancelled):
        build_index(corpus, Watched(), on_progress=_cancelling_at(2))
    assert closed == [True]


def test_a_language_without_an_adapter_is_an_error_before_anything_is_encoded(corpus: Corpus) -> None:
    encoder = fakes.FakeEncoder(languages=("en_XX",))
    with pytest.raises(LanguageError, match="de_DE"):
        build_index(corpus, encoder)
    assert encoder.n_encoded == 0


def test_a_file_is_read_indexed_and_quick_the_second_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = fakes.FakeEncoder()
    fakes.put_in_place(monkeypatch, encoder)
    first = open_searcher(file, model="fake")
    second = open_searcher(file, model="fake")
    assert encoder.n_encoded == 4
    assert first.search("telescope").hits == second.search("telescope").hits
    assert second.index.corpus == first.index.corpus
    file.write_text("Only this is left of it now.", encoding="utf-8")
    assert len(open_searcher(file, model="fake").index.corpus.passages) == 1
    open_searcher(file, model="fake", language="de")
    assert encoder.n_encoded == 6


def test_a_damaged_cache_entry_is_built_again(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = fakes.FakeEncoder()
    fakes.put_in_place(monkeypatch, encoder)
    open_searcher(file, model="fake")
    for path in (tmp_path / "cache").rglob("vectors.npy"):
        path.write_bytes(b"nonsense")
    assert open_searcher(file, model="fake").search("telescope").hits
    assert encoder.n_encoded == 8


def test_without_a_cache_everything_works_too(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.put_in_place(monkeypatch, fakes.FakeEncoder())
    for value in ("off", str(file / "no" / "folder")):
        monkeypatch.setenv("XM_CACHE", value)
        assert open_searcher(file, model="fake").search("telescope").hits


def test_a_corpus_is_added_to_an_index_of_either_kind(
    corpus: Corpus, compressed: Searcher, searcher: Searcher, tmp_path: Path
) -> None:
    more = Corpus("more", (fakes.passage("new", "Ships sail over the deep sea at night."),))
    other = fakes.FakeEncoder(model="other", revision="1" * 16)
    for number, found in enumerate((compressed, searcher)):
        folder = tmp_path / str(number)
        save_index(found.index, folder)
        n_encoded, steps = found.encoder.n_encoded, []
        with pytest.raises(XmError, match="ids that the index has already, like 'en0'"):
            xm.add_corpus(folder, corpus, found.encoder)
        with pytest.raises(IndexFolderError, match="built with fake.*with other"):
            xm.add_corpus(folder, more, other)
        assert (found.encoder.n_encoded, other.n_encoded) == (n_encoded, 0)  # nothing is encoded in vain
        index = xm.add_corpus(folder, more, found.encoder, on_progress=steps.append)
        assert steps[-1] == BuildProgress("write", 1, 1, {"en_XX": 1})
        assert index.corpus.passage_ids == (*found.index.corpus.passage_ids, "new")
        assert Searcher(found.encoder, index).search("ships on the deep sea", k=1).hits[0].passage_id == "new"


def test_an_index_folder_is_opened_with_the_model_it_was_built_with(
    searcher: Searcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = fakes.FakeEncoder(model="other", revision="1" * 16)
    fakes.put_in_place(monkeypatch, searcher.encoder, other)
    save_index(searcher.index, tmp_path / "index")
    assert open_searcher(tmp_path / "index").encoder.model == "fake"
    with pytest.raises(IndexFolderError, match="built with fake.*with other"):
        open_searcher(tmp_path / "index", model="other")
    with pytest.raises(XmError, match="is an index.*'auto'"):
        open_searcher(tmp_path / "index", language="de")
    with pytest.raises(CheckpointError, match="missing"):
        open_searcher(tmp_path / "index", model="missing")


def test_a_corpus_folder_is_read_through_its_passages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.put_in_place(monkeypatch, fakes.FakeEncoder())
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "passages.jsonl").write_text('{"id": "a", "text": "the light of stars"}\n', encoding="utf-8")
    (folder / "queries.jsonl").write_text('{"id": "q", "text": "not a passage"}\n', encoding="utf-8")
    assert [hit.passage_id for hit in open_searcher(folder, model="fake").search("stars").hits] == ["a"]


def test_an_indexs_own_passages_can_be_read_as_a_corpus(
    searcher: Searcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_index(searcher.index, tmp_path / "index")
    corpus = xm.read_corpus(tmp_path / "index" / "generation-000001" / "passages.jsonl")
    assert [(p.passage_id, p.text, p.language.code) for p in corpus.passages] == [
        (p.passage_id, p.text, p.language.code) for p in searcher.index.corpus.passages
    ]


def test_any_two_texts_can_be_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.put_in_place(monkeypatch, fakes.FakeEncoder())
    alignment = align_texts("Who lends money to people?", GERMAN, model="fake")
    assert (alignment.query.language.code, alignment.passage.language.code) == ("en_XX", "de_DE")
    inherited = align_texts("1984", GERMAN, model="fake").query.language
    assert (inherited.code, inherited.source) == ("de_DE", "inherited")
    given = align_texts("1984", GERMAN, query_language="fr", passage_language="en", model="fake")
    assert (given.query.language.code, given.passage.language.source) == ("fr_XX", "given")
    with pytest.raises(TextError, match="the passage is empty"):
        align_texts("who?", " ", model="fake")
    with pytest.raises(LanguageError):
        align_texts("who?", GERMAN, query_language="xx", model="fake")


def test_the_verbs_of_the_package_are_these(monkeypatch: pytest.MonkeyPatch) -> None:
    assert xm.open is open_searcher
    assert xm.align_texts is align_texts
    assert xm.detect("Die Bank verleiht Geld an Leute").code == "de_DE"
    assert set(xm.__all__) <= set(dir(xm))
    with pytest.raises(AttributeError, match="'serch'; its verbs are open"):
        _ = xm.serch
