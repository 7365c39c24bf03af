"""What an index knows of its passages beside their embeddings, with and without deleted ones."""

from dataclasses import replace

import numpy as np
import pytest

from tests import fakes
from tests.index.stored import encoded, passages_of
from xm.errors import XmError
from xm.index.table import KINDS, PassageTable, table_of
from xm.types import Corpus


def table_with(*ids: str, deleted: tuple[str, ...] = ()) -> PassageTable:
    passages = passages_of(*ids)
    table = table_of(*encoded(*passages), model="fake", revision="r")
    live = [place for place, passage_id in enumerate(ids) if passage_id not in deleted]
    corpus = Corpus("toy", tuple(passages[place] for place in live))
    return replace(table, corpus=corpus, live=np.array(live, dtype=np.int64))


def test_a_table_worked_by_hand() -> None:
    # Three markers a passage, and a token for each word: [CLS] [D] ▁a ▁b [SEP].
    table = table_of(*encoded(fakes.passage("x", "a b"), fakes.passage("y", "b")), model="fake", revision="r")
    assert table.starts.tolist() == [0, 5, 9]
    assert table.pieces == ("<s>", "[D]", "▁a", "▁b", "</s>")
    assert table.token_ids.tolist() == [0, 1, 2, 3, 4, 0, 1, 3, 4]
    assert [KINDS[kind] for kind in table.kinds[:5]] == ["marker", "marker", "content", "content", "marker"]
    assert table.offsets[2:4].tolist() == [[0, 1], [2, 3]]
    assert (table.n_passages, table.n_stored, table.n_tokens, table.n_stored_tokens) == (2, 2, 9, 9)


def test_places_count_live_passages_and_rows_count_stored_tokens() -> None:
    table = table_with("a", "b", "c", "d", deleted=("a", "c"))
    assert [table.id_of(place) for place in range(table.n_passages)] == ["b", "d"]
    assert [table.place_of(passage_id) for passage_id in ("b", "d")] == [0, 1]
    assert table.rows_of(1) == slice(table.starts[3], table.starts[4])
    assert table.n_tokens == sum(table.starts[i + 1] - table.starts[i] for i in (1, 3)) < table.n_stored_tokens
    assert (table.n_passages, table.n_stored) == (2, 4)


@pytest.mark.parametrize("deleted", [(), ("a",), ("b", "c"), ("d",)])
def test_a_live_passage_comes_back_as_it_was_encoded(deleted: tuple[str, ...]) -> None:
    passages = [passage for passage in passages_of("a", "b", "c", "d") if passage.passage_id not in deleted]
    table = table_with("a", "b", "c", "d", deleted=deleted)
    for passage, item in zip(*(passages, encoded(*passages)[1]), strict=True):
        back = table.embeddings_of(table.place_of(passage.passage_id), item.vectors)
        assert (back.text, back.tokens, back.kinds, back.n_unseen) == (item.text, item.tokens, item.kinds, 0)
        np.testing.assert_array_equal(back.offsets, item.offsets)


def test_the_unseen_characters_are_those_of_the_passage_after_a_deleted_one() -> None:
    passages = (fakes.passage("short", "one"), fakes.passage("long", "word " * 100))
    corpus, items = encoded(*passages)
    table = replace(
        table_of(corpus, items, model="fake", revision="r"), corpus=Corpus("toy", passages[1:]), live=np.array([1])
    )
    assert table.embeddings_of(0, items[1].vectors).n_unseen == items[1].n_unseen > 0


def test_a_deleted_id_is_unknown_and_near_ones_are_named() -> None:
    table = table_with("p1", "p2", "p3", deleted=("p2",))
    with pytest.raises(XmError, match="'p2' among the 2 of 'toy'; ids here are like 'p[13]', 'p[13]'$"):
        table.place_of("p2")
