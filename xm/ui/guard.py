"""Stand between the page and its handlers: XmError becomes a message beside the control, anything else stays loud.

Also holds what every listener needs: who waits for whom, and the status box the messages appear in.
Leaves out: the words of the messages (each XmError brings its own).
"""

import inspect
import json
import typing
from collections.abc import Callable, Iterator
from typing import Any, Literal

import gradio as gr

from xm.errors import XmError
from xm.ui import words

Notice = dict[str, Any]

# Two cores: one build or map at a time, and beside it one query or pair, which takes milliseconds. The encoder's own
# lock keeps them from computing at once; a visitor who only reads waits for nobody.
HEAVY: dict[str, Any] = {"concurrency_id": "heavy", "concurrency_limit": 1}
ENCODE: dict[str, Any] = {"concurrency_id": "encode", "concurrency_limit": 1}
LIGHT: dict[str, Any] = {"concurrency_limit": None}
# Plumbing between the page and its handlers is no API; the named endpoints are in xm.ui.api.
PLUMBING: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def notice(
    text: str = "",
    *,
    kind: Literal["idle", "busy", "done", "error"] = "done",
    notes: tuple[str, ...] = (),
    fraction: float | None = None,
) -> Notice:
    """Make the value of a status box. `fraction` (0 to 1) draws a progress bar; `notes` become a list below."""
    return {"kind": kind, "text": text, "notes": list(notes), "fraction": fraction}


def status_box(elem_id: str) -> gr.HTML:
    """Make a place for messages: static template, text set by textContent, errors announced to screen readers."""
    return gr.HTML(
        notice(kind="idle"),
        html_template='<div class="xm-status" role="status" aria-live="polite"></div>',
        # `say` lets the browser put a line here through the value, so that any answer differs from it and is drawn.
        js_on_load=on_value("window.XmPage.status(element.querySelector('.xm-status'), props.value)")
        + "\nelement.say = (value) => { props.value = value; setTimeout(draw); };",
        elem_id=elem_id,
        elem_classes=["xm-status-box"],
    )


def say_waiting(elem_id: str) -> str:
    """JavaScript for an event that may stand in a queue: say so in a status box at once, and pass the inputs on."""
    return f"(...inputs) => {{ window.XmPage.waiting('{elem_id}', {json.dumps(words.WAITING)}); return inputs; }}"


def on_value(javascript: str) -> str:
    """Run a line of JavaScript when a gr.HTML appears and whenever its value changes.

    Values never go through Gradio's templates: those evaluate `${...}` found in the data.
    """
    return f"const draw = () => {{ {javascript}; }};\nwatch('value', draw);\ndraw();"


def guarded(handler: Callable, *bound: object, n_outputs: int) -> Callable:
    """Bind a handler's first arguments and show its XmErrors in its first output, leaving the others as they are.

    Args:
        handler: a function or generator whose first output is a status box's notice.
        *bound: values for its first parameters.
        n_outputs: how many outputs it has, the status included.
    """

    def on_error(error: XmError) -> Any:
        shown = notice(str(error), kind="error")
        return shown if n_outputs == 1 else (shown, *[gr.skip()] * (n_outputs - 1))

    def call(*args: Any) -> Any:
        try:
            return handler(*bound, *args)
        except XmError as error:
            return on_error(error)

    def stream(*args: Any) -> Iterator[Any]:
        try:
            yield from handler(*bound, *args)
        except XmError as error:
            yield on_error(error)

    wrapper = stream if inspect.isgeneratorfunction(handler) else call
    # Gradio reads the signature to count inputs and to find gr.Request and gr.EventData.
    left = list(inspect.signature(handler).parameters.values())[len(bound) :]
    hints = typing.get_type_hints(handler)
    wrapper.__signature__ = inspect.Signature(left)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: hints[p.name] for p in left if p.name in hints}
    wrapper.__name__ = handler.__name__
    wrapper.__doc__ = handler.__doc__
    return wrapper
