"""The Search tab: choose a corpus, search it, see the hits with their adapters and what each word added.

Leaves out: what happens on a click on a hit (xm.ui.build joins the tabs).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from xm.errors import XmError
from xm.options import CorpusLimits
from xm.search import Cancelled
from xm.ui import verbs, words
from xm.ui.guard import ENCODE, HEAVY, LIGHT, PLUMBING, Notice, guarded, notice, on_value, say_waiting, status_box
from xm.ui.parts import adapter_menu, busy, text_box
from xm.ui.results import results_value
from xm.ui.session import Session
from xm.ui.shared import SAMPLES, Shared

OWN = "upload"


@dataclass(frozen=True)
class SearchTab:
    """The tab's components that others use."""

    status: gr.HTML
    query: gr.Textbox
    adapter: gr.Dropdown
    results: gr.HTML
    corpus_status: gr.HTML
    upload: gr.File
    corpus_language: gr.Dropdown

    @property
    def adapters(self) -> list[gr.Dropdown]:
        """The menus that follow the model."""
        return [self.adapter, self.corpus_language]


@dataclass(frozen=True)
class _CorpusPanel:
    """Where a corpus is chosen."""

    choice: gr.Radio
    own: gr.Column
    upload: gr.File
    language: gr.Dropdown
    use: gr.Button
    cancel: gr.Button
    status: gr.HTML


def tab(shared: Shared, session_id: gr.State, *, codes: tuple[str, ...], samples: dict[str, str]) -> SearchTab:
    """Lay out the tab and wire its own events.

    Args:
        shared: what all visitors share.
        session_id: the visitor's id.
        codes: the checkpoint's adapters.
        samples: the sample corpora by key, described.
    """
    panel = _corpus_panel(shared, codes, samples)
    _wire_panel(shared, session_id, panel)
    with gr.Row(elem_classes=["xm-ask"]):
        query = text_box(
            words.QUERY, elem_id="search-query", value=words.FIRST_QUERY, placeholder=words.SEARCH_HINT, scale=3
        )
        adapter = adapter_menu(words.QUERY_ADAPTER, codes, elem_id="search-query-adapter")
    go = gr.Button(words.SEARCH, variant="primary", elem_id="search-go", elem_classes=["xm-go"])
    status = status_box("search-status")
    results = gr.HTML(
        None,
        html_template='<div class="xm-results"></div>',
        js_on_load=on_value(
            "const list = element.querySelector('.xm-results'); "
            "window.XmPage.results(list, props.value, id => trigger('explain_hit', {id}))"
        ),
        elem_id="search-results",
    )
    gr.on(
        [go.click, query.submit],
        guarded(search, shared, n_outputs=3),
        [session_id, query, adapter],
        [status, panel.status, results],
        js=say_waiting("search-status"),
        **ENCODE,
        **PLUMBING,
    )
    return SearchTab(status, query, adapter, results, panel.status, panel.upload, panel.language)


def _corpus_panel(shared: Shared, codes: tuple[str, ...], samples: dict[str, str]) -> _CorpusPanel:
    """Lay out where a corpus is chosen; the limits are said where a file is."""
    choices = [(description, key) for key, description in samples.items()] + [(words.OWN_FILE, OWN)]
    with gr.Column(elem_classes=["xm-corpus"]):
        choice = gr.Radio(choices, value=words.FIRST_SAMPLE, label=words.CORPUS, elem_id="search-corpus")
        with gr.Column(visible=False) as own:
            gr.Markdown(limits_text(shared.limits, shared.sessions.ttl_seconds))
            with gr.Row():
                upload = gr.File(label=words.UPLOAD, elem_id="search-upload", height=140, min_width=260)
                language = adapter_menu(words.CORPUS_LANGUAGE, codes, elem_id="search-corpus-language")
        with gr.Row():
            use = gr.Button(words.USE_CORPUS, elem_id="search-use", elem_classes=["xm-go"])
            cancel = gr.Button(words.CANCEL, elem_id="search-cancel", elem_classes=["xm-go"])
        status = status_box("search-corpus-status")
        status.value = notice(words.FIRST_CORPUS.format(corpus=samples[words.FIRST_SAMPLE]))
    return _CorpusPanel(choice, own, upload, language, use, cancel, status)


