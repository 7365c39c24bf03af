"""The page in headless Chromium, with every request to another host blocked and counted.

Skipped where there is no browser; a failure where CI is set, for there must be one.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ui.pages import HOSTILE, WaitingEncoder, examples, quick_umap, small_sample, write_hostile_corpus
from xm.options import CorpusLimits
from xm.ui.build import address, build, launch_options
from xm.ui.shared import SAMPLES

LIMITS = CorpusLimits(max_bytes=200_000, max_passages=40)
PATIENCE = 30_000  # milliseconds; a machine that trains beside the tests is slow


@pytest.fixture(scope="module")
def encoder() -> WaitingEncoder:
    return WaitingEncoder(model="xm-mini")


@pytest.fixture(scope="module")
def loads() -> list[str]:
    """Names of the models that were asked for."""
    return []


@pytest.fixture(scope="module")
def url(encoder: WaitingEncoder, loads: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page, served from this process with a fake encoder and a small sample."""
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XM_CACHE", str(folder / "cache"))
        patch.setattr("xm.token_map._fit_umap", quick_umap)
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "uploads"))
        patch.setitem(SAMPLES, "parallel", small_sample(folder / "parallel"))

        def load(model: str) -> WaitingEncoder:
            loads.append(model)
            return encoder

        page = build(encoder_loader=load, examples=examples(encoder), limits=LIMITS)
        options = launch_options(LIMITS) | {"quiet": True}
        _, local_url, _ = page.launch(**options, **address("127.0.0.1", None), prevent_thread_lock=True)
        yield local_url
        page.close(verbose=False)


