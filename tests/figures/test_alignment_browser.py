"""The alignment figure as a browser shows it: what is on screen adds up, can be reached and is only text."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.figures import made
from xm.figures import alignment as figure
from xm.languages import LANGUAGES
from xm.maxsim import align
from xm.types import Alignment, LanguageGuess

ARABIC = LanguageGuess("ar_AR", 1.0, "detected")
ARABIC_TEXT = "البناء الضوئي هو العملية التي تستخدم فيها النباتات ضوء الشمس لصنع السكر داخل خلايا الورقة"
HOSTILE = '<img/src=x/onerror=pwn()> ${7*6} {{x}} </script><script>pwn()</script> "quo\'ted" \x07bell \u202ekcab'
LISTEN = "window.pins = []; document.addEventListener('xm-pin', (event) => pins.push(event.detail))"
# WCAG 2's contrast of the elements' text with the backgrounds behind it.
CONTRASTS = """(elements) => elements.map((element) => {
  const numbers = (text) => { const found = text.match(/[\\d.]+/g).map(Number); return text.startsWith("color(")
    ? [...found.slice(0, 3).map((c) => 255 * c), found[3] ?? 1] : [...found.slice(0, 3), found[3] ?? 1]; };
  const linear = (c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const layers = [];
  for (let at = element; at; at = at.parentElement) layers.push(numbers(getComputedStyle(at).backgroundColor));
  let behind = [255, 255, 255];
  for (const [r, g, b, a] of layers.reverse()) behind = [r, g, b].map((c, i) => a * c + (1 - a) * behind[i]);
  const [x, y] = [luminance(numbers(getComputedStyle(element).color)), luminance(behind)];
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
})"""


@pytest.fixture
def view(browser: object, tmp_path: Path) -> Iterator[Callable]:
    """Open an alignment's exported page; at the end, check that it asked nobody for anything and broke nothing."""
    opened, asked, said = [], [], []

    def open_page(alignment: Alignment, *, width: int = 1280, theme: str = "light", page: str | None = None) -> object:
        file = tmp_path / f"{len(opened)}.html"
        file.write_text(page or alignment.to_html(), encoding="utf-8")
        tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme, reduced_motion="reduce")
        opened.append(tab)
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.add_init_script("window.pwn = () => { window.pwned = true; };" + LISTEN)
        tab.goto(file.as_uri())
        return tab

    yield open_page
    assert said == []
    assert [url for url in asked if not url.startswith(tmp_path.as_uri())] == []
    for tab in opened:
        assert tab.evaluate("window.pwned") is None
        tab.close()


def numbers(text: str) -> list[float]:
    return [float(digits) for digits in re.findall(r"-?\d+\.\d+", text.replace("−", "-"))]


def thousandths(texts: list[str]) -> int:
    """Add displayed numbers without adding rounding errors."""
    return sum(round(1000 * value) for text in texts for value in numbers(text))


@pytest.mark.parametrize("seed", range(4))
def test_everything_displayed_adds_up_to_the_displayed_score(view: Callable, seed: int) -> None:
    alignment = made.at_random(seed=seed)
    page = view(alignment)
    score, *parts = numbers(page.locator(".equation").inner_text())
    total = round(1000 * score)
    assert abs(score - alignment.score) <= 0.0005 + 1e-9
    assert sum(round(1000 * part) for part in parts) == total
    assert page.locator(".proof").inner_text() == f"sum of 32 rows = {score:.3f} ✓ (difference 0.0e0)"
    assert page.locator(".equation .sign").count() == len(parts)
    for mode in ("Words", "Tokens"):
        page.get_by_role("button", name=mode, exact=True).click()
        assert thousandths(page.locator(".head .amount").all_inner_texts()) == total
        credits = [label.get_attribute("aria-label").rpartition(": ")[2] for label in page.locator(".column").all()]
        assert thousandths(credits) == total
    for kind in ("marker", "mask"):
        page.locator(f".head.group.{kind}").click()
    assert thousandths(page.locator(".head:not(.group) .amount").all_inner_texts()) == total
    cells = page.locator("table tr").all_text_contents()
    assert len(cells) == 1 + 32 + 1
    columns = [
        [numbers(cell)[-1] for cell in page.locator(f"tbody td:nth-child({n})").all_text_contents()] for n in (4, 5)
    ]
    assert sum(round(1000 * value) for value in columns[0]) == total
    assert sum(round(10 * value) for value in columns[1]) == 1000


