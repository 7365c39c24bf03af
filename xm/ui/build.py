"""Put the page together and start it.

Each tab brings its own components and events, xm.ui.joins what joins them.
"""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from xm.errors import XmError
from xm.figures import alignment as figure
from xm.options import DEFAULT_MODEL, CorpusLimits, limits_here
from xm.ui import joins, models, words
from xm.ui.api import add_endpoints
from xm.ui.first_screen import Example, read_examples
from xm.ui.session import SessionStore
from xm.ui.shared import ROOT, SAMPLES, SampleShelf, Shared
from xm.ui.tabs import explain, search
from xm.ui.tabs import map as token_map
from xm.ui.warmup import warm_up

if TYPE_CHECKING:
    from xm.encoder import Encoder


def build(
    *,
    model: str | None = None,
    encoder_loader: "Callable[[str], Encoder] | None" = None,
    examples: tuple[Example, ...] | None = None,
    limits: CorpusLimits | None = None,
) -> gr.Blocks:
    """Make the page.

    Args:
        model: checkpoint to start with, by name or folder; None means XM_MODEL or xm-mini.
        encoder_loader: makes an encoder from a model's name; None means `xm.load_encoder`.
        examples: alignments the page opens with; None means those in assets.
        limits: what may be uploaded; None means those of this place (xm.options.limits_here).
    """
    return _build(_share(model, encoder_loader, limits), read_examples() if examples is None else examples)


def launch(host: str | None = None, port: int | None = None, model: str | None = None) -> None:
    """Start the page and stay until it is stopped.

    Args:
        host: address to listen on; None means this machine alone, or every address on a Hugging Face Space.
        port: None means PORT or GRADIO_SERVER_PORT if set, else the first free one from 7860.
        model: as for `build`.

    Raises:
        XmError: the port cannot be used.
    """
    shared, where = _share(model, None, None), address(host, port)
    page = _build(shared, read_examples())
    try:
        page.launch(**launch_options(shared.limits), **where, prevent_thread_lock=True)
    except OSError as error:
        named = f"{where['server_name']}:{where['server_port'] or '7860 to 7959'}"
        raise XmError(words.PORT_TAKEN.format(where=named)) from error
    threading.Thread(target=warm_up, args=(shared,), name="xm-warm-up", daemon=True).start()
    try:
        page.block_thread()
    finally:
        shared.sessions.close()


def address(host: str | None, port: int | None) -> dict[str, Any]:
    """Say where to listen, from what was asked for and the environment."""
    on_space = bool(os.environ.get("SPACE_ID"))
    host = host or os.environ.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if on_space else "127.0.0.1")
    if port is None:
        named = os.environ.get("PORT") or os.environ.get("GRADIO_SERVER_PORT")
        if named and not named.isdecimal():
            raise XmError(words.PORT_BAD.format(port=named))
        port = int(named) if named else None
    return {"server_name": host, "server_port": port}


def launch_options(limits: CorpusLimits) -> dict[str, Any]:
    """Everything Gradio is told at the start: our own look, no request to any host, nothing kept in the browser."""
    return {
        "theme": _theme(),
        "css": figure.stylesheet(),
        "head": _head(limits),
        "ssr_mode": False,
        "run_history": False,
        "enable_monitoring": False,
        "show_error": False,
        "footer_links": ["api"],
        # The reader refuses what is over the limit with a message of its own; Gradio only stops what is far over.
        "max_file_size": 2 * limits.max_bytes,
        "quiet": False,
    }


def _share(model: str | None, encoder_loader: "Callable[[str], Encoder] | None", limits: CorpusLimits | None) -> Shared:
    """Make what all visitors share."""
    model = model or os.environ.get("XM_MODEL") or DEFAULT_MODEL
    return Shared(
        load_encoder=encoder_loader or models.load,
        model=model,
        limits=limits or limits_here(),
        sessions=SessionStore(model=model),
        samples=SampleShelf(),
    )


def _build(shared: Shared, examples: tuple[Example, ...]) -> gr.Blocks:
    """Lay out the page and join its tabs."""
    codes = models.codes_of(shared.model)
    with gr.Blocks(title=words.TITLE, analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        add_endpoints(shared)  # before the tabs, whose handlers would take their names
        session_id = gr.State("", delete_callback=shared.sessions.forget)
        gr.Markdown(f"# {words.TITLE}\n\n{words.LEAD}", elem_id="xm-lead")
        with gr.Tabs(selected="explain", elem_id="xm-tabs") as tabs:
            with gr.Tab(words.EXPLAIN_TAB, id="explain"):
                explaining = explain.tab(shared, session_id, examples=examples, codes=codes)
            with gr.Tab(words.SEARCH_TAB, id="search"):
                searching = search.tab(shared, session_id, codes=codes, samples=_describe_samples())
            with gr.Tab(words.MAP_TAB, id="map") as map_tab:
                mapped = token_map.tab()
        menu = models.panel(shared)
        delete = joins.footer(shared)
        models.wire(shared, session_id, menu, [*explaining.adapters, *searching.adapters])
        joins.hits_open_in_explain(shared, session_id, searching, explaining, tabs)
        joins.map_follows_search(shared, session_id, map_tab, mapped, searching)
        joins.delete_empties_all(shared, session_id, delete, searching, mapped)
        joins.notice_coming_and_going(shared, session_id, page)
    return page


def _describe_samples() -> dict[str, str]:
    """Describe the sample corpora by what is in their files."""
    described = {}
    for key, folder in SAMPLES.items():
        rows = [json.loads(line) for line in (folder / "passages.jsonl").read_text(encoding="utf-8").splitlines()]
        codes = tuple(dict.fromkeys(row["language"] for row in rows))
        described[key] = words.SAMPLE_CHOICE.format(
            title=words.SAMPLE_TITLES[key], n=len(rows), languages=words.languages_of(codes)
        )
    return described


def _theme() -> gr.themes.Base:
    """Gradio's default look with the visitor's system fonts (no font is fetched) and a calmer colour."""
    return gr.themes.Default(
        primary_hue=gr.themes.colors.indigo,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_sm,
        font=["system-ui", "-apple-system", "Segoe UI", "Noto Sans", "sans-serif"],
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"],
    )


def _head(limits: CorpusLimits) -> str:
    """The page's own style and scripts, inline: nothing is fetched.

    The style stands here and not in `css`, whose selectors Gradio rewrites so that they cannot reach its outer frame.
    """
    style = (ROOT / "assets" / "app.css").read_text(encoding="utf-8")
    page_script = (ROOT / "assets" / "page.js").read_text(encoding="utf-8")
    # JSON in a script element: `<` escaped, or a text could end the element.
    message = json.dumps(words.FILE_TOO_LARGE).replace("<", "\\u003c")
    start = f"window.XmPage.limitUploads({limits.max_bytes}, {message});"
    start += f"window.XmPage.mapLibrary = {json.dumps(_map_library())};"
    return f"<style>{style}</style>\n<script>{figure.script()}</script>\n<script>{page_script}\n{start}</script>"


def _map_library() -> str:
    """Where Gradio keeps Plotly, so that the page can fetch it before the map is opened; "" if it moved."""
    assets = Path(gr.__file__).parent / "templates" / "frontend" / "assets"
    return next((f"./assets/{path.name}" for path in assets.glob("PlotlyPlot-*.js")), "")
