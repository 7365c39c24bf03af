"""Pieces that more than one tab uses: adapter menus, text boxes that follow their text's direction, progress notices.

Leaves out: anything that handles an event.
"""

from typing import Any

import gradio as gr

from xm.languages import LANGUAGES
from xm.ui import words
from xm.ui.guard import Notice, notice


def adapter_choices(codes: tuple[str, ...]) -> list[tuple[str, str]]:
    """List a checkpoint's adapters by English name, "detect" first; those that cannot be detected say so."""
    known = sorted((LANGUAGES[code] for code in codes if code in LANGUAGES), key=lambda language: language.name)
    labels = [
        (
            (words.DETECTABLE if language.detectable or language.by_script else words.BY_HAND).format(
                name=language.name, code=language.code
            )
        )
        for language in known
    ]
    return [(words.AUTO, "auto"), *zip(labels, [language.code for language in known], strict=True)]


def adapter_menu(label: str, codes: tuple[str, ...], *, elem_id: str) -> gr.Dropdown:
    """Make a menu of adapters."""
    return gr.Dropdown(adapter_choices(codes), value="auto", label=label, elem_id=elem_id, min_width=200)


def text_box(label: str, *, elem_id: str, **options: Any) -> gr.Textbox:
    """Make a text box whose text runs in its own direction (CSS: unicode-bidi plaintext)."""
    return gr.Textbox(label=label, elem_id=elem_id, elem_classes=["xm-text"], **options)


def busy(step: Any) -> Notice:
    """Make a status box's notice from a progress report or a line of text."""
    text, fraction = words.progress(step)
    return notice(text, kind="busy", fraction=fraction)
