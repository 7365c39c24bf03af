"""The model menu: what each checkpoint is and weighs, said before anything of it is read or downloaded.

A name typed in the address bar or in a form loads nothing: the menu offers the checkpoints XM Lens knows and the one
the page was started with.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from xm.encoder import inspect_checkpoint, known_models
from xm.errors import XmError
from xm.languages import LANGUAGES
from xm.options import DEFAULT_MODEL
from xm.ui import words
from xm.ui.guard import HEAVY, LIGHT, PLUMBING, Notice, guarded, notice, status_box
from xm.ui.parts import adapter_choices
from xm.ui.shared import Shared

if TYPE_CHECKING:
    from xm.encoder import Encoder


@dataclass(frozen=True)
class ModelMenu:
    """The menu's components."""

    choice: gr.Dropdown
    facts: gr.HTML
    use: gr.Button
    status: gr.HTML


def load(model: str) -> "Encoder":
    """Load an encoder; torch is imported here at the earliest."""
    from xm.encoder import load_encoder

    return load_encoder(model)


def codes_of(model: str) -> tuple[str, ...]:
    """Return the adapters of a checkpoint on this machine; all of XMOD's if it is elsewhere, damaged or has none.

    A damaged one says so when it is first used, beside the control that used it.
    """
    if model != DEFAULT_MODEL and not Path(model).is_dir():
        return tuple(LANGUAGES)
    try:
        return inspect_checkpoint(model).languages or tuple(LANGUAGES)
    except XmError:
        return tuple(LANGUAGES)


def panel(shared: Shared) -> ModelMenu:
    """Lay out the menu, closed."""
    names = [known.name for known in known_models()]
    if shared.model not in names:
        names.append(shared.model)
    with gr.Accordion(words.MODEL_TITLE, open=False, elem_id="xm-model"):
        with gr.Row():
            choice = gr.Dropdown(names, value=shared.model, label=words.MODEL_CHOICE, elem_id="model-choice")
            use = gr.Button(words.MODEL_USE, elem_id="model-use", scale=0, min_width=220)
        facts = status_box("model-facts")
        facts.value = notice(facts_of(shared.model))
        status = status_box("model-status")
    return ModelMenu(choice, facts, use, status)


def wire(shared: Shared, session_id: gr.State, menu: ModelMenu, adapters: list[gr.Dropdown]) -> None:
    """Wire the menu's events; `adapters` follow the chosen checkpoint."""
    menu.choice.change(guarded(describe, n_outputs=2), menu.choice, [menu.facts, menu.use], **LIGHT, **PLUMBING)
    menu.use.click(
        guarded(use_model, shared, n_outputs=1 + len(adapters)),
        [session_id, menu.choice],
        [menu.status, *adapters],
        **HEAVY,
        **PLUMBING,
    )


def describe(model: str) -> tuple[Notice, Any]:
    """Say what a checkpoint is, and on the button what a press would cost."""
    known = {each.name: each for each in known_models()}.get(model)
    download = known is not None and known.name != DEFAULT_MODEL
    label = words.MODEL_DOWNLOAD.format(size=words.size(known.n_bytes)) if download else words.MODEL_USE
    return notice(facts_of(model)), gr.update(value=label)


def facts_of(model: str) -> str:
    """Write a checkpoint's size, licence, dimensions and adapters from what is known without its weights."""
    known = {each.name: each for each in known_models()}.get(model)
    if known is None:
        return words.MODEL_OTHER.format(model=model)
    return words.MODEL_FACTS.format(
        size=words.size(known.n_bytes),
        licence=known.licence,
        dim=known.dim,
        languages=known.n_languages,
        note=known.note,
    )


def use_model(shared: Shared, session_id: str, model: str) -> Iterator[tuple[Any, ...]]:
    """Load a checkpoint (downloading it if need be) and make it the visitor's; yield (status, adapter menus)."""
    session = shared.sessions.of(session_id)
    n_menus = 4
    if model not in {shared.model, *(known.name for known in known_models())}:
        raise XmError(words.UNKNOWN_MODEL.format(model=model))
    yield notice(words.LOADING_MODEL.format(model=model), kind="busy"), *[gr.skip()] * n_menus
    encoder = shared.load_encoder(model)
    again = ""
    if session.model != model:
        session.model = model
        if session.searcher is not None:
            session.drop_index()
            again = words.MODEL_AGAIN
    ready = words.MODEL_READY.format(
        model=model,
        dim=encoder.dim,
        languages=len(encoder.languages),
        precision=encoder.precision,
        again=again,
    )
    choices = adapter_choices(encoder.languages or tuple(LANGUAGES))
    yield notice(ready), *[gr.update(choices=choices, value="auto")] * n_menus
