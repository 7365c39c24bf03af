"""The page's handlers without a browser: what they return, and that bad input becomes a clear message."""

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from tests.fakes import FakeEncoder
from tests.ui.pages import HOSTILE, WaitingEncoder, examples, quick_umap, small_sample, write_hostile_corpus
from xm.encoder.hub import MINI_FOLDER, revision_of
from xm.errors import CheckpointError, LanguageError, XmError
from xm.options import CorpusLimits
from xm.search import Cancelled
from xm.types import LanguageGuess
from xm.ui import joins, models, verbs, words
from xm.ui.api import explain_json, search_json
from xm.ui.build import address, build, launch_options
from xm.ui.first_screen import PATH, read_examples
from xm.ui.guard import guarded, notice
from xm.ui.parts import adapter_choices
from xm.ui.progress import watch
from xm.ui.session import SessionStore
from xm.ui.shared import SAMPLES, SampleShelf, Shared
from xm.ui.tabs import explain, search
from xm.ui.tabs import map as token_map
from xm.ui.warmup import warm_up

LIMITS = CorpusLimits(max_bytes=200_000, max_passages=30)


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("xm.token_map._fit_umap", quick_umap)


@pytest.fixture
def encoder() -> WaitingEncoder:
    return WaitingEncoder(model="xm-mini")


