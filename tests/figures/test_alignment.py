"""The alignment figure's payload, its exported page and the Alignment methods that give it away."""

import base64
import csv
import hashlib
import html
import io
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.figures import made
from xm.errors import XmError
from xm.figures import alignment as figure
from xm.maxsim import align
from xm.types import Alignment, LanguageGuess

HOSTILE = (
    "<img src=x onerror=pwn()> ${7*6} {{x}} </script><script>pwn()</script> \"'`\\ \x00\x07\x1b \u2028 <!-- \u202e"
)


def cells_of(payload: dict) -> np.ndarray:
    sent = payload["similarity"]
    return np.frombuffer(base64.b64decode(sent["float32"]), "<f4").reshape(sent["shape"])


def payload_in(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="xm-payload">(.*?)</script>', page, re.DOTALL)[1])


def with_query(text: str) -> Alignment:
    """An alignment whose query is one word, whatever it says."""
    query = made.embeddings([(text, "content")], np.ones((1, 16)), text=text)
    return align(query, made.at_random().passage)


def test_the_payload_of_an_alignment_worked_by_hand() -> None:
    sent = figure.payload(made.by_hand())
    assert sent["best"] == [0, 5, 2, 3, 5, 2]
    assert sent["contribution"] == pytest.approx([0.96, 1.0, 0.8, 0.6, 1.0, 0.8])
    assert sent["score"] == pytest.approx(5.16)
    assert sent["query"]["words"] == [[0], [1], [2, 3], [4], [5]]
    assert sent["passage"]["words"] == [[0], [1], [2, 3], [4], [5], [6], [7]]
    assert sent["passage"]["offsets"][:4] == [[-1, -1], [0, 2], [3, 7], [7, 10]]
    assert sent["passage"]["adapter"]["margin"] == 0.98
    assert (sent["passage_id"], sent["model"], sent["exact"], sent["notes"]) == ("reef.pt", "by-hand", True, [])


@pytest.mark.parametrize("seed", range(5))
def test_the_payload_carries_every_number_exactly(seed: int) -> None:
    alignment = made.at_random(seed=seed)
    sent = json.loads(json.dumps(figure.payload(alignment)))
    assert np.array_equal(cells_of(sent), alignment.similarity)
    assert sum(sent["contribution"]) == pytest.approx(alignment.score, abs=1e-12)
    for name, side in (("query", alignment.query), ("passage", alignment.passage)):
        assert sorted(sum(sent[name]["words"], [])) == list(range(len(side.tokens)))


def test_the_page_of_32_by_180_tokens_stays_below_100_kb() -> None:
    alignment = made.at_random(n_passage=180)
    assert alignment.similarity.shape == (32, 180)
    assert len(alignment.to_html().encode()) < 100_000


def test_the_page_names_no_other_host_and_allows_no_code_but_its_own() -> None:
    page = made.by_hand().to_html()
    assert not re.search(r"https?:|//\w+\.|url\(|@import|\ssrc=|\shref=", page)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for tag in ("script", "style"):
        own = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[1]
        assert base64.b64encode(hashlib.sha256(own.encode()).digest()).decode() in policy


def test_hostile_text_stays_inside_the_json_of_the_page() -> None:
    page = with_query(HOSTILE).to_html()
    assert page.count("</script>") == 2 and page.count("<img") == 0 and page.count("<!--") == 0
    assert payload_in(page)["query"]["text"] == HOSTILE


def test_a_lone_surrogate_can_be_written_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(with_query("half \ud83d of a pair").to_html(), encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "direction"), [("NASA: ضوء الشمس وطاقتها", "rtl"), ("the word ضوء means light", "ltr"), ("123 ...", "ltr")]
)
def test_a_text_is_read_in_the_direction_of_most_of_its_letters(text: str, direction: str) -> None:
    assert figure.payload(with_query(text))["query"]["dir"] == direction


def test_an_alignment_without_traps_has_no_notes() -> None:
    assert figure.notes(made.by_hand()) == []


