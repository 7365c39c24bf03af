"""What joins the tabs: a hit opens its alignment, the map follows the last search, "Delete my data" empties them all.

Leaves out: events within one tab (each tab wires its own).
"""

import os
from typing import Any

import gradio as gr

from xm.ui import verbs, words
from xm.ui.guard import HEAVY, LIGHT, PLUMBING, guarded, notice, say_waiting
from xm.ui.shared import Shared
from xm.ui.tabs import explain
from xm.ui.tabs import map as token_map
from xm.ui.tabs.explain import ExplainTab
from xm.ui.tabs.map import MapTab
from xm.ui.tabs.search import SearchTab


def hits_open_in_explain(
    shared: Shared, session_id: gr.State, searching: SearchTab, explaining: ExplainTab, tabs: gr.Tabs
) -> None:
    """Let a click on a hit show its alignment in the first tab."""
    opened = searching.results.explain_hit(
        guarded(open_hit, shared, n_outputs=8),
        session_id,
        [searching.status, tabs, *explaining.all],
        **LIGHT,
        **PLUMBING,
    )
    opened.success(None, js="() => window.XmPage.toFigure()", **PLUMBING)


def map_follows_search(
    shared: Shared, session_id: gr.State, map_tab: gr.Tab, mapped: MapTab, searching: SearchTab
) -> None:
    """Draw the map when its tab is opened or its colours change."""
    gr.on(
        [map_tab.select, mapped.colour.change],
        guarded(token_map.draw, shared, n_outputs=2),
        [session_id, mapped.colour, searching.query, searching.adapter],
        [mapped.status, mapped.plot],
        js=say_waiting("map-status"),
        **HEAVY,
        **PLUMBING,
    )


def delete_empties_all(
    shared: Shared, session_id: gr.State, delete: gr.Button, searching: SearchTab, mapped: MapTab
) -> None:
    """Empty what shows the visitor's data when it is deleted."""
    shown = [searching.corpus_status, searching.status, searching.results, searching.upload, mapped.status, mapped.plot]
    delete.click(guarded(delete_data, shared, n_outputs=6), session_id, shown, **LIGHT, **PLUMBING)


def notice_coming_and_going(shared: Shared, session_id: gr.State, page: gr.Blocks) -> None:
    """Give each page its session when it opens, and end it soon after it closes."""
    page.load(guarded(enter, shared, n_outputs=1), None, session_id, **LIGHT, **PLUMBING)
    page.unload(guarded(leave, shared, n_outputs=0))


def footer(shared: Shared) -> gr.Button:
    """Say where texts go, and let a visitor delete theirs."""
    minutes = shared.sessions.ttl_seconds / 60
    text = words.PRIVATE_SPACE.format(minutes=minutes) if os.environ.get("SPACE_ID") else words.PRIVATE_LOCAL
    with gr.Row(elem_id="xm-footer"):
        gr.Markdown(text)
        return gr.Button(words.DELETE, size="sm", elem_id="xm-delete", min_width=140, scale=0)


def open_hit(shared: Shared, session_id: str, event: gr.EventData) -> tuple[Any, ...]:
    """Align the last query with the hit that was clicked; return (search status, tabs, what fills the first tab)."""
    passage_id = str((event._data or {}).get("id", ""))
    aligned = verbs.explain_hit(shared.sessions.of(session_id), passage_id)
    return (notice(kind="idle"), gr.Tabs(selected="explain"), *explain.filled(aligned))


def delete_data(shared: Shared, session_id: str) -> tuple[Any, ...]:
    """Delete everything of this visitor's, on the server and on the page."""
    shared.sessions.forget(session_id)
    return notice(words.DELETED), notice(kind="idle"), None, None, notice(kind="idle"), None


def enter(shared: Shared, request: gr.Request) -> str:
    """Give a page that was opened an id of its own."""
    shared.visited.set()
    return shared.sessions.enter(request.session_hash or "")


def leave(shared: Shared, request: gr.Request) -> None:
    """Note that a page was closed."""
    shared.sessions.leave(request.session_hash or "")