def test_a_lone_space_is_shown_with_the_word_behind_it(view: Callable) -> None:
    pieces = [("<s>", "marker"), ("▁our", "content"), ("▁", "content"), ("oxy", "content"), ("gen", "content")]
    item = made.embeddings(pieces, np.eye(5))
    page = view(align(item, item))
    assert page.locator(".head .label").all_inner_texts() == ["our", "oxygen", "markers (1)"]
    assert page.locator(".column .label").all_text_contents() == ["<s>", "our", "oxygen"]
    assert page.locator(".passage-text .won").all_text_contents() == ["our1", "oxygen3"]
    assert page.locator(".specials .won").all_text_contents() == ["<s>1"]
    page.get_by_role("button", name="Tokens", exact=True).click()
    assert page.locator(".column .label").all_text_contents() == ["<s>", "our", "▁", "·oxy", "·gen"]


def test_an_alignment_worked_by_hand_is_shown_as_worked_out(view: Callable) -> None:
    page = view(made.by_hand())
    assert page.locator(".equation").inner_text() == "score 5.160 = 2.400 words + 0.960 markers + 1.800 masks"
    assert page.locator(".head .label").all_inner_texts() == ["coral", "reefs", "markers (1)", "masks (2)"]
    names = ["<s>", "os", "recifes", "de", "coral", "de", "cor"]
    assert page.locator(".column .label").all_text_contents() == names  # "de" twice: never merged
    winners = page.locator(".row").evaluate_all(
        "rows => rows.map(row => [...row.querySelectorAll('.winner')].map("
        "cell => [Number(cell.style.getPropertyValue('--c')), cell.textContent]))"
    )
    assert winners == [[[4, "1.00"]], [[2, ".80"]], [[0, ".96"]], [[4, "1.00"], [2, ".80"]]]
    won = page.locator(".passage-text .won").all_text_contents()
    assert won == ["recifes3", "coral2"]
    chips = [" ".join(text.split()) for text in page.locator(".chip").all_inner_texts()]
    assert chips == ["query English en_XX given", "passage Portuguese pt_XX detected, margin 0.98 over gl_ES"]
    assert page.locator(".badge").inner_text() == "exact"
    assert page.locator("figure").get_attribute("aria-label") == (
        "Alignment of the query “coral reefs” with a passage: score 5.160. reefs → recifes 0.80; coral → coral 1.00."
    )


def test_cells_are_painted_where_their_row_and_column_are(view: Callable) -> None:
    alignment = made.at_random("light", "uma luz", n_query=4)
    page = view(alignment)
    page.get_by_role("button", name="Tokens", exact=True).click()
    page.locator(".head.group.marker").click()
    pixels = "([c]) => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    painted = page.locator("canvas").evaluate_all(pixels)
    colours = np.array(painted).reshape(5, 5, 4)  # a word, the markers' group and its three
    order = [2, None, 0, 1, 3]
    for row, token in enumerate(order):
        values = alignment.similarity[[0, 1, 3]].max(axis=0) if token is None else alignment.similarity[token]
        darkness = -colours[row, :, :3].sum(axis=1)
        assert np.array_equal(np.argsort(darkness, kind="stable"), np.argsort(values, kind="stable"))
    winner = page.locator(".row").first.locator(".winner")
    rgb = [
        int(channel)
        for channel in re.findall(r"\d+", winner.evaluate("cell => getComputedStyle(cell).backgroundColor"))
    ]
    assert rgb == colours[0, alignment.best[2], :3].tolist()


