"""The token map's figure."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.figures import made
from xm.figures.token_map import COLOURS, GREY, MAX_SVG_POINTS, figure, links_of
from xm.types import TokenMap

HOSTILE = "<b>bold</b><br>&amp;<img src=x onerror=pwn()> %{x} \x00 \ud83d"


def a_map(n_sample: int = 4, method: str = "umap") -> TokenMap:
    """Two query tokens, two hits of three and two tokens, and a sample of a third passage."""
    ids = ("", "", "a", "a", "a", "b", "b") + ("c",) * n_sample
    n_tokens = len(ids)
    return TokenMap(
        xy=np.arange(2 * n_tokens, dtype=np.float32).reshape(n_tokens, 2),
        passage_ids=ids,
        tokens=("▁light",) * n_tokens,
        languages=("en_XX", "en_XX", "pt_XX", "pt_XX", "pt_XX", "ar_AR", "ar_AR") + ("ja_XX",) * n_sample,
        kinds=("content", "mask") + ("content",) * (n_tokens - 2),
        contexts=("the light of the sun",) * n_tokens,
        token_indices=(1, 5, 0, 1, 2, 0, 1) + tuple(range(n_sample)),
        method=method,
        seed=42,
        n_corpus_tokens=23_456,
        n_sample=n_sample,
    )


def named(drawn: object) -> dict[str, object]:
    return {trace.name: trace for trace in drawn.data if trace.name}


def test_every_token_is_one_point_and_none_is_merged() -> None:
    token_map = a_map()
    drawn = figure(token_map)
    points = sorted((x, y) for trace in drawn.data for x, y in zip(trace.x, trace.y, strict=True))
    assert points == sorted(map(tuple, token_map.xy.tolist()))


def test_by_passage_hits_have_colours_and_the_sample_is_small_and_grey_behind_them() -> None:
    drawn = figure(a_map())
    assert [trace.name for trace in drawn.data] == ["corpus sample", "a", "b", "query"]
    traces = named(drawn)
    assert (traces["a"].marker.color, traces["b"].marker.color) == (COLOURS[0], COLOURS[1])
    assert traces["corpus sample"].marker.color == GREY
    assert traces["corpus sample"].marker.size < traces["a"].marker.size
    assert traces["query"].marker.symbol == "diamond"


def test_by_language_and_by_kind_the_same_key_has_the_same_colour_everywhere() -> None:
    token_map = replace(
        a_map(), languages=("en_XX", "en_XX", "pt_XX", "pt_XX", "pt_XX", "ar_AR", "ar_AR") + ("pt_XX",) * 4
    )
    drawn = figure(token_map, colour_by="language")
    of_pt = [trace for trace in drawn.data if trace.name == "pt_XX"]
    assert len(of_pt) == 2 and len({trace.marker.color for trace in of_pt}) == 1
    assert [trace.showlegend for trace in of_pt] == [False, True]
    query = named(figure(token_map, colour_by="kind"))["query"]
    assert len(set(query.marker.color)) == 2


def test_more_passages_than_colours_are_told_apart_by_symbols() -> None:
    n_passages = 2 * len(COLOURS)
    ids = tuple(f"p{i}" for i in range(n_passages))
    same = (("t",) * n_passages, ("en_XX",) * n_passages, ("content",) * n_passages, ("",) * n_passages)
    token_map = TokenMap(np.zeros((n_passages, 2)), ids, *same, (0,) * n_passages, "pca", 1, n_passages)
    assert len({(trace.marker.color, trace.marker.symbol) for trace in figure(token_map).data}) == n_passages


def test_the_title_states_method_seed_count_and_exactness() -> None:
    title = figure(a_map()).layout.title
    assert title.text == "Token map · UMAP, seed 42"
    assert title.subtitle.text.startswith("9 of 23,456 corpus tokens<br>approximate")
    assert "exact" in figure(a_map(method="pca")).layout.title.subtitle.text


def test_backgrounds_are_transparent_and_axes_have_no_numbers() -> None:
    layout = figure(a_map()).layout
    assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert layout.xaxis.visible is False and layout.yaxis.visible is False
    assert layout.xaxis.type == "linear"


def test_webgl_is_used_only_for_many_points() -> None:
    many = a_map(n_sample=MAX_SVG_POINTS)
    assert {trace.type for trace in figure(a_map()).data} == {"scatter"}
    assert {trace.type for trace in figure(many).data} == {"scattergl"}


def test_links_join_points_and_say_their_similarity_in_the_middle() -> None:
    drawn = figure(a_map(), links=[(0, 3, 0.831), (1, 5, -0.2)])
    lines, middles = drawn.data[:2]
    assert lines.x == (0, 6, None, 2, 10, None) and lines.y == (1, 7, None, 3, 11, None)
    assert middles.x == (3, 6)
    assert middles.hovertext[0] == "“▁light” → “▁light” 0.83"


def test_links_of_an_alignment_join_each_query_token_with_its_best() -> None:
    alignment = made.by_hand()  # query token 1 chose passage token 5, 2 chose 2
    ids = ("", "", "reef.pt", "reef.pt", "other")
    token_map = replace(
        a_map(n_sample=0), xy=np.zeros((5, 2)), passage_ids=ids, token_indices=(1, 2, 2, 5, 5), tokens=("t",) * 5
    )
    assert links_of(token_map, alignment) == [(0, 3, pytest.approx(1.0)), (1, 2, pytest.approx(0.8))]
    assert figure(token_map, alignment=alignment).data[0].name == "MaxSim links (2)"


def test_hovering_tells_token_context_passage_and_language() -> None:
    hover = named(figure(a_map()))["a"].hovertext[0]
    assert hover == "<b>▁light</b><br>the light of the sun<br>a · pt_XX · content"


def test_hostile_text_is_shown_as_it_is_and_a_giant_word_is_cut() -> None:
    token_map = replace(
        a_map(),
        tokens=(HOSTILE, "w" * 50_000, *a_map().tokens[2:]),
        passage_ids=("", "", "<i>x", *a_map().passage_ids[3:]),
    )
    drawn = figure(token_map)
    first, second = named(drawn)["query"].hovertext
    assert "<img" not in first and "&lt;b&gt;bold&lt;/b&gt;&lt;br&gt;&amp;amp;" in first and "\x00" not in first
    assert "(50,000 characters)" in second and len(second) < 300
    assert "&lt;i&gt;x" in named(drawn)
    json.dumps(drawn.to_plotly_json(), default=list).encode("utf-8")
    drawn.to_json().encode("utf-8")
