"""The Explain tab: one query, one passage, and where their score comes from.

Opens filled with an example computed beforehand. The figure is drawn in the browser (`assets/alignment.js`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from xm.figures import alignment as figure
from xm.types import Alignment
from xm.ui import verbs, words
from xm.ui.first_screen import Example
from xm.ui.guard import ENCODE, LIGHT, PLUMBING, guarded, notice, on_value, say_waiting, status_box
from xm.ui.parts import adapter_menu, busy, text_box
from xm.ui.shared import Shared


@dataclass(frozen=True)
class ExplainTab:
    """The tab's components that others fill."""

    status: gr.HTML
    figure: gr.HTML
    query: gr.Textbox
    query_adapter: gr.Dropdown
    passage: gr.Textbox
    passage_adapter: gr.Dropdown

    @property
    def adapters(self) -> list[gr.Dropdown]:
        """The menus that follow the model."""
        return [self.query_adapter, self.passage_adapter]

    @property
    def all(self) -> list[Any]:
        """Everything `filled` gives a value for, in its order."""
        return [self.status, self.figure, self.query, self.query_adapter, self.passage, self.passage_adapter]


def tab(shared: Shared, session_id: gr.State, *, examples: tuple[Example, ...], codes: tuple[str, ...]) -> ExplainTab:
    """Lay out the tab and wire its own events."""
    first = examples[0].payload if examples else None
    with gr.Row(elem_classes=["xm-examples"]):
        gr.HTML(f"<span>{words.EXAMPLES}</span>", js_on_load=None)
        buttons = [gr.Button(example.title, size="sm", min_width=60) for example in examples]
    with gr.Row(elem_classes=["xm-pair"]):
        with gr.Column(min_width=280):
            query = text_box(words.QUERY, elem_id="explain-query", lines=2, max_lines=4, placeholder=words.QUERY_HINT)
            query_adapter = adapter_menu(words.QUERY_ADAPTER, codes, elem_id="explain-query-adapter")
        with gr.Column(min_width=280):
            passage = text_box(
                words.PASSAGE, elem_id="explain-passage", lines=2, max_lines=6, placeholder=words.PASSAGE_HINT
            )
            passage_adapter = adapter_menu(words.PASSAGE_ADAPTER, codes, elem_id="explain-passage-adapter")
    go = gr.Button(words.EXPLAIN, variant="primary", elem_id="explain-go", elem_classes=["xm-go"])
    status = status_box("explain-status")
    drawn = gr.HTML(
        first,
        html_template='<div class="xm-figure"></div>',
        js_on_load=on_value("window.XmPage.figure(element.querySelector('.xm-figure'), props.value)"),
        elem_id="explain-figure",
    )
    made = ExplainTab(status, drawn, query, query_adapter, passage, passage_adapter)
    if first is not None:
        filling = (query, query_adapter, passage, passage_adapter)
        for component, value in zip(filling, show_example(examples[0])[2:], strict=True):
            component.value = value
    else:
        status.value = notice(words.NO_EXAMPLES)
    for button, example in zip(buttons, examples, strict=True):
        button.click(guarded(show_example, example, n_outputs=6), None, made.all, **LIGHT, **PLUMBING)
    inputs = [session_id, query, query_adapter, passage, passage_adapter]
    gr.on(
        [go.click, query.submit],
        guarded(explain, shared, n_outputs=2),
        inputs,
        [status, drawn],
        js=say_waiting("explain-status"),
        **ENCODE,
        **PLUMBING,
    )
    return made


def explain(
    shared: Shared, session_id: str, query: str, query_code: str, passage: str, passage_code: str
) -> Iterator[tuple[Any, Any]]:
    """Align what was typed; yield (status, figure)."""
    session = shared.sessions.of(session_id)
    encoder = yield from verbs.encoder_of(shared, session, show=lambda step: (busy(step), gr.skip()))
    yield busy(words.EXPLAINING), gr.skip()
    aligned = verbs.explain_texts(encoder, (query, passage), (query_code, passage_code))
    doubts = verbs.doubts(aligned)
    yield notice(" ".join(doubts), kind="done" if doubts else "idle"), figure.payload(aligned)


def show_example(example: Example) -> tuple[Any, ...]:
    """Fill the tab with an example; the adapters stay those it was computed with."""
    return _fill(example.payload)


def filled(alignment: Alignment) -> tuple[Any, ...]:
    """Make the values that fill the tab with an alignment."""
    return _fill(figure.payload(alignment))


def _fill(payload: dict[str, Any]) -> tuple[Any, ...]:
    """Values for ExplainTab.all."""
    query, passage = payload["query"], payload["passage"]
    return (
        notice(kind="idle"),
        payload,
        query["text"],
        _menu_value(query["adapter"]),
        passage["text"],
        _menu_value(passage["adapter"]),
    )


def _menu_value(adapter: dict[str, Any]) -> str:
    """Leave a detected adapter on "detect", so that the menu still fits after the text is edited."""
    return "auto" if adapter["source"] == "detected" else adapter["code"]