def test_hovering_previews_and_clicking_pins_until_escape(view: Callable) -> None:
    page = view(made.by_hand())
    hint = page.locator(".detail").inner_text()
    page.locator(".query-text .word", has_text="coral").hover()
    assert page.locator(".detail").inner_text() == "“coral” → “coral” 1.00, 19.4 % of the score"
    assert page.locator(".passage-text .lit").all_text_contents() == ["coral2"]
    assert page.locator(".head.lit .label").all_inner_texts() == ["coral"]
    assert page.locator(".column.lit").all_inner_texts() == ["coral"]
    page.locator(".passage-text .word", has_text="recifes").click()
    assert (
        page.locator(".detail")
        .inner_text()
        .startswith("“recifes” won 3 rows: “reefs”, masks. 2.200, 42.6 % of the score")
    )
    page.mouse.move(0, 0)
    assert page.locator(".pinned .passage-text .lit").all_text_contents() == ["recifes3"]
    assert page.locator(".head.lit .label").all_inner_texts() == ["reefs", "masks (2)"]
    page.locator(".column", has_text="os").click()
    page.keyboard.press("Escape")
    assert page.locator(".lit").count() == 0
    assert page.locator(".detail").inner_text() == hint
    assert page.evaluate("pins") == [
        {"query_word": None, "query_tokens": [2, 3, 5], "passage_token": 2},
        {"query_word": None, "query_tokens": [], "passage_token": 1},
        {"query_word": None, "query_tokens": [], "passage_token": None},
    ]


def test_a_pin_outlives_a_change_from_words_to_tokens(view: Callable) -> None:
    page = view(made.by_hand())
    page.locator(".head", has_text="reefs").click()
    page.get_by_role("button", name="Tokens", exact=True).click()
    page.mouse.move(0, 0)
    assert page.locator(".head.lit .label").all_inner_texts() == ["ree", "·fs"]


def test_the_keyboard_reaches_every_row_and_column(view: Callable) -> None:
    page = view(made.by_hand())
    focused = "[document.activeElement.getAttribute('role'), document.activeElement.getAttribute('aria-label')]"
    page.locator(".grid [tabindex='0']").focus()
    seen = [page.evaluate(focused)]
    for key in ("ArrowDown", "ArrowRight", "End", "ArrowUp", "ArrowUp", "Home", "ArrowDown"):
        page.keyboard.press(key)
        seen.append(page.evaluate(focused))
        assert page.locator(".grid [tabindex='0']").count() == 1
    assert seen == [
        ["rowheader", "coral: 1.000, 19.4 % of the score, most from coral"],
        ["rowheader", "reefs: 1.400, 27.1 % of the score, most from recifes"],
        ["gridcell", "reefs, <s>: 0.00"],
        ["gridcell", "reefs, cor: 0.00"],
        ["gridcell", "coral, cor: 0.00"],
        ["columnheader", "cor: won no row"],
        ["columnheader", "<s>: won 1 row, 0.960"],
        ["gridcell", "coral, <s>: 0.00"],
    ]
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    assert page.evaluate("pins") == [{"query_word": "coral", "query_tokens": [1], "passage_token": 5}]
    assert page.evaluate("document.activeElement.getAttribute('aria-selected')") == "true"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.getAttribute('aria-selected')") == "false"


def test_groups_are_closed_and_open_on_click_and_on_enter(view: Callable) -> None:
    page = view(made.at_random())
    group = page.locator(".head.group.mask")
    n_rows = page.locator(".row").count()
    assert group.get_attribute("aria-expanded") == "false"
    n_masks = int(re.search(r"masks \((\d+)\)", group.inner_text())[1])
    group.click()
    assert page.locator(".row").count() == n_rows + n_masks
    assert page.locator(".head.member .label").all_inner_texts() == [f"<mask> {n + 1}" for n in range(n_masks)]
    page.keyboard.press("Enter")
    assert page.locator(".row").count() == n_rows
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("masks")


