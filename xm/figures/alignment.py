"""The alignment figure: one payload, one script and one stylesheet for the page, the notebook and the exported file.

Leaves out: the drawing itself (assets/alignment.js, assets/alignment.css) and every number, which the alignment brings.

A page puts `<style>{stylesheet()}</style><script>{script()}</script>` in its head, then calls in the browser
`XmAlignment.mount(element, payload)`; mounting again replaces the figure, `XmAlignment.unmount(element)` removes it.
`element` receives a bubbling CustomEvent "xm-pin" at each pin and release, whose detail is
`{query_word: str | null, query_tokens: [int], passage_token: int | null}` (all empty when the pin is released).
`payload(alignment)` has these keys:

- version: 1.
- query, passage: text; dir ("ltr" or "rtl", by most of its letters); tokens; kinds; offsets ([start, end] in
  characters, [-1, -1] if none); words (each the list of its token ids); adapter {code, source, probability, margin,
  runner_up}; n_unseen (characters past the length limit).
- similarity: {shape: [n_query, n_passage], float32: base64 of the row-major little-endian cells}, exact.
- best, contribution: one number per query token, exact; score: their sum.
- passage_id, model, exact (bool), notes (plain sentences on what may mislead).

Nothing in it is HTML; every string goes in by textContent.
"""

import base64
import hashlib
import html as html_escapes
import json
import re
import sys
import tempfile
import unicodedata
import webbrowser
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np

from xm.errors import XmError
from xm.types import Alignment, TokenEmbeddings, Word

