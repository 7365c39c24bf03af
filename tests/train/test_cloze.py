"""Inverse-cloze pairs: what is query, what is passage, and that a seed decides."""

import random
import re
from collections import Counter
from pathlib import Path

import pytest

from xm.errors import TrainingError
from xm.train.cloze import ClozePair, cloze_batch, cloze_pair, longer, read_paragraphs, shorten

PARAGRAPH = " ".join(f"This is sentence number {number} of a paragraph." for number in range(12))


def test_the_query_is_a_sentence_and_the_passage_is_what_stands_around_it() -> None:
    pair = cloze_pair("Bees carry pollen home. Flowers feed them well. Honey comes of it.", random.Random(0))
    assert pair is not None
    sentences = ["Bees carry pollen home.", "Flowers feed them well.", "Honey comes of it."]
    assert pair.query in sentences
    assert pair.passage == " ".join(sentence for sentence in sentences if sentence != pair.query)


def test_about_a_fifth_of_the_passages_keep_the_sentence() -> None:
    generator = random.Random(0)
    pairs = [cloze_pair(PARAGRAPH, generator) for _ in range(1_000)]
    kept = sum(pair.query in pair.passage for pair in pairs if pair)
    assert 150 < kept < 250


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_share_of_passages_that_keep_the_sentence_can_be_set(share: float) -> None:
    pairs = [cloze_pair(PARAGRAPH, random.Random(seed), kept=share) for seed in range(50)]
    assert {pair.query in pair.passage for pair in pairs if pair} == {bool(share)}


def test_a_passage_is_shortened_to_a_stretch_of_any_length() -> None:
    pair = ClozePair("sentence number", PARAGRAPH)
    generator = random.Random(4)
    stretches = [shorten(pair, generator) for _ in range(600)]
    lengths = Counter(stretch.passage.count("number") for stretch in stretches)
    assert all(stretch.query == pair.query and stretch.passage in PARAGRAPH for stretch in stretches)
    assert set(lengths) == set(range(1, 13))
    assert max(lengths.values()) < 2.5 * min(lengths.values())  # 50 of each expected
    assert {int(re.findall(r"\d+", stretch.passage)[0]) for stretch in stretches} == set(range(12))  # from anywhere


def test_longer_leaves_out_short_paragraphs_unless_too_few_are_long() -> None:
    long, short = "x" * 301, "x" * 300
    assert longer([short, long, long, short, long, long]) == [long] * 4
    assert longer([short, long, long, long]) == [short, long, long, long]


def test_a_passage_has_at_most_eight_sentences_near_the_query() -> None:
    for seed in range(50):
        pair = cloze_pair(PARAGRAPH, random.Random(seed))
        assert pair is not None
        numbers = [int(word) for word in pair.passage.split() if word.isdigit()]
        asked = next(int(word) for word in pair.query.split() if word.isdigit())
        assert len(numbers) <= 8
        assert min(abs(number - asked) for number in numbers) <= 1


def test_long_sentences_ask_with_five_to_twelve_of_their_words_in_a_row() -> None:
    long = " ".join(f"word{number}" for number in range(30)) + ". Short sentence here."
    for seed in range(50):
        pair = cloze_pair(long, random.Random(seed))
        assert pair is not None
        if pair.query.startswith("word"):
            assert 5 <= len(pair.query.split()) <= 12
            assert pair.query in long


@pytest.mark.parametrize(
    "paragraph",
    ["蜜蜂采集花粉和花蜜。它们住在蜂巢里面生活。蜂蜜很甜而且好吃。", "ก" * 120, " ".join(["คำ" * 3] * 40)],
    ids=["Chinese", "Thai without spaces", "Thai with spaces"],
)
def test_scripts_without_full_stops_and_spaces_are_cut_too(paragraph: str) -> None:
    pair = cloze_pair(paragraph, random.Random(0))
    assert pair is not None
    assert 0 < len(pair.query) < len(paragraph)


def test_one_sentence_makes_no_pair() -> None:
    assert cloze_pair("Just one sentence", random.Random(0)) is None


def test_a_batch_is_full_and_the_same_for_the_same_seed() -> None:
    paragraphs = [f"Topic {number}. {PARAGRAPH}" for number in range(40)]
    batch = cloze_batch(paragraphs, random.Random("7/3"), size=8)
    assert len(batch) == 8
    assert batch == cloze_batch(paragraphs, random.Random("7/3"), size=8)
    assert batch != cloze_batch(paragraphs, random.Random("7/4"), size=8)


def test_text_without_sentences_is_an_error_not_an_endless_search() -> None:
    with pytest.raises(TrainingError, match="gave 0 inverse-cloze pairs of 4"):
        cloze_batch(["x"] * 10, random.Random(0), size=4)


def test_short_lines_are_passed_over_and_long_ones_cut(tmp_path: Path) -> None:
    path = tmp_path / "en.txt"
    path.write_text("short\n" + "\n".join("long " * 400 for _ in range(9)), encoding="utf-8")
    lines = read_paragraphs(path, n_lines=5)
    assert [len(line) for line in lines] == [900] * 5


def test_a_file_of_short_lines_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "en.txt"
    path.write_text("short\nshort too\n", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"en\.txt has 0 paragraphs of more than 150 characters"):
        read_paragraphs(path)