def test_the_winning_columns_can_be_shown_alone(view: Callable) -> None:
    page = view(made.by_hand())
    page.get_by_role("button", name="The 3 that won").click()
    assert page.locator(".column .label").all_text_contents() == ["<s>", "recifes", "coral"]
    page.locator(".passage-text .word", has_text="os").hover()
    assert page.locator(".detail").inner_text() == "“os” won no row"


def test_a_right_to_left_passage_begins_at_the_right(view: Callable) -> None:
    page = view(made.at_random(passage_text=ARABIC_TEXT, language=ARABIC))
    boxes = [page.locator(".column").nth(n).bounding_box() for n in (0, 1)]
    assert boxes[0]["x"] > boxes[1]["x"]
    head = page.locator(".head").first.bounding_box()
    assert head["x"] > boxes[0]["x"]  # at once, without scrolling
    assert page.locator(".passage-text").evaluate("text => getComputedStyle(text).direction") == "rtl"
    last = page.locator(".row").first.locator(".cells").bounding_box()
    page.mouse.move(boxes[0]["x"] + 5, last["y"] + 10)
    first_word = page.locator(".column .label").first.text_content()
    assert first_word == "<s>" and "“<s>”" in page.locator(".detail").inner_text()
    page.locator(".grid [tabindex='0']").focus()
    page.keyboard.press("ArrowLeft")
    assert "<s>" in page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert page.locator(".winner span").first.evaluate("cell => getComputedStyle(cell).direction") == "ltr"


def test_a_narrow_figure_is_a_list_with_a_way_to_the_heatmap(view: Callable) -> None:
    page = view(made.by_hand(), width=360)
    assert page.locator(".scroll").is_hidden() and page.locator(".list").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    items = [" ".join(text.split()) for text in page.locator(".item").all_inner_texts()]
    assert items == [
        "coral → coral 1.000",
        "reefs → recifes 1.400",
        "markers (1) 0.960 18.6 %",
        "masks (2) 1.800 34.9 %",
    ]
    page.locator(".item").nth(1).click()
    assert page.locator(".item").nth(1).get_attribute("aria-pressed") == "true"
    assert page.locator(".passage-text .lit").all_text_contents() == ["recifes3"]
    page.get_by_role("button", name="Heatmap").click()
    assert page.locator(".scroll").is_visible() and page.locator(".list").is_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(view: Callable, theme: str) -> None:
    """Winners over the whole scale, -0.2 to 1, and every other text of the figure."""
    cosines = np.linspace(-0.2, 1.0, 40)
    query = [[cosine, np.sqrt(1 - cosine**2)] for cosine in cosines]
    pieces = [(f"▁w{n}", "content") for n in range(40)]
    alignment = align(
        made.embeddings(pieces, np.array(query)), made.embeddings([("▁luz", "content")], np.array([[1.0, 0.0]]))
    )
    page = view(alignment, theme=theme)
    page.locator(".head").first.click()
    page.locator("summary").click()
    names = (
        ".winner|.won|.swatch|.chip-source|.proof|.part|.caption|.amount|.badge|.detail|.pin-mark|.column|.label"
        "|.notes li|.switch button|.ticks|td|h3|summary"
    )
    low = {name: min(page.locator(name).evaluate_all(CONTRASTS)) for name in names.split("|")}
    low = {name: round(ratio, 2) for name, ratio in low.items() if ratio < 4.5}
    assert low == {}


def test_the_theme_is_the_readers_or_that_of_the_page_around(view: Callable) -> None:
    theme = "document.querySelector('.xm-alignment').dataset.theme"
    assert view(made.by_hand(), theme="light").evaluate(theme) == "light"
    page = view(made.by_hand(), theme="dark")
    assert page.evaluate(theme) == "dark"
    shade = "getComputedStyle(document.querySelector('.winner')).backgroundColor"
    dark = page.evaluate(shade)
    page.evaluate("document.body.classList.add('gradio-container')")  # a light Gradio page on a dark desktop
    page.wait_for_function(f"{theme} === 'light'")
    assert page.evaluate(shade) != dark
    page.evaluate("document.body.classList.add('dark')")
    page.wait_for_function(f"{theme} === 'dark'")
    assert page.evaluate(shade) == dark


