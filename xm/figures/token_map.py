"""The token map as a Plotly figure: the tokens of a query, its hits and a sample of the corpus in two dimensions.

Leaves out: the layout (xm.token_map computes it) and Plotly's own settings, such as the logo, which a page chooses.
"""

import html
import re
from collections.abc import Sequence
from typing import Literal

import plotly.graph_objects as go

from xm.types import Alignment, TokenMap

ColourBy = Literal["passage", "language", "kind"]
Link = tuple[int, int, float]

MAX_SVG_POINTS = 5_000  # SVG draws so many in 0.4 s (gradio-facts, c-2); WebGL is kept for more: not all have it
HEIGHT = 640  # pixels
# Middle tones that stand out from white and from near-black; no two that a red-green blind reader confuses stand
# side by side, and a second round through them has another symbol.
COLOURS = "#3b82c4 #c266a8 #2a9d6f #c9a227 #8b6fc9 #5bb8d6 #d1495b #7a9a3a #a0715a".split()
SYMBOLS = ("circle", "square", "triangle-up", "cross", "star", "hexagon", "pentagon", "x", "hourglass")
GREY = "#9aa3af"
LINK = "#e8590c"  # of the query and its links, unlike every passage
FONT = "#767d88"  # in the middle: about 4 to 1 on white as on near-black, since a figure cannot know the page's theme

_METHODS = {
    "pca": ("PCA", "exact projection on two directions"),
    "umap": ("UMAP", "approximate: only neighbourhoods are kept"),
}


def figure(
    token_map: TokenMap,
    *,
    colour_by: ColourBy = "passage",
    links: Sequence[Link] | None = None,
    alignment: Alignment | None = None,
) -> go.Figure:
    """Draw a token map; hovering a point shows its token, context, passage id and language.

    Args:
        token_map: positions and texts.
        colour_by: what colours a point; by passage, the corpus sample stays grey.
        links: (query point, passage point, cosine in [-1, 1]) to join by lines, points numbered as in the map.
        alignment: its MaxSim links are drawn if no links are given.
    """
    if links is None and alignment is not None:
        links = links_of(token_map, alignment)
    drawn = _link_traces(token_map, links or ()) + _passage_traces(token_map, colour_by)
    drawn += _query_traces(token_map, colour_by)
    return go.Figure(data=drawn, layout=_layout(token_map))


def links_of(token_map: TokenMap, alignment: Alignment) -> list[Link]:
    """Find the points of each query token and its best passage token; pairs the map does not show are left out."""
    owners = zip(token_map.passage_ids, token_map.token_indices, strict=True)
    points = {owner: point for point, owner in enumerate(owners)}
    pairs = enumerate(zip(alignment.best.tolist(), alignment.contribution.tolist(), strict=True))
    found = [(points.get(("", q)), points.get((alignment.passage_id, p)), cosine) for q, (p, cosine) in pairs]
    return [(start, end, cosine) for start, end, cosine in found if start is not None and end is not None]


def _layout(token_map: TokenMap) -> go.Layout:
    """Say how the map was made; no axis numbers, for they mean nothing; transparent, for the page may be dark."""
    name, exactness = _METHODS[token_map.method]
    n_shown = sum(passage_id != "" for passage_id in token_map.passage_ids)
    counted = f"{n_shown:,} of {token_map.n_corpus_tokens:,} corpus tokens"
    hidden = {"visible": False, "type": "linear"}
    return go.Layout(
        title={
            "text": f"Token map · {name}, seed {token_map.seed}",
            "subtitle": {"text": f"{counted}<br>{exactness}", "font": {"size": 12, "color": FONT}},
            "x": 0.01,
            "xanchor": "left",
            "font": {"size": 16},
        },
        template="none",
        font={"color": FONT, "family": "system-ui, sans-serif", "size": 13},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        height=HEIGHT,
        margin={"l": 8, "r": 8, "t": 92, "b": 8},
        xaxis=hidden,
        yaxis=hidden,  # stretched to the room there is: distances mean little, and one stray token would waste it
        hovermode="closest",
        hoverlabel={"align": "left"},
        dragmode="pan",
        legend={"orientation": "h", "itemsizing": "constant", "y": 0, "yanchor": "top"},
        uirevision=f"{token_map.method} {token_map.seed}",
    )