class Visitor:
    """One visitor: a page in a browser context (which has the cache and cookies of one browser)."""

    def __init__(self, context: Any, url: str, *, width: int = 1280, height: int = 900) -> None:
        self.outside: list[str] = []
        self.errors: list[str] = []
        self.page = context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.on("request", self._note_outside)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)
        self.page.wait_for_selector("#explain-figure .xm-alignment")

    def leave(self) -> None:
        """Close the page; it must have asked no other host for anything, and raised no error."""
        self.page.close()
        assert self.outside == []
        assert self.errors == []

    def _note_outside(self, request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            self.outside.append(request.url)

    def open(self, tab: str) -> None:
        self.page.get_by_role("tab", name=tab).click()

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def wait_for_text(self, selector: str, text: str) -> str:
        self.page.locator(selector, has_text=text).first.wait_for()
        return self.text(selector)

    def search(self, query: str) -> None:
        """Search and wait for the answer to this very query."""
        self.type_query(query)
        self.page.click("#search-go")
        self.page.wait_for_selector("#search-status .xm-idle", state="attached")

    def type_query(self, query: str) -> None:
        """Type over the query that the box opens with; what is typed before that one is there would be lost."""
        box = "#search-query textarea, #search-query input"
        self.page.wait_for_function("box => document.querySelector(box)?.value", arg=box)
        self.page.fill(box, query)

    def choose(self, path: Path) -> None:
        """Choose a file in place of the one before it."""
        self.page.get_by_text("My own file").click()
        remove = self.page.locator("#search-upload").get_by_label("Clear")
        if remove.count():
            remove.first.click()
        self.page.set_input_files("#search-upload input[type=file]", str(path))

    def upload(self, path: Path) -> None:
        """Choose a file and press the button; what comes of it is the test's to wait for."""
        self.choose(path)
        self.page.locator("#search-upload", has_text=path.stem[:8]).wait_for()
        self.page.click("#search-use")

    def hits(self) -> list[str]:
        self.page.wait_for_selector(".xm-hit")
        return self.page.locator(".xm-hit").all_inner_texts()

    def overflow(self) -> int:
        """Pixels the page is wider than its window."""
        return self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


@pytest.fixture(scope="module")
def context(browser: Any) -> Iterator[Any]:
    """One browser, whose cache saves most of a page's loading from the second test on."""
    made = browser.new_context()
    yield made
    made.close()


@pytest.fixture
def visitor(context: Any, url: str) -> Iterator[Visitor]:
    """A visitor with a page of their own."""
    came = Visitor(context, url)
    yield came
    came.leave()


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_first_screen_is_filled_without_typing_and_without_a_model(visitor: Visitor, loads: list[str]) -> None:
    assert "how do plants store energy?" in visitor.text("#explain-figure")
    assert "Portuguese" in visitor.text("#explain-figure")
    assert visitor.page.input_value("#explain-query textarea") == "how do plants store energy?"
    assert visitor.page.locator("h1").count() == 1
    assert visitor.page.title() == "XM Lens"
    visitor.page.get_by_role("button", name="English → العربية").click()
    visitor.wait_for_text("#explain-figure", "how do vaccines work?")
    assert visitor.page.locator("#explain-figure [dir=rtl]").count() > 0
    assert loads == []


def test_a_number_in_a_cell_keeps_the_ink_that_stands_out_from_its_cell(visitor: Visitor) -> None:
    """Gradio's own stylesheet colours every element inside its prose, and once made them dark on dark."""
    inks = visitor.page.evaluate(
        """() => [...document.querySelectorAll(".xm-alignment .winner > *")].map((number) =>
          [getComputedStyle(number).color, getComputedStyle(number.parentElement).color])"""
    )
    assert inks
    assert all(own == of_cell for own, of_cell in inks)


def test_typed_texts_are_explained_on_enter_and_the_sum_equals_the_score(visitor: Visitor) -> None:
    visitor.page.fill("#explain-query textarea", "Wo speichern Pflanzen ihren Zucker?")
    visitor.page.fill("#explain-passage textarea", "植物は糖をでんぷんとして根に蓄えます。")
    visitor.page.click("#explain-go")
    shown = visitor.wait_for_text("#explain-figure", "Wo speichern Pflanzen")
    assert "German" in shown
    assert "Japanese" in shown
    assert "✓" in shown
    visitor.page.fill("#explain-query textarea", "")
    visitor.page.click("#explain-go")
    visitor.page.wait_for_selector("#explain-status [role=alert]")
    assert "The query is empty" in visitor.text("#explain-status")
    assert "Wo speichern Pflanzen" in visitor.text("#explain-figure")


def test_upload_index_search_explain_and_map(visitor: Visitor, tmp_path: Path) -> None:
    animals = ("fox", "whale", "owl", "hare")
    lines = [f"The {animal} number {n} lives in the forest of the north." for n, animal in enumerate(animals * 3)]
    visitor.open("Search")
    visitor.upload(write(tmp_path, "animals.txt", "\n\n".join(lines)))
    assert "12 passages" in visitor.wait_for_text("#search-corpus-status", "You search animals")
    visitor.search("where does the whale live in the north")
    first_id = visitor.text(".xm-hit .xm-id")
    assert "whale" in visitor.hits()[0]
    assert "detected" in visitor.text("#search-results .xm-results-head")
    score = visitor.text(".xm-hit .xm-score")
    visitor.page.locator(".xm-hit").first.click()
    shown = visitor.wait_for_text("#explain-figure", first_id)
    assert score in shown.replace("\n", "")
    assert visitor.page.get_by_role("tab", name="Explain").get_attribute("aria-selected") == "true"
    visitor.open("Map")
    visitor.wait_for_text("#map-status", "seed 42")
    visitor.page.wait_for_selector("#map-plot .js-plotly-plot .scatterlayer path.point", state="attached")
    assert "UMAP" in visitor.text("#map-status")
    visitor.page.get_by_label("Language", exact=True).click()
    visitor.page.wait_for_selector("#map-plot .legendtext:has-text('en_XX')")


def test_everything_can_be_reached_by_keyboard(visitor: Visitor) -> None:
    page = visitor.page
    page.get_by_role("tab", name="Explain").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-query", state="visible")
    page.focus("#search-query textarea, #search-query input")
    page.keyboard.press("Control+A")
    page.keyboard.type("antibiotics kill bacteria")
    page.keyboard.press("Enter")
    page.wait_for_selector(".xm-hit")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('xm-open')"):
            break
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Explain hit 1"
    page.keyboard.press("Enter")
    visitor.wait_for_text("#explain-figure", "antibiotics kill bacteria")
    page.wait_for_function("document.activeElement.classList.contains('xm-figure')")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("!!document.activeElement.closest('.xm-alignment .head, .xm-alignment .row')"):
            break
    page.keyboard.press("Enter")
    page.wait_for_selector(".xm-alignment.pinned, .xm-alignment .pinned")
    page.keyboard.press("Escape")
    page.wait_for_selector(".xm-alignment:not(.pinned)")


def test_hostile_texts_are_shown_as_plain_text_everywhere(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.page
    visitor.open("Search")
    visitor.upload(write_hostile_corpus(tmp_path / "${7*6}<b>.jsonl"))
    visitor.wait_for_text("#search-corpus-status", "passages")
    visitor.search(f"the green plant {HOSTILE[0]} ${{7*6}} {{{{x}}}}")
    shown = "\n".join(visitor.hits())
    for hostile in HOSTILE:
        assert re.sub(r"\s+", " ", hostile) in re.sub(r"\s+", " ", shown)
    assert "<b>id0</b>${1+1}" in shown
    for place in range(0, len(visitor.hits()), 3):
        visitor.open("Search")
        page.locator(".xm-open").nth(place).click()
        page.wait_for_function("document.activeElement.classList.contains('xm-figure')")
    visitor.open("Map")
    visitor.wait_for_text("#map-status", "seed 42")
    page.wait_for_selector("#map-plot path.point", state="attached")
    legend = " ".join(page.locator("#map-plot .legendtext").all_text_contents())
    assert "<b>id" in legend
    points = page.locator("#map-plot path.point")
    points.nth(points.count() - 3).hover(force=True)
    page.wait_for_selector("#map-plot .hoverlayer .hovertext")
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x], .xm-results b:not(.xm-chip b), .xm-alignment script").count() == 0


def test_two_visitors_do_not_see_each_others_corpus(browser: Any, url: str, tmp_path: Path) -> None:
    first, second = Visitor(browser.new_context(), url), Visitor(browser.new_context(), url)
    for who, animal in ((first, "fox"), (second, "whale")):
        folder = tmp_path / animal
        folder.mkdir()
        who.open("Search")
        who.upload(write(folder, f"{animal}.txt", f"The secret {animal} sleeps under the old tree."))
        who.wait_for_text("#search-corpus-status", f"You search {animal}")
    for who, own, other in ((first, "fox", "whale"), (second, "whale", "fox")):
        who.search("the secret animal under the tree")
        assert own in who.hits()[0]
        assert len(who.hits()) == 1
        assert other not in who.page.content()
    first.page.click("#xm-delete")
    first.wait_for_text("#search-corpus-status", "deleted")
    assert first.page.locator(".xm-hit").count() == 0
    second.search("where does the secret animal sleep")
    assert "whale" in second.hits()[0]
    first.leave()
    second.leave()


def test_progress_is_shown_and_cancel_leaves_the_former_index(
    visitor: Visitor, encoder: WaitingEncoder, tmp_path: Path
) -> None:
    visitor.open("Search")
    visitor.search("antibiotics kill bacteria")
    former = visitor.hits()
    assert not visitor.page.is_visible("#search-cancel")
    encoder.hold()
    try:
        path = write(tmp_path, "long.txt", "\n\n".join(f"Number {n} of the long text is here." for n in range(30)))
        visitor.upload(path)
        visitor.wait_for_text("#search-corpus-status", "of 30 passages")
        visitor.page.wait_for_selector("#search-corpus-status progress")
        visitor.page.click("#search-cancel")
        visitor.wait_for_text("#search-corpus-status", "Stopping")
    finally:
        encoder.go_on.set()
    visitor.wait_for_text("#search-corpus-status", "Cancelled. You still search Parallel sample.")
    visitor.search("antibiotics kill bacteria")
    assert visitor.hits() == former


BAD_FILES = {
    "empty.txt": (b"", "empty"),
    "picture.txt": (b"\x89PNG\r\n\x1a\n" + bytes(600), "PNG"),
    "program.exe": (b"MZ\x90\x00" + bytes(600), "cannot read .exe"),
    "damaged.txt": (b"\xff\xfeabc", "damaged"),
    "columns.csv": (b"title,body\nhello,world\n", "no column 'text'"),
    "one_line.txt": (b"z" * 150_000, "150,000 characters"),
    "digits.txt": (b"1234 5678\n\n90 12\n", "shows a language"),
    "many.txt": (b"\n\n".join(b"passage number %d is here" % n for n in range(60)), "60 passages"),
    "language.csv": (b"text,language\nhello world,klingon\n", "klingon"),
}


def test_bad_files_are_refused_in_words_and_the_page_stays_usable(visitor: Visitor, tmp_path: Path) -> None:
    visitor.open("Search")
    for name, (content, message) in BAD_FILES.items():
        path = tmp_path / name
        path.write_bytes(content)
        visitor.upload(path)
        visitor.wait_for_text("#search-corpus-status [role=alert]", message)
        assert "You still search Parallel sample." in visitor.text("#search-corpus-status")
    large = tmp_path / "large.txt"
    large.write_bytes(b"word " * 60_000)
    visitor.choose(large)
    assert "large.txt has 0.3 MB; at most 0.2 MB" in visitor.wait_for_text("#search-corpus-status", "large.txt")
    visitor.upload(write(tmp_path, "good.txt", "A good text about the green plants of the garden."))
    visitor.wait_for_text("#search-corpus-status", "You search good")
    visitor.search("plants of the garden")
    assert "green plants" in visitor.hits()[0]


def test_the_limits_are_said_before_anything_is_uploaded(visitor: Visitor) -> None:
    visitor.open("Search")
    visitor.page.get_by_text("My own file").click()
    visitor.page.wait_for_selector("text=up to 0.2 MB and 40 passages")


def test_a_phone_shows_every_tab_without_scrolling_sideways_and_the_map_takes_the_dark(context: Any, url: str) -> None:
    visitor = Visitor(context, f"{url}?__theme=dark", width=360, height=780)
    assert visitor.overflow() <= 0
    visitor.open("Search")
    visitor.search("antibiotics kill bacteria")
    visitor.hits()
    assert visitor.overflow() <= 0
    visitor.page.get_by_text("My own file").click()
    visitor.page.wait_for_selector("#search-upload")
    assert visitor.overflow() <= 0
    visitor.open("Map")
    visitor.wait_for_text("#map-status", "seed 42")
    visitor.page.wait_for_selector("#map-plot path.point", state="attached")
    assert visitor.overflow() <= 0
    plot = visitor.page.evaluate("getComputedStyle(document.querySelector('#map-plot .main-svg')).backgroundColor")
    assert plot == "rgba(0, 0, 0, 0)"
    visitor.leave()


def test_the_model_menu_says_what_a_model_is_before_it_is_loaded(visitor: Visitor, loads: list[str]) -> None:
    visitor.page.locator("#xm-model > button").click()
    visitor.wait_for_text("#model-facts", "128 dimensions")
    n_loads = len(loads)
    visitor.page.click("#model-choice input")
    visitor.page.get_by_role("option", name="antoinelouis/colbert-xm").click()
    assert "MIT" in visitor.wait_for_text("#model-facts", "3.41 GB")
    assert "Download 3.41 GB" in visitor.wait_for_text("#model-use", "Download")
    assert len(loads) == n_loads


def test_several_visitors_search_at_once(context: Any, url: str) -> None:
    visitors = [Visitor(context, url) for _ in range(3)]
    for who in visitors:
        who.open("Search")
        who.type_query("how do bats find their way at night")
    for who in visitors:
        who.page.click("#search-go")
    shown = [who.hits() for who in visitors]
    assert shown[0] == shown[1] == shown[2]
    for who in visitors:
        who.leave()