def test_hostile_text_is_shown_and_does_nothing(view: Callable) -> None:
    giant = "w" * 50_000
    alignment = made.at_random(HOSTILE, f"{HOSTILE} {giant}")
    page = view(alignment)
    page.get_by_role("button", name="Tokens", exact=True).click()
    page.get_by_role("button", name="Words", exact=True).click()
    for word in page.locator(".passage-text .word").all()[:3]:
        word.hover()
    page.locator(".passage-text .word").last.hover()
    page.locator(".head").first.click()
    page.locator("summary").click()
    shown = page.locator(".query-text").inner_text()
    assert "<img/src=x/onerror=pwn()> ${7*6} {{x}} </script><script>pwn()</script>" in shown
    assert "␇bell" in shown and "\u202e" not in shown
    assert page.locator("img").count() == 0 and page.locator("script").count() == 2
    assert "(50,000 characters)" in page.locator(".passage-text").inner_text()
    assert "(50,000 characters)" in page.locator(".column").last.locator("xpath=preceding-sibling::*[1]").text_content()
    assert giant not in page.locator("main").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") == 1280


def test_text_past_the_limit_is_shown_as_unseen(view: Callable) -> None:
    axes = np.eye(2)
    passage = made.embeddings(
        [("▁luz", "content"), ("▁sol", "content")], axes, text="luz sol. nobody reads this", n_unseen=18
    )
    page = view(align(made.embeddings([("▁a", "content"), ("▁b", "content")], axes), passage))
    assert page.locator(".unseen").inner_text() == " nobody reads this 18 characters unseen"
    assert page.locator(".notes li").all_inner_texts() == [
        "The passage is longer than the model reads: 18 characters are unseen."
    ]


def test_a_score_of_nothing_or_less_is_shown_without_shares(view: Callable) -> None:
    query = made.embeddings([("▁a", "content"), ("▁b", "content")], np.array([[-1.0, 0.0], [-0.5, 0.0]]))
    page = view(align(query, made.embeddings([("▁luz", "content")], np.array([[1.0, 0.0]])), exact=False))
    assert page.locator(".equation").inner_text() == "score −2.000 = −2.000 words"
    assert page.locator("tfoot").text_content() == "total−2.000–"
    assert page.locator(".badge").inner_text() == "approximate"


def test_mounting_again_replaces_the_figure_and_unmounting_removes_it(view: Callable) -> None:
    page = view(made.by_hand())
    page.evaluate(
        "payload => XmAlignment.mount(document.querySelector('main'), payload)", figure.payload(made.at_random())
    )
    assert page.locator(".xm-alignment").count() == 1
    assert "random" in page.locator(".facts").inner_text()
    page.evaluate("XmAlignment.unmount(document.querySelector('main'))")
    assert page.locator(".xm-alignment").count() == 0


def test_every_rule_of_the_stylesheet_is_below_the_figure() -> None:
    rules = re.sub(r"/\*.*?\*/", "", figure.stylesheet(), flags=re.DOTALL)
    selectors = re.findall(r"(?:^|[{}])\s*([^{}@]+?)\s*\{", rules)
    assert len(selectors) > 80
    assert all(part.strip().startswith(".xm-alignment") for selector in selectors for part in selector.split(", "))


def test_languages_have_the_names_that_the_rest_of_the_program_uses(view: Callable) -> None:
    page = view(made.by_hand())
    payload = figure.payload(made.by_hand())
    names = page.evaluate(
        """([payload, codes]) => codes.map((code) => {
          const host = document.createElement("div");
          payload.query.adapter.code = code;
          XmAlignment.mount(host, payload);
          return host.querySelector(".chip strong").textContent;
        })""",
        [payload, list(LANGUAGES)],
    )
    assert names == [language.name for language in LANGUAGES.values()]
