"""Draw what was measured: a Plotly figure and a Markdown table for each of them, from the lines of its JSON."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

# Okabe and Ito's, safe for colour-blind readers.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_DASHES = ("solid", "dash", "dot")
_METHODS = {
    "multi_vector": "multi-vector",
    "single_vector": "single-vector twin",
    "bm25": "BM25",
    "hybrid_minmax": "hybrid, min-max",
    "hybrid_rrf": "hybrid, RRF",
}
MEASURE, OTHER = "MRR@10", "R@100"
MEAN = "mean of all sets"


class Chart(NamedTuple):
    """How a figure is drawn.

    title: what is seen. across: the key of a line that tells bars of a set apart, or that a curve runs along; None:
    the methods are the bars. beside: a method drawn beside multi-vector, to tell how hard a set is.
    """

    title: str
    across: str | None
    is_curve: bool = False
    axis: str = ""
    beside: str = ""


CHARTS = {
    "languages": Chart("Multi-vector, single-vector, BM25 and hybrids, language by language", None),
    "efficiency": Chart("Multi-vector after training on more and more English pairs", "n_pairs", True, "English pairs"),
    "added": Chart("Languages added afterwards, and languages that were pretrained", "through", beside="bm25"),
    "across": Chart(
        "Held-out sentences and words of added languages, and their English translations", "through", beside="bm25"
    ),
    "heads": Chart("Multi-vector with heads of 32, 64 and 128 dims", "dim", True, "dims of a token embedding"),
    "masks": Chart("Queries with mask tokens, with masks that other tokens do not see, and without", "masks"),
}


def draw(name: str, lines: Sequence[dict]) -> go.Figure:
    """Draw the figure `name` of CHARTS from its lines, each with file, language and runs (method -> measures)."""
    chart = CHARTS[name]
    figure = go.Figure([_trace(*item, place, chart) for place, item in enumerate(_series(chart, lines).items())])
    largest = max(line.get("n_passages", 0) for line in lines)
    exact = f"exact MaxSim; each question's gold passage among the passages of its set, at most {largest:,}"
    figure.update_layout(
        title={"text": chart.title, "subtitle": {"text": exact}}, template="plotly_white", height=560, barmode="group"
    )
    figure.update_yaxes(title=f"{MEASURE}, 0 to 1", rangemode="tozero")
    if chart.is_curve:
        ticks = sorted({line[chart.across] for line in lines})
        figure.update_xaxes(title=chart.axis, type="log", tickvals=ticks, ticktext=[f"{tick:,}" for tick in ticks])
    return figure


def table(name: str, lines: Sequence[dict]) -> str:
    """Return the numbers of a figure as a Markdown table: a row a set, a column a series or a point of the curves."""
    chart = CHARTS[name]
    series = _series(chart, lines)
    if chart.is_curve:
        places, heads = list(series), sorted(series[MEAN])
        cells = {(place, x): series[place].get(x) for place in places for x in heads}
    else:
        places, heads = [*dict.fromkeys(_place(line) for line in lines), MEAN], list(series)
        means = {head: _means([{"": point} for point in series[head].values()])[""] for head in heads}
        cells = {(place, head): series[head].get(place) for place in places for head in heads}
        cells |= {(MEAN, head): means[head] for head in heads if len(series[head]) == len(places) - 1}
    rows = [[place, *(_cell(cells[place, head]) for head in heads)] for place in places]
    title = [f"{MEASURE} / {OTHER}", *(f"{head:,}" if isinstance(head, int) else str(head) for head in heads)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (title, ["---"] * len(title), *rows))


def _cell(point: dict[str, float] | None) -> str:
    return f"{point[MEASURE]:.3f} / {point[OTHER]:.3f}" if point else ""


def _series(chart: Chart, lines: Sequence[dict]) -> dict[str, dict[object, dict[str, float]]]:
    """Sort the lines into what the chart shows: label -> set, or point of a curve -> measures."""
    series: dict[str, dict[object, dict[str, float]]] = defaultdict(dict)
    for line in lines:
        place, runs = _place(line), line["runs"]
        if chart.is_curve:
            series[place][line[chart.across]] = runs["multi_vector"]
            continue
        if chart.across:
            series[str(line[chart.across])][place] = runs["multi_vector"]
        for method in _METHODS:
            if method in runs and (chart.across is None or method == chart.beside):
                series[_METHODS[method]][place] = runs[method]
    if chart.is_curve:
        series[MEAN] = _means(list(series.values()))
    return series


def _place(line: dict) -> str:
    """Name a set by its language and its source: "fr (piaf)"; through another adapter it is still that set."""
    source, _, language = line["file"].removeprefix("dev.").removesuffix(".jsonl.xz").rpartition(".")
    return f"{language} ({source})"


def _means(curves: Sequence[dict[object, dict[str, float]]]) -> dict[object, dict[str, float]]:
    """Average the curves wherever all of them have a point."""
    shared = set.intersection(*map(set, curves))
    return {
        x: {name: sum(curve[x][name] for curve in curves) / len(curves) for name in (MEASURE, OTHER)} for x in shared
    }


def _trace(label: str, points: dict[object, dict[str, float]], place: int, chart: Chart) -> go.Scatter | go.Bar:
    """One series; the other measure shows when it is pointed at."""
    places = sorted(points) if chart.is_curve else list(points)
    shared = {
        "x": places,
        "y": [points[x][MEASURE] for x in places],
        "text": [f"{OTHER} {points[x][OTHER]:.3f}" for x in places],
        "name": label,
    }
    colour = _COLOURS[place % len(_COLOURS)]
    if not chart.is_curve:
        return go.Bar(**shared, textposition="none", marker_color=colour)
    line = {"color": colour, "dash": _DASHES[place // len(_COLOURS) % len(_DASHES)], "width": 1}
    if label == MEAN:
        line = {"color": "#000000", "width": 4}
    return go.Scatter(**shared, mode="lines+markers", line=line)
