"""The figure of what training an adapter changed."""

import numpy as np
import plotly.graph_objects as go
import pytest

from xm.figures.training import figure
from xm.types import LanguageChange

HOSTILE = "<b>x</b>&amp;\ud83d"


def a_change() -> LanguageChange:
    return LanguageChange(
        code="sw_KE",
        nearest="id_ID",
        losses=np.array([5.0, 4.0, 3.5], np.float32),
        before=4.8,
        after=3.6,
        tokens=(("<s>", "▁paka", "▁paka", "</s>"), ("<s>", HOSTILE, "</s>")),
        cosines=(np.array([1.0, 0.5, 0.25, 0.9], np.float32), np.array([1.0, 0.75, 0.5], np.float32)),
    )


def test_losses_stand_beside_the_nearest_adapter_s() -> None:
    lines = [trace for trace in figure(a_change()).data if isinstance(trace, go.Scatter)]
    training, nearest, after = lines
    assert list(training.y) == [5.0, 4.0, 3.5]
    assert set(nearest.y) == {4.8}
    assert "id_ID" in nearest.name
    assert list(after.y) == [3.6]


def test_each_token_keeps_its_place_and_all_sentences_share_one_scale() -> None:
    drawn = figure(a_change())
    first, second = (trace for trace in drawn.data if isinstance(trace, go.Heatmap))
    assert list(first.z[0]) == pytest.approx([1.0, 0.5, 0.25, 0.9])  # the repeated token is there twice
    assert first.coloraxis == second.coloraxis == "coloraxis"
    assert (drawn.layout.coloraxis.cmin, drawn.layout.coloraxis.cmax) == (0.25, 1.0)


def test_tokens_are_shown_as_they_are() -> None:
    drawn = figure(a_change())
    shown = drawn.layout.xaxis3.ticktext[1]
    assert shown == "&lt;b&gt;x&lt;/b&gt;&amp;amp;?"
    drawn.to_html()