ASSETS = Path(__file__).resolve().parents[2] / "assets"
LARGE_SHARE = 0.4  # a passage token that wins more of the rows than this is pointed out
SMALL_MARGIN = 0.2  # a detector this undecided between two languages is pointed out
FRAME_HEIGHT = 760  # pixels in a notebook: a score, a text of five lines and ten rows without scrolling

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src '{script_hash}'; \
style-src '{style_hash}'; img-src data:">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<noscript>This figure is drawn by a script inside this file; allow scripts to see it.</noscript>
<main></main>
<script type="application/json" id="xm-payload">{payload}</script>
<script>{script}</script>
</body>
</html>
"""
_PAGE_STYLE = """
body { margin: 0; padding: clamp(0px, 2vw, 24px); background: #eef0f4; }
main { max-width: 1360px; margin: 0 auto; }
@media (prefers-color-scheme: dark) { body { background: #0b0e14; } }
"""
_PAGE_SCRIPT = """
XmAlignment.mount(document.querySelector("main"), JSON.parse(document.getElementById("xm-payload").textContent));
"""


def script() -> str:
    """Return the figure's JavaScript, which defines window.XmAlignment."""
    return (ASSETS / "alignment.js").read_text(encoding="utf-8")


def stylesheet() -> str:
    """Return the figure's CSS; every rule is below .xm-alignment."""
    return (ASSETS / "alignment.css").read_text(encoding="utf-8")


def payload(alignment: Alignment) -> dict[str, object]:
    """Return what the figure draws, as JSON-able values (keys: this module's docstring)."""
    cells = np.ascontiguousarray(alignment.similarity, dtype="<f4")
    return {
        "version": 1,
        "query": _side(alignment.query, alignment.query_words),
        "passage": _side(alignment.passage, alignment.passage_words),
        "similarity": {"shape": list(cells.shape), "float32": base64.b64encode(cells.tobytes()).decode("ascii")},
        "best": alignment.best.tolist(),
        "contribution": alignment.contribution.tolist(),
        "score": alignment.score,
        "exact": alignment.exact,
        "model": alignment.model,
        "passage_id": alignment.passage_id,
        "notes": notes(alignment),
    }


def html(alignment: Alignment) -> str:
    """Return the figure as one self-contained page that asks no host for anything and runs no script but its own."""
    own_script, own_style = _compact(script()) + _PAGE_SCRIPT, _compact(stylesheet()) + _PAGE_STYLE
    return _PAGE.format(
        title=html_escapes.escape(f"{_short(alignment.query.text, 80)} · XM Lens").encode("utf-8", "replace").decode(),
        script_hash=_digest(own_script),
        style_hash=_digest(own_style),
        style=own_style,
        script=own_script,
        payload=_json_in_html(payload(alignment)),
    )


def show(alignment: Alignment) -> None:
    """Display the figure in the notebook that runs this, or open it in a browser from a temporary file.

    Raises XmError, naming the file, when no browser can be opened.
    """
    page = html(alignment)
    if _in_notebook():
        frame = (
            f'<iframe title="Alignment" sandbox="allow-scripts" srcdoc="{html_escapes.escape(page)}" '
            f'style="width:100%;height:{FRAME_HEIGHT}px;border:0;resize:vertical"></iframe>'
        )
        ipython_display = sys.modules["IPython.display"]
        ipython_display.display(ipython_display.HTML(frame))
        return
    with tempfile.NamedTemporaryFile("w", suffix=".html", prefix="xm-", delete=False, encoding="utf-8") as file:
        file.write(page)
    if not webbrowser.open(Path(file.name).as_uri()):
        raise XmError(f"no browser could be opened; the figure is in {file.name}: open that file by hand")


def notes(alignment: Alignment) -> list[str]:
    """Return, as plain sentences, what may mislead a reader of this alignment."""
    found = [] if alignment.exact else ["This score is approximate: the passage was read from a compressed index."]
    found += _winner_notes(alignment)
    wins = Counter(alignment.best.tolist())
    n_query = len(alignment.best)
    position, n_won = wins.most_common(1)[0]
    if n_won > LARGE_SHARE * n_query and n_won > 1:
        token = _short(_token_text(alignment.passage, position))
        found.append(f"One passage token, “{token}”, won {n_won} of {n_query} rows ({100 * n_won / n_query:.0f} %).")
    for name, side in (("query", alignment.query), ("passage", alignment.passage)):
        found += _side_notes(name, side)
    return found


def _side(embeddings: TokenEmbeddings, words: tuple[Word, ...]) -> dict[str, object]:
    """Describe one text for the figure."""
    return {
        "text": embeddings.text,
        "dir": _direction(embeddings.text),
        "tokens": list(embeddings.tokens),
        "kinds": list(embeddings.kinds),
        "offsets": embeddings.offsets.tolist(),
        "words": [list(word.token_ids) for word in words],
        "adapter": asdict(embeddings.language),
        "n_unseen": embeddings.n_unseen,
    }


def _winner_notes(alignment: Alignment) -> list[str]:
    """Point out content words whose rows were won by a marker or by punctuation."""
    to_markers, to_punctuation = [], []
    for word in alignment.query_words:
        if word.kind != "content" or not _has_letters(word.text):
            continue
        winners = [int(alignment.best[token_id]) for token_id in word.token_ids]
        if any(alignment.passage.kinds[winner] != "content" for winner in winners):
            to_markers.append(word.text)
        elif any(not _has_letters(_token_text(alignment.passage, winner)) for winner in winners):
            to_punctuation.append(word.text)
    sentences = []
    if to_markers:
        sentences.append(f"A marker, not a word of the passage, won rows of {_listed(to_markers)}.")
    if to_punctuation:
        sentences.append(f"Punctuation won rows of {_listed(to_punctuation)}.")
    return sentences


def _side_notes(name: str, embeddings: TokenEmbeddings) -> list[str]:
    """Point out a text that was cut, and an adapter that was not read from the text or only just."""
    found, language = [], embeddings.language
    if embeddings.n_unseen:
        found.append(f"The {name} is longer than the model reads: {embeddings.n_unseen:,} characters are unseen.")
    if language.source == "inherited":
        found.append(f"The {name}'s language could not be read from its text; adapter {language.code} was inherited.")
    if language.source == "detected" and language.margin < SMALL_MARGIN and language.runner_up:
        found.append(
            f"The {name}'s language was a close call: {language.code} before {language.runner_up} "
            f"by a margin of {language.margin:.2f}."
        )
    return found


def _token_text(embeddings: TokenEmbeddings, token_id: int) -> str:
    """Return the characters a token covers, or its name if it covers none."""
    start, end = embeddings.offsets[token_id].tolist()
    return embeddings.text[start:end] if end > start else embeddings.tokens[token_id]


def _has_letters(text: str) -> bool:
    """Say whether a text holds a letter, a digit or another sign that stands for one."""
    return any(unicodedata.category(char)[0] in "LN" for char in text)


def _listed(words: list[str]) -> str:
    """Quote up to three words and count the rest."""
    quoted = ", ".join(f"“{_short(word)}”" for word in words[:3])
    return quoted if len(words) <= 3 else f"{quoted} and {len(words) - 3} more"


def _short(text: str, n_chars: int = 40) -> str:
    """Cut a text for a sentence, saying how long it was."""
    return text if len(text) <= n_chars else f"{text[:n_chars]}… ({len(text):,} characters)"


def _direction(text: str) -> str:
    """Return the direction most letters of a text are read in: one Latin name does not turn an Arabic passage."""
    directions = Counter(unicodedata.bidirectional(char) for char in text)
    return "rtl" if directions["R"] + directions["AL"] > directions["L"] else "ltr"


def _json_in_html(value: object) -> str:
    """Write JSON that no HTML parser can leave (no `<`) and any encoding can hold (no lone surrogate)."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return re.sub("[<\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)


def _compact(code: str) -> str:
    """Drop indentation and comments that stand on lines of their own: an exported file stays below 100 kB."""
    code = re.sub(r"^\s*/\*.*?\*/\s*?$", "", code, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^\s*(//.*)?\n?", "", code, flags=re.MULTILINE)


def _digest(text: str) -> str:
    """Hash an inline script or style the way a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _in_notebook() -> bool:
    """Say whether a Jupyter kernel runs this: a shell with a kernel, not the terminal's IPython."""
    ipython = sys.modules.get("IPython")
    return "IPython.display" in sys.modules and hasattr(ipython.get_ipython(), "kernel")
