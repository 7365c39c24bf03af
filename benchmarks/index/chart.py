"""Growth as a chart: each engine's time, memory and build time over the number of tokens, in one HTML file.

Leaves out: measuring (benchmarks.index.__main__).
"""

from collections import defaultdict
from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

GOOD_RECALL = 0.99
PANELS = (
    ("p50_ms", "query, median (ms)", 1),
    ("build_s", "build (s)", 1),
    ("bytes_per_token", "bytes a token on disk", 1),
    ("peak_bytes", "peak memory, searching (MB)", 1e-6),
)
# Okabe and Ito's, safe for colour-blind readers; black for xm flat.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
DASHES = ("solid", "dash", "dot")


def draw(lines: list[dict[str, object]], out: Path) -> None:
    """Write the chart. Of an engine's searches at a size the fastest with recall@10 of 0.99 counts, marked by a dot.

    Where none reaches it, the one of highest recall counts, marked by an open dot.
    """
    chosen: dict[str, list[dict[str, object]]] = defaultdict(list)
    groups = defaultdict(list)
    for line in lines:
        if "p50_ms" in line and str(line["data"]).startswith("synthetic"):
            groups[line["engine"], line["n_tokens"]].append(line)
    for (engine, _), group in sorted(groups.items()):
        good = [line for line in group if line["recall@10"] >= GOOD_RECALL]
        best = min(good, key=lambda line: line["p50_ms"]) if good else max(group, key=lambda line: line["recall@10"])
        chosen[engine].append(best)
    figure = make_subplots(2, 2, subplot_titles=[title for _, title, _ in PANELS])
    for place, (engine, found) in enumerate(chosen.items()):
        found.sort(key=lambda line: line["n_tokens"])
        for panel, (name, _, scale) in enumerate(PANELS):
            shown = [line for line in found if line.get(name)]
            figure.add_trace(
                go.Scatter(
                    x=[line["n_tokens"] for line in shown],
                    y=[line[name] * scale for line in shown],
                    text=[f"recall@10 {line['recall@10']:.3f}, {line['search']}" for line in shown],
                    name=engine,
                    legendgroup=engine,
                    showlegend=panel == 0,
                    mode="lines+markers",
                    line={"color": COLOURS[place % len(COLOURS)], "dash": DASHES[place // len(COLOURS)]},
                    marker={
                        "symbol": ["circle" if line["recall@10"] >= GOOD_RECALL else "circle-open" for line in shown]
                    },
                ),
                panel // 2 + 1,
                panel % 2 + 1,
            )
    figure.update_xaxes(type="log", title="tokens")
    figure.update_yaxes(type="log")
    title = "Each engine's fastest search with recall@10 of 0.99 or more (open: it does not reach it, its best recall)"
    figure.update_layout(title=title, height=900)
    figure.write_html(out, include_plotlyjs=True)