def test_winners_that_are_markers_or_punctuation_are_noted() -> None:
    axes = np.eye(4)
    query = made.embeddings([("▁light", "content"), ("▁energy", "content"), ("?", "content")], axes[[0, 1, 2]])
    pieces = [("<s>", "marker"), ("▁luz", "content"), (",", "content"), ("▁sol", "content")]
    passage = made.embeddings(pieces, axes[[0, 3, 1, 2]], text="luz, sol")
    assert figure.notes(align(query, passage)) == [
        "A marker, not a word of the passage, won rows of “light”.",
        "Punctuation won rows of “energy”.",
    ]


def test_a_token_that_won_most_rows_is_noted() -> None:
    query = made.embeddings([("▁a", "content"), ("▁b", "content"), ("▁c", "content")], np.eye(3)[[0, 0, 1]])
    passage = made.embeddings([("▁luz", "content"), ("▁sol", "content")], np.eye(3)[[0, 1]])
    assert figure.notes(align(query, passage)) == ["One passage token, “luz”, won 2 of 3 rows (67 %)."]


def test_unseen_text_doubtful_adapters_and_approximate_scores_are_noted() -> None:
    unsure = LanguageGuess("es_XX", 0.5, "detected", margin=0.1, runner_up="pt_XX")
    inherited = LanguageGuess("pt_XX", 1.0, "inherited")
    query = made.embeddings([("▁a", "content"), ("▁b", "content")], np.eye(2), language=unsure)
    passage = made.embeddings(
        [("▁luz", "content"), ("▁sol", "content")], np.eye(2), text="luz sol ...", language=inherited, n_unseen=3400
    )
    assert figure.notes(align(query, passage, exact=False)) == [
        "This score is approximate: the passage was read from a compressed index.",
        "The query's language was a close call: es_XX before pt_XX by a margin of 0.10.",
        "The passage is longer than the model reads: 3,400 characters are unseen.",
        "The passage's language could not be read from its text; adapter pt_XX was inherited.",
    ]


def test_rows_of_the_dictionary_sum_to_its_score() -> None:
    alignment = made.at_random()
    told = json.loads(json.dumps(alignment.to_dict()))
    assert sum(row["similarity"] for row in told["rows"]) == pytest.approx(told["score"], abs=1e-5)
    assert told["score"] == pytest.approx(float(alignment.similarity.max(axis=1).sum()), abs=1e-5)
    first = made.by_hand().to_dict()["rows"][2]
    assert first == {
        "token": "▁ree",
        "kind": "content",
        "best_token": "▁reci",
        "best_index": 2,
        "similarity": pytest.approx(0.8),
    }
    assert (told["query_adapter"], told["passage_adapter"], told["exact"]) == ("en_XX", "pt_XX", True)


def test_the_csv_has_a_line_per_query_token_and_no_formula() -> None:
    alignment = with_query("=1+1")
    rows = list(csv.DictReader(io.StringIO(alignment.to_csv())))
    assert [row["token"] for row in rows] == ["'=1+1"]
    assert float(rows[0]["similarity"]) == alignment.score
    assert len(made.by_hand().to_csv().splitlines()) == 7


def test_a_notebook_shows_the_page_in_a_frame_that_cannot_reach_the_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    display = SimpleNamespace(display=shown.append, HTML=lambda text: text)
    kernel = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    alignment = made.by_hand()
    alignment.show()
    (frame,) = shown
    assert 'sandbox="allow-scripts"' in frame
    assert html.unescape(re.search(r'srcdoc="([^"]*)"', frame)[1]) == alignment.to_html()


def test_outside_a_notebook_a_browser_opens_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened: list[str] = []
    monkeypatch.setattr(figure.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(figure.webbrowser, "open", lambda address: opened.append(address) or True)
    alignment = made.by_hand()
    alignment.show()
    (file,) = tmp_path.iterdir()
    assert opened == [file.as_uri()]
    assert file.read_text(encoding="utf-8") == alignment.to_html()


def test_without_a_browser_show_says_where_the_file_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(figure.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(figure.webbrowser, "open", lambda address: False)
    with pytest.raises(XmError, match=re.escape(str(tmp_path))):
        made.by_hand().show()