def _wire_panel(shared: Shared, session_id: gr.State, panel: _CorpusPanel) -> None:
    """Wire what happens around the corpus."""
    panel.choice.change(show_upload, panel.choice, panel.own, **LIGHT, **PLUMBING)
    # Two steps: a build may wait for another visitor's, and can be cancelled while it does.
    begun = panel.use.click(guarded(begin, shared, n_outputs=1), session_id, panel.status, **LIGHT, **PLUMBING)
    begun.then(
        guarded(use_corpus, shared, n_outputs=1),
        [session_id, panel.choice, panel.upload, panel.language],
        panel.status,
        **HEAVY,
        **PLUMBING,
    )
    panel.cancel.click(guarded(cancel_build, shared, n_outputs=1), session_id, panel.status, **LIGHT, **PLUMBING)


def show_upload(choice: str) -> Any:
    """Show the upload only where it is chosen."""
    return gr.update(visible=choice == OWN)


def begin(shared: Shared, session_id: str) -> Notice:
    """Say that a build is asked for; from now on Cancel means this one."""
    shared.sessions.of(session_id).cancel.clear()
    return notice(words.WAITING, kind="busy")


def use_corpus(shared: Shared, session_id: str, choice: str, path: str | None, language: str) -> Iterator[Notice]:
    """Index a sample or the visitor's file; yield progress, then what is searched now and what the reader noted."""
    session = shared.sessions.of(session_id)
    try:
        if choice == OWN:
            yield from verbs.use_upload(shared, session, path, language, show=busy)
        elif choice in SAMPLES:
            yield from verbs.use_sample(shared, session, choice, show=busy, cancel=session.cancel)
        else:
            raise XmError(words.UNKNOWN_CORPUS.format(key=choice, known=", ".join([*SAMPLES, OWN])))
    except Cancelled:
        yield notice(words.sentences(words.CANCELLED, former(session)))
        return
    except XmError as error:
        raise type(error)(words.sentences(str(error), former(session))) from error
    yield notice(now_searching(session), notes=session.searcher.index.corpus.notes)


def cancel_build(shared: Shared, session_id: str) -> Notice:
    """Ask the visitor's running build to stop; it says itself when it has."""
    session = shared.sessions.of(session_id)
    session.cancel.set()
    return notice(words.CANCELLING, kind="busy")


def search(shared: Shared, session_id: str, query: str, adapter: str) -> Iterator[tuple[Any, Any, Any]]:
    """Search the visitor's corpus; yield (status, corpus status, results)."""
    session = shared.sessions.of(session_id)
    new = session.searcher is None
    try:
        result = yield from verbs.search(
            shared, session, query, adapter, show=lambda step: (busy(step), gr.skip(), gr.skip())
        )
    except Cancelled:
        yield notice(words.sentences(words.CANCELLED, former(session))), gr.skip(), gr.skip()
        return
    now = notice(now_searching(session)) if new else gr.skip()
    yield notice(kind="idle"), now, results_value(session.searcher, result)


def limits_text(limits: CorpusLimits, ttl_seconds: float) -> str:
    """Say what may be uploaded, before anybody does."""
    return words.UPLOAD_LIMITS.format(
        megabytes=limits.max_bytes / 1e6,
        passages=limits.max_passages,
        words=limits.max_words,
        minutes=ttl_seconds / 60,
    )


def now_searching(session: Session) -> str:
    """Say what the visitor searches."""
    index = session.searcher.index
    return words.NOW_SEARCHING.format(
        corpus=title_of(session),
        passages=index.n_passages,
        tokens=index.n_tokens,
        languages=words.languages_of(index.corpus.languages),
        model=index.model,
    )


def former(session: Session) -> str:
    """Say that what was searched before still is; nothing if the model changed under the visitor's file."""
    if session.searcher is None and session.own:
        return ""
    return words.FORMER_KEPT.format(corpus=title_of(session))


def title_of(session: Session) -> str:
    """Name what the visitor searches: a sample by its title, a file by its name."""
    if session.own and session.searcher is not None:
        return session.searcher.index.corpus.name
    return words.SAMPLE_TITLES[session.corpus_key or words.FIRST_SAMPLE]