def _link_traces(token_map: TokenMap, links: Sequence[Link]) -> list[go.Scatter]:
    """One trace of lines, and one of their middles, where a pointer finds the pair and its similarity."""
    if not links:
        return []
    xy = token_map.xy.tolist()
    ends = [(xy[start], xy[end]) for start, end, _ in links]
    lines = go.Scatter(
        x=[x for start, end in ends for x in (start[0], end[0], None)],
        y=[y for start, end in ends for y in (start[1], end[1], None)],
        mode="lines",
        line={"color": LINK, "width": 1.2},
        opacity=0.6,
        hoverinfo="skip",
        name=f"MaxSim links ({len(links)})",
    )
    texts = [
        f"“{_plain(token_map.tokens[start])}” → “{_plain(token_map.tokens[end])}” {cosine:.2f}"
        for start, end, cosine in links
    ]
    middles = go.Scatter(
        x=[(start[0] + end[0]) / 2 for start, end in ends],
        y=[(start[1] + end[1]) / 2 for start, end in ends],
        mode="markers",
        marker={"color": LINK, "size": 5, "opacity": 0.5},
        hovertext=texts,
        hoverinfo="text",
        showlegend=False,
    )
    return [lines, middles]


def _passage_traces(token_map: TokenMap, colour_by: ColourBy) -> list[go.Scatter | go.Scattergl]:
    """The corpus sample behind, then the hits: one trace a colour, so that the legend can hide it."""
    n_tokens = len(token_map.tokens)
    first_sampled = n_tokens - token_map.n_sample
    keys = _keys(token_map, colour_by)
    looks = _looks(token_map, keys)
    groups: dict[tuple[bool, str], list[int]] = {}
    for point, passage_id in enumerate(token_map.passage_ids):
        if passage_id:
            sampled = point >= first_sampled
            key = "corpus sample" if sampled and colour_by == "passage" else keys[point]
            groups.setdefault((not sampled, key), []).append(point)
    traces = []
    for (of_a_hit, key), points in sorted(groups.items(), key=lambda item: item[0][0]):
        colour, symbol = looks.get(key, (GREY, "circle")) if of_a_hit or colour_by != "passage" else (GREY, "circle")
        size, opacity = (8, 0.9) if of_a_hit else (4, 0.45)
        marker = {"color": colour, "symbol": symbol, "size": size, "opacity": opacity}
        trace = _points(token_map, points, marker, key)
        alone = of_a_hit or (True, key) not in groups
        traces.append(trace.update(legendgroup=_plain(key), showlegend=alone))
    return traces


def _query_traces(token_map: TokenMap, colour_by: ColourBy) -> list[go.Scatter | go.Scattergl]:
    """The query's tokens as diamonds, in front of everything."""
    points = [point for point, passage_id in enumerate(token_map.passage_ids) if not passage_id]
    if not points:
        return []
    keys = _keys(token_map, colour_by)
    looks = _looks(token_map, keys)
    colours = [looks[keys[point]][0] if colour_by != "passage" else LINK for point in points]
    marker = {"color": colours, "symbol": "diamond", "size": 12, "line": {"color": FONT, "width": 1.5}}
    return [_points(token_map, points, marker, "query")]


def _points(token_map: TokenMap, points: list[int], marker: dict[str, object], name: str) -> go.Scatter | go.Scattergl:
    """Draw some points of the map as one trace."""
    kind = go.Scattergl if len(token_map.tokens) > MAX_SVG_POINTS else go.Scatter
    return kind(
        x=token_map.xy[points, 0].tolist(),
        y=token_map.xy[points, 1].tolist(),
        mode="markers",
        marker=marker,
        hovertext=[_hover(token_map, point) for point in points],
        hoverinfo="text",
        name=_plain(name),
    )


def _keys(token_map: TokenMap, colour_by: ColourBy) -> tuple[str, ...]:
    """What each point is coloured by."""
    return {"passage": token_map.passage_ids, "language": token_map.languages, "kind": token_map.kinds}[colour_by]


def _looks(token_map: TokenMap, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Give each key a colour and a symbol, in order of appearance: a hit keeps its colour when the sample changes."""
    found = list(dict.fromkeys(key for key in keys if key))
    return {key: (COLOURS[i % len(COLOURS)], SYMBOLS[i // len(COLOURS) % len(SYMBOLS)]) for i, key in enumerate(found)}


def _hover(token_map: TokenMap, point: int) -> str:
    """What a point says: its token, the text around it, where it is from."""
    origin = token_map.passage_ids[point] or "query"
    lines = [f"<b>{_plain(token_map.tokens[point])}</b>", _plain(token_map.contexts[point], n_chars=120)]
    lines.append(f"{_plain(origin)} · {_plain(token_map.languages[point])} · {token_map.kinds[point]}")
    return "<br>".join(line for line in lines if line)


def _plain(text: str, n_chars: int = 40) -> str:
    """Make a text that Plotly shows as it is: it reads tags and entities, and its JSON holds no lone surrogate."""
    shown = text if len(text) <= n_chars else f"{text[:n_chars]}… ({len(text):,} characters)"
    visible = re.sub(r"[\x00-\x1f\x7f]", " ", shown).encode("utf-8", "replace").decode("utf-8")
    return html.escape(visible, quote=False)
