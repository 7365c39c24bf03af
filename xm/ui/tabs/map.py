"""The Map tab: token embeddings of the last query, its hits and a sample of the corpus in two dimensions.

PCA is shown at once, UMAP when it is ready. Leaves out: the drawing (xm.figures.token_map).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from xm.figures import token_map as figure
from xm.options import MapOptions
from xm.search import Cancelled
from xm.token_map import Method, build_map
from xm.types import Alignment, TokenMap
from xm.ui import verbs, words
from xm.ui.guard import notice, status_box
from xm.ui.parts import busy
from xm.ui.session import Session
from xm.ui.shared import Shared

OPTIONS = MapOptions()


@dataclass(frozen=True)
class MapTab:
    """The tab's components that others use."""

    colour: gr.Radio
    status: gr.HTML
    plot: gr.Plot


def tab() -> MapTab:
    """Lay out the tab; xm.ui.build wires it, for it draws the last search."""
    gr.Markdown(words.MAP_LEAD)
    colour = gr.Radio(
        [(title, key) for key, title in words.COLOURS.items()],
        value="passage",
        label=words.COLOUR_BY,
        elem_id="map-colour",
    )
    status = status_box("map-status")
    plot = gr.Plot(show_label=False, container=False, elem_id="map-plot")
    return MapTab(colour, status, plot)


def draw(shared: Shared, session_id: str, colour_by: str, query: str, adapter: str) -> Iterator[tuple[Any, Any]]:
    """Draw the map of the last search (of the query in the Search tab if there was none); yield (status, plot)."""
    session = shared.sessions.of(session_id)
    yield notice(words.MAP_WAITING, kind="busy"), gr.skip()
    try:
        if session.result is None:
            yield from verbs.search(shared, session, query, adapter, show=lambda step: (busy(step), gr.skip()))
        pinned = session.alignment or verbs.top_alignment(session)
        show = partial(_drawn, colour_by=colour_by, pinned=pinned)
        if "umap" not in session.maps:
            first = map_of(session, "pca")
            yield notice(words.MAP_PCA, kind="busy"), show(first)
        laid_out = map_of(session, "umap")
    except Cancelled:
        yield notice(words.CANCELLED), gr.skip()
        return
    yield notice(caption(laid_out, pinned)), show(laid_out)


def map_of(session: Session, method: Method) -> TokenMap:
    """Lay out the last search's tokens, once per search and method."""
    if method not in session.maps:
        result = session.result
        passage_ids = [hit.passage_id for hit in result.hits]
        session.maps[method] = build_map(
            session.searcher.index, result.query, passage_ids, options=OPTIONS, method=method
        )
    return session.maps[method]


def caption(token_map: TokenMap, pinned: Alignment) -> str:
    """Say what is drawn: how many tokens of how many, by which method and seed, and what the lines are."""
    n_drawn = len(token_map.tokens)
    return words.MAP_CAPTION.format(
        method=words.METHODS[token_map.method],
        seed=token_map.seed,
        drawn=n_drawn,
        total=token_map.n_corpus_tokens,
        passage_id=pinned.passage_id,
    )


def _drawn(token_map: TokenMap, *, colour_by: str, pinned: Alignment) -> Any:
    """Draw a map with the links of the pinned pair."""
    return figure.figure(token_map, colour_by=colour_by, alignment=pinned)