@pytest.fixture
def shared(encoder: WaitingEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shared:
    monkeypatch.setitem(SAMPLES, "parallel", small_sample(tmp_path / "parallel"))
    monkeypatch.setitem(SAMPLES, "lecture", small_sample(tmp_path / "lecture", n_topics=1))
    sessions = SessionStore(model="xm-mini")
    return Shared(lambda model: encoder, "xm-mini", LIMITS, sessions, SampleShelf())


def last(steps: Iterator[Any]) -> Any:
    """Run a generator handler to its end and return what it showed last."""
    return list(steps)[-1]


def upload(shared: Shared, path: Path, *, visitor: str = "v", language: str = "auto") -> dict[str, Any]:
    """Index a file as a visitor does and return the last notice, an error's included."""
    shared.sessions.of(visitor).cancel.clear()
    return last(guarded(search.use_corpus, shared, n_outputs=1)(visitor, "upload", str(path), language))


def find(shared: Shared, query: str, *, visitor: str = "v") -> dict[str, Any]:
    """Search as a visitor does and return the results the page shows."""
    return last(search.search(shared, visitor, query, "auto"))[2]


# Explain


def test_explaining_two_texts_gives_the_figure_a_payload_whose_parts_sum_to_its_score(shared: Shared) -> None:
    steps = explain.explain(shared, "v", "where do plants keep sugar", "auto", "Pflanzen speichern Zucker.", "de")
    *before, (status, payload) = steps
    assert [each[0]["kind"] for each in before] == ["busy", "busy"]
    assert status["kind"] == "idle"
    assert payload["passage"]["adapter"]["code"] == "de_DE"
    assert payload["passage"]["adapter"]["source"] == "given"
    assert payload["query"]["adapter"]["source"] == "detected"
    assert sum(payload["contribution"]) == pytest.approx(payload["score"], abs=1e-5)


def test_an_adapter_that_does_not_fit_its_text_is_pointed_out(shared: Shared) -> None:
    french = "Les plantes gardent le sucre dans leurs racines pendant tout l'hiver."
    status, payload = last(explain.explain(shared, "v", "where is the sugar kept", "en", french, "pt_XX"))
    assert "reads like French" in status["text"]
    assert "Portuguese" in status["text"]
    assert payload is not None


@pytest.mark.parametrize(
    ("query", "passage", "message"),
    [
        ("", "a passage", "The query is empty"),
        ("   \n", "a passage", "The query is empty"),
        ("a query of words", "", "The passage is empty"),
        ("x" * 2_001, "a passage", "2,001 characters"),
        ("a query of words", "y " * 40_000, "characters; at most 60,000"),
        ("half \ud83d of a smile", "a passage", "U\\+D83D"),
        ("12345", "a passage about plants and sugar", "language"),
    ],
)
def test_texts_that_cannot_be_explained_say_why(shared: Shared, query: str, passage: str, message: str) -> None:
    with pytest.raises(XmError, match=message):
        list(explain.explain(shared, "v", query, "auto", passage, "auto"))


def test_an_unknown_language_lists_near_ones(shared: Shared) -> None:
    with pytest.raises(LanguageError, match="pt_XX"):
        list(explain.explain(shared, "v", "some words here", "portugese", "some other words", "auto"))


def test_an_example_fills_every_part_of_the_tab_and_leaves_detected_adapters_on_detect(
    encoder: WaitingEncoder,
) -> None:
    first, second = examples(encoder)
    status, payload, query, query_code, passage, passage_code = explain.show_example(second)
    assert status["kind"] == "idle"
    assert payload == second.payload
    assert (query, passage) == ("how do vaccines work?", second.payload["passage"]["text"])
    assert (query_code, passage_code) == ("auto", "auto")


def test_the_page_opens_with_examples_of_the_model_that_ships() -> None:
    shown = read_examples()
    assert len(shown) >= 6
    assert {"ar_AR", "ja_XX"} <= {example.payload["passage"]["adapter"]["code"] for example in shown}
    for example in shown:
        payload = example.payload
        assert payload["query"]["adapter"]["code"] != payload["passage"]["adapter"]["code"]
        assert sum(payload["contribution"]) == pytest.approx(payload["score"], abs=1e-5)
    facts = json.loads(PATH.read_text(encoding="utf-8"))
    assert facts["model"] == "xm-mini"
    assert facts["revision"] == revision_of(MINI_FOLDER), "run benchmarks/make_first_screen.py again"


def test_a_page_without_examples_still_opens(tmp_path: Path) -> None:
    assert read_examples(tmp_path / "none.json") == ()


# Search


def test_the_first_search_takes_the_parallel_sample_by_itself(shared: Shared) -> None:
    *before, (status, corpus_status, results) = search.search(shared, "v", "antibiotics kill bacteria", "auto")
    assert [each[0]["kind"] for each in before if isinstance(each[0], dict)][0] == "busy"
    assert status["kind"] == "idle"
    assert "You search Parallel sample: 42 passages" in corpus_status["text"]
    assert results["hits"][0]["passage_id"] == "antibiotics.en"
    assert [hit["rank"] for hit in results["hits"]] == list(range(1, 11))
    assert shared.sessions.of("v").corpus_key == "parallel"


def test_the_pieces_of_a_hit_join_to_its_text_and_their_credits_do_not_exceed_its_score(shared: Shared) -> None:
    results = find(shared, "antibiotics kill bacteria")
    corpus = shared.sessions.of("v").searcher.index.corpus
    texts = {passage.passage_id: passage.text for passage in corpus.passages}
    for hit in results["hits"]:
        assert "".join(piece["text"] for piece in hit["pieces"]) == texts[hit["passage_id"]]
        assert 0 < sum(piece["credit"] for piece in hit["pieces"]) <= hit["score"] + 1e-5
        assert hit["adapter"]["source"] == "given"


def test_a_sample_index_is_built_once_and_shared(shared: Shared, encoder: WaitingEncoder) -> None:
    find(shared, "antibiotics kill bacteria", visitor="a")
    n_encoded = encoder.n_encoded
    find(shared, "antibiotics kill bacteria", visitor="b")
    assert encoder.n_encoded == n_encoded
    assert shared.sessions.of("a").searcher is shared.sessions.of("b").searcher


def test_a_sample_index_comes_from_disk_in_the_next_process(shared: Shared, encoder: WaitingEncoder) -> None:
    find(shared, "antibiotics kill bacteria")
    n_encoded = encoder.n_encoded
    SampleShelf().open("parallel", encoder, report=lambda progress: None)
    assert encoder.n_encoded == n_encoded


def test_an_upload_is_searched_with_progress_and_its_notes_are_shown(shared: Shared, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("text\nThe red fox jumps\nThe red fox jumps\n\nA blue whale swims\n", encoding="utf-8")
    steps = list(search.use_corpus(shared, "v", "upload", str(path), "auto"))
    assert steps[0]["text"] == "Reading mine.csv…"
    assert steps[-1]["kind"] == "done"
    assert "You search mine: 3 passages" in steps[-1]["text"]
    assert any("3" in note for note in steps[-1]["notes"])  # the duplicate's row
    assert find(shared, "whale swims in the blue sea")["hits"][0]["pieces"][-1]["text"]


def test_two_visitors_never_see_each_others_corpus(shared: Shared, tmp_path: Path) -> None:
    for visitor, animal in (("a", "fox"), ("b", "whale")):
        path = tmp_path / visitor / f"{animal}.txt"
        path.parent.mkdir()
        path.write_text(f"The secret {animal} of visitor {visitor} lives here.", encoding="utf-8")
        upload(shared, path, visitor=visitor)
    for visitor, animal in (("a", "fox"), ("b", "whale")):
        results = find(shared, "the secret animal", visitor=visitor)
        assert len(results["hits"]) == 1
        assert animal in "".join(piece["text"] for piece in results["hits"][0]["pieces"])
    with pytest.raises(XmError, match="not among the hits"):
        verbs.explain_hit(shared.sessions.of("a"), "no such id")


def test_cancelling_leaves_the_former_index_whole(shared: Shared, encoder: WaitingEncoder, tmp_path: Path) -> None:
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_text("The fox is red.\n\nThe whale is blue.", encoding="utf-8")
    second.write_text("\n\n".join(f"Number {n} of the long second text." for n in range(9)), encoding="utf-8")
    upload(shared, first)
    former = shared.sessions.of("v").searcher
    encoder.hold()
    search.begin(shared, "v")
    steps = search.use_corpus(shared, "v", "upload", str(second), "auto")
    shown = [next(steps), next(steps)]
    assert encoder.reached.wait(10)
    while "Encoding" not in shown[-1]["text"]:
        shown.append(next(steps))
    assert "of 9 passages (en_XX" in shown[-1]["text"] or shown[-1]["fraction"] == 0
    assert search.cancel_build(shared, "v")["kind"] == "busy"
    encoder.go_on.set()
    assert list(steps)[-1]["text"] == "Cancelled. You still search first."
    assert shared.sessions.of("v").searcher is former
    assert len(find(shared, "which animal is red")["hits"]) == 2


def test_a_build_cancelled_while_it_waits_for_its_turn_never_starts(shared: Shared, encoder: WaitingEncoder) -> None:
    search.begin(shared, "v")
    search.cancel_build(shared, "v")
    assert last(search.use_corpus(shared, "v", "lecture", None, "auto"))["text"].startswith("Cancelled.")
    assert shared.sessions.of("v").searcher is None


def test_a_page_that_goes_away_stops_its_build(shared: Shared, encoder: WaitingEncoder) -> None:
    encoder.hold()
    cancel = threading.Event()
    work = watch(
        lambda report: shared.samples.open("parallel", encoder, report=report), cancel=cancel, show=lambda step: step
    )
    next(work)
    work.close()
    assert cancel.is_set()
    encoder.go_on.set()


def test_what_a_job_raises_reaches_the_one_who_waits() -> None:
    def work(report: Any) -> None:
        raise LanguageError("no such adapter")

    with pytest.raises(LanguageError, match="no such adapter"):
        list(watch(work, cancel=threading.Event(), show=lambda step: step))


BAD_FILES = {
    "empty.txt": (b"", "empty|no text|no passage"),
    "blank.txt": (b"  \n\n \n", "empty|no text|no passage"),
    "binary.txt": (bytes(range(256)) * 40, "binary|not text|encoding|cannot"),
    "picture.txt": (b"\x89PNG\r\n\x1a\n" + bytes(600), "PNG"),
    "program.exe": (b"MZ\x90\x00" + bytes(600), r"\.exe|txt"),
    "damaged.txt": (b"\xff\xfeabc", "utf-16 text that is damaged"),
    "unmarked.txt": ("hello there".encode("utf-16-le"), "save it as UTF-8"),
    "columns.csv": (b"title,body\nhello,world\n", "text"),
    "broken.jsonl": (b'{"text": "fine"}\n{"text": \n', "2"),
    "one_line.txt": (b"z" * 150_000, "150,000"),
    "digits.txt": (b"1234 5678\n\n90 12\n", "language"),
    "large.txt": (b"word " * 60_000, "at most|limit"),
    "many.txt": (b"\n\n".join(b"passage number %d is here" % n for n in range(40)), "30"),
    "language.csv": (b"text,language\nhello world,klingon\n", "klingon"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_says_what_is_wrong_and_leaves_the_page_usable(shared: Shared, tmp_path: Path, name: str) -> None:
    content, message = BAD_FILES[name]
    find(shared, "antibiotics kill bacteria")
    path = tmp_path / name
    path.write_bytes(content)
    shown = upload(shared, path)
    assert shown["kind"] == "error"
    assert re.search(message, shown["text"]), shown["text"]
    assert shown["text"].endswith("You still search Parallel sample.")
    assert find(shared, "antibiotics kill bacteria")["hits"]


def test_a_file_in_an_old_encoding_is_read_and_the_page_says_so(shared: Shared, tmp_path: Path) -> None:
    path = tmp_path / "old.txt"
    path.write_bytes("Der Fuß des Bären ist größer als üblich und fällt öfter auf.".encode("cp1252"))
    assert any("cp1252" in note for note in upload(shared, path)["notes"])


def test_passages_without_an_adapter_are_named_before_anything_is_encoded(shared: Shared, tmp_path: Path) -> None:
    small = FakeEncoder(model="small", languages=("en_XX", "de_DE"))
    of_two = replace(shared, load_encoder=lambda model: small, model="small")
    path = tmp_path / "mixed.csv"
    path.write_text("id,text,language\na,The fox is red,en\nb,Le renard est roux,fr\n", encoding="utf-8")
    shown = upload(of_two, path)
    assert shown["kind"] == "error"
    assert "b was taken for French (fr_XX), for which small has no adapter" in shown["text"]
    assert small.n_encoded == 0


def test_a_small_checkpoints_languages_are_expected_of_short_texts() -> None:
    small = FakeEncoder(model="small", languages=("en_XX", "de_DE"))
    aligned = verbs.explain_texts(small, ("plants store energy", "Pflanzen speichern Energie."), ("auto", "auto"))
    assert (aligned.query.language.code, aligned.passage.language.code) == ("en_XX", "de_DE")


def test_no_file_and_an_unknown_corpus_are_errors(shared: Shared) -> None:
    with pytest.raises(XmError, match="No file was chosen"):
        list(search.use_corpus(shared, "v", "upload", None, "auto"))
    with pytest.raises(XmError, match="no corpus called 'secret'"):
        list(search.use_corpus(shared, "v", "secret", None, "auto"))


def test_hostile_texts_travel_unchanged_as_values(shared: Shared, tmp_path: Path) -> None:
    shown = upload(shared, write_hostile_corpus(tmp_path / "hostile.jsonl"))
    assert shown["kind"] == "done", shown
    results = find(shared, "the green plant grows")
    texts = {"".join(piece["text"] for piece in hit["pieces"]) for hit in results["hits"]}
    assert all(any(hostile in text for text in texts) for hostile in HOSTILE)
    assert any(len(text) > 50_000 for text in texts)


# Map


def test_the_map_shows_pca_first_then_umap_and_is_kept(shared: Shared) -> None:
    find(shared, "antibiotics kill bacteria")
    shown = list(token_map.draw(shared, "v", "passage", "unused", "auto"))
    assert [step[0]["kind"] for step in shown] == ["busy", "busy", "done"]
    assert "PCA" in shown[1][0]["text"]
    assert "UMAP, seed 42" in shown[2][0]["text"]
    assert "antibiotics.en" in shown[2][0]["text"]
    assert shown[1][1].to_json() != shown[2][1].to_json()
    again = list(token_map.draw(shared, "v", "language", "unused", "auto"))
    assert len(again) == 2
    find(shared, "how do bats find their way")
    assert shared.sessions.of("v").maps == {}


def test_the_map_searches_by_itself_where_nothing_was_searched(shared: Shared) -> None:
    status, figure = last(token_map.draw(shared, "v", "kind", "antibiotics kill bacteria", "auto"))
    assert "antibiotics.en" in status["text"]
    assert {trace.name for trace in figure.data} >= {"query", "content"}


# Model, deletion, endpoints, start


def test_the_model_menu_says_size_and_licence_before_anything_is_loaded() -> None:
    shown, button = models.describe("antoinelouis/colbert-xm")
    assert "3.41 GB" in shown["text"]
    assert "MIT" in shown["text"]
    assert "128 dimensions" in shown["text"]
    assert button["value"] == "Download 3.41 GB and use it"
    assert models.describe("xm-mini")[1]["value"] == "Use this model"


def test_another_model_drops_the_index_and_fills_the_adapter_menus(shared: Shared, encoder: WaitingEncoder) -> None:
    find(shared, "antibiotics kill bacteria")
    status, *menus = last(models.use_model(shared, "v", "antoinelouis/colbert-xm"))
    assert "81 language adapters" in status["text"]
    assert "Use this corpus" in status["text"]
    assert len(menus) == 4
    assert len(menus[0]["choices"]) == 82
    assert shared.sessions.of("v").searcher is None
    with pytest.raises(XmError, match="not offered"):
        list(models.use_model(shared, "v", "/etc/passwd"))


def test_a_missing_or_damaged_checkpoint_is_a_message_and_the_page_still_opens(tmp_path: Path, shared: Shared) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "config.json").write_text("{", encoding="utf-8")
    assert len(models.codes_of(str(damaged))) == 81
    assert isinstance(build(model=str(damaged), examples=()), gr.Blocks)

    def missing(model: str) -> None:
        raise CheckpointError("no checkpoint is there; name a folder or a hub name")

    broken = Shared(missing, str(damaged), LIMITS, SessionStore(model=str(damaged)), SampleShelf())
    handler = guarded(explain.explain, broken, n_outputs=2)
    shown = last(handler("v", "some words", "en", "other words", "en"))
    assert shown[0]["kind"] == "error"
    assert "no checkpoint is there" in shown[0]["text"]
    warm_up(broken, wait_seconds=0, pause_seconds=0)


def test_undetectable_languages_say_that_they_are_chosen_by_hand() -> None:
    labels = {code: label for label, code in adapter_choices(("pt_XX", "ka_GE", "gl_ES", "ms_MY"))}
    assert labels["auto"] == "Detect the language"
    assert labels["gl_ES"] == "Galician · gl_ES · only by hand"
    assert labels["pt_XX"] == "Portuguese · pt_XX"
    assert labels["ka_GE"] == "Georgian · ka_GE"  # its script settles it


def test_delete_my_data_leaves_nothing(shared: Shared, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "mine.txt"
    path.parent.mkdir()
    path.write_text("The red fox jumps over the dog.", encoding="utf-8")
    upload(shared, path)
    find(shared, "the red fox")
    status, *others = joins.delete_data(shared, "v")
    assert "deleted" in status["text"]
    assert not path.exists()
    assert len(shared.sessions) == 0
    with pytest.raises(XmError, match="Search first"):
        verbs.explain_hit(shared.sessions.of("v"), "row-1")


def test_opening_a_hit_fills_the_explain_tab_and_pins_it_for_the_map(shared: Shared) -> None:
    query = "where does the energy of a battery come from"
    results = find(shared, query)
    second = results["hits"][1]
    event = SimpleNamespace(_data={"id": second["passage_id"]})
    _, tabs, _, payload, shown_query, query_code, _, passage_code = joins.open_hit(shared, "v", event)
    assert payload["score"] == pytest.approx(second["score"], abs=1e-5)
    assert (shown_query, query_code) == (query, "auto")
    assert passage_code == payload["passage"]["adapter"]["code"]
    assert shared.sessions.of("v").alignment.passage_id == second["passage_id"]
    for data in (None, {}, {"id": "../../etc"}):
        with pytest.raises(XmError, match="not among the hits"):
            joins.open_hit(shared, "v", SimpleNamespace(_data=data))


def test_the_endpoints_return_json_as_the_command_line_prints_it(shared: Shared) -> None:
    found = search_json(shared, "antibiotics kill bacteria", "parallel", "auto", 3)
    assert set(found) == {"query", "adapter", "hits", "seconds"}
    assert set(found["hits"][0]) == {"rank", "passage_id", "score", "exact", "language", "text"}
    explained = explain_json(shared, ("antibiotics kill bacteria", "Antibiotics kill bacteria."), ("en", "en"))
    assert sum(row["similarity"] for row in explained["rows"]) == pytest.approx(explained["score"], abs=1e-5)
    with pytest.raises(XmError, match="no corpus called"):
        search_json(shared, "some words", "upload", "auto", 3)
    with pytest.raises(XmError, match="1 to 100"):
        search_json(shared, "some words", "parallel", "auto", 1_000)


def test_warming_up_loads_the_encoder_and_opens_the_sample(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    warmed = []
    monkeypatch.setattr("xm.index.warm_up", lambda: warmed.append("maxsim"))
    monkeypatch.setattr("xm.token_map.warm_up", lambda: warmed.append("umap"))
    warm_up(shared, wait_seconds=0, pause_seconds=0)
    assert warmed == ["maxsim", "umap"]
    assert shared.samples.ready("parallel", shared.load_encoder("xm-mini")) is not None


def test_a_guarded_handler_shows_an_xm_error_and_lets_other_errors_through() -> None:
    def handler(number: int) -> tuple[dict[str, Any], int]:
        if number == 1:
            raise XmError("one came; two was expected; type two")
        return notice("fine"), 10 // number

    call = guarded(handler, n_outputs=2)
    assert call(2) == (notice("fine"), 5)
    status, untouched = call(1)
    assert status == notice("one came; two was expected; type two", kind="error")
    assert untouched == gr.skip()
    with pytest.raises(ZeroDivisionError):
        call(0)


def test_the_address_is_this_machine_alone_or_every_one_on_a_space(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SPACE_ID", "PORT", "GRADIO_SERVER_PORT", "GRADIO_SERVER_NAME"):
        monkeypatch.delenv(name, raising=False)
    assert address(None, None) == {"server_name": "127.0.0.1", "server_port": None}
    assert address("0.0.0.0", 8000) == {"server_name": "0.0.0.0", "server_port": 8000}
    monkeypatch.setenv("SPACE_ID", "somebody/xm-lens")
    monkeypatch.setenv("GRADIO_SERVER_PORT", "7000")
    assert address(None, None) == {"server_name": "0.0.0.0", "server_port": 7000}
    monkeypatch.setenv("PORT", "8123")
    assert address(None, None)["server_port"] == 8123
    monkeypatch.setenv("PORT", "http")
    with pytest.raises(XmError, match="not a number"):
        address(None, None)


def test_gradio_is_told_to_stay_private_and_quiet() -> None:
    options = launch_options(LIMITS)
    assert (
        options["run_history"] is options["enable_monitoring"] is options["show_error"] is options["ssr_mode"] is False
    )
    assert options["max_file_size"] == 400_000
    assert "http" not in options["head"].replace("http-equiv", "").replace("http://www.w3.org/", "")


def test_cancelled_and_expired_are_deliberate_errors() -> None:
    assert issubclass(Cancelled, XmError)
    assert words.margin(LanguageGuess("en_XX", 0.9, "detected", 0.5, "nl_XX")) == "0.50 ahead of nl_XX"
