"""What training a language's adapter changed, as a Plotly figure: losses, and how far each token's embedding moved.

Leaves out: the training (xm.train) and Plotly's own settings, such as the logo, which a page chooses.
"""

import html
import re

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from xm.types import LanguageChange

NEW, FORMER = "#3b82c4", "#e8590c"  # the new adapter; the nearest language's
AXIS = {"masked": "MLM loss, nats", "ranking": "divergence from BM25, nats"}
MEASURED = {"masked": "masked pieces of held-out text", "ranking": "divergence from BM25's ranking of held-out text"}
FONT = "#767d88"  # about 4 to 1 on white as on near-black, since a figure cannot know the page's theme
_LOSS_HEIGHT, _ROW_HEIGHT = 300, 100  # pixels


def figure(change: LanguageChange) -> go.Figure:
    """Draw the loss per step beside the nearest language's adapter, and a row of tokens for each sentence.

    A token's colour is the cosine of its embedding with the one the nearest adapter gave: 1 is unmoved.
    """
    n_rows = len(change.tokens)
    heights = [_LOSS_HEIGHT, *[_ROW_HEIGHT] * n_rows]
    drawn = make_subplots(rows=1 + n_rows, cols=1, row_heights=heights, vertical_spacing=0.6 / (2 + n_rows))
    for trace in _loss_traces(change):
        drawn.add_trace(trace, row=1, col=1)
    for row, (tokens, cosines) in enumerate(zip(change.tokens, change.cosines, strict=True), 2):
        drawn.add_trace(_tokens(tokens, cosines.tolist()), row=row, col=1)
        places = list(range(len(tokens)))
        drawn.update_xaxes(tickvals=places, ticktext=[_plain(token) for token in tokens], tickangle=-90, row=row, col=1)
        drawn.update_yaxes(visible=False, row=row, col=1)
    drawn.update_xaxes(title={"text": "step", "standoff": 4}, row=1, col=1)
    drawn.update_yaxes(title=AXIS[change.task], row=1, col=1)
    return drawn.update_layout(_layout(change, sum(heights)))


def _loss_traces(change: LanguageChange) -> list[go.Scatter]:
    """The loss of each step, and on held-out text the two adapters before and after training."""
    steps = list(range(1, len(change.losses) + 1))
    last = len(steps)
    nearest = f"{change.nearest}, untrained, held-out text: {change.before:.2f}"
    after = f"{change.code}, trained, held-out text: {change.after:.2f}"
    line = {"mode": "lines", "line": {"color": NEW, "width": 1}}
    return [
        go.Scatter(x=steps, y=change.losses.tolist(), connectgaps=True, name="training", **line),
        go.Scatter(
            x=[0, last], y=[change.before] * 2, mode="lines", name=nearest, line={"color": FORMER, "dash": "dash"}
        ),
        go.Scatter(x=[last], y=[change.after], mode="markers", name=after, marker={"color": NEW, "size": 10}),
    ]


def _tokens(tokens: tuple[str, ...], cosines: list[float]) -> go.Heatmap:
    """One sentence; positions are numbers, since tokens repeat."""
    hovers = [f"“{_plain(token)}” cosine {cosine:.3f}" for token, cosine in zip(tokens, cosines, strict=True)]
    return go.Heatmap(z=[cosines], hovertext=[hovers], hoverinfo="text", coloraxis="coloraxis", xgap=1)


def _layout(change: LanguageChange, height: int) -> go.Layout:
    """One colour scale for all sentences, from the token that moved most."""
    lowest = min((float(cosines.min()) for cosines in change.cosines), default=0.0)
    said = f"{MEASURED[change.task]}: {change.before:.2f} nats through {change.nearest}, {change.after:.2f} after"
    if change.found:
        said += "<br>held-out sentences that find their translation first: {:.0%}, {:.0%} after".format(*change.found)
    return go.Layout(
        title={
            "text": f"What the adapter {change.code} learned",
            "subtitle": {"text": f"{said}<br>below: cosine of each token's embedding before and after"},
            "x": 0.01,
        },
        template="none",
        font={"color": FONT, "family": "system-ui, sans-serif", "size": 13},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        height=height + 220,
        margin={"l": 64, "r": 24, "t": 160, "b": 70},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom"},
        coloraxis={"colorscale": "Cividis", "cmin": lowest, "cmax": 1.0, "colorbar": {"title": "cosine"}},
    )


def _plain(text: str) -> str:
    """Make a text that Plotly shows as it is: it reads tags and entities, and its JSON holds no lone surrogate."""
    visible = re.sub(r"[\x00-\x1f\x7f]", " ", text[:40]).encode("utf-8", "replace").decode("utf-8")
    return html.escape(visible, quote=False)
