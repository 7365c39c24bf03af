"""The tokenizer that training makes: XLM-R's ids, lower case, offsets into the text as typed."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from xm.train.tokenizer import CHARS, FACTORS, sample_lines, train_tokenizer, with_kept


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    english, greek = folder / "en.txt", folder / "el.txt"
    english.write_text("the cat sleeps on the warm roof\nthe dog runs in the garden\n" * 50, encoding="utf-8")
    greek.write_text("η γάτα κοιμάται στη ζεστή στέγη\nο σκύλος τρέχει στον κήπο\n" * 50, encoding="utf-8")
    return train_tokenizer({"en_XX": english, "el_GR": greek}, folder / "out", vocab_size=50)


def test_special_tokens_have_the_ids_of_xlm_r_and_mask_comes_last(tokenizer: Tokenizer) -> None:
    assert [tokenizer.token_to_id(token) for token in ("<s>", "<pad>", "</s>", "<unk>")] == [0, 1, 2, 3]
    assert tokenizer.token_to_id("<mask>") == tokenizer.get_vocab_size() - 1 == 49


def test_case_does_not_matter_and_offsets_point_into_the_text_as_typed(tokenizer: Tokenizer) -> None:
    upper, lower = tokenizer.encode("The  CAT sleeps"), tokenizer.encode("the cat sleeps")
    assert upper.ids == lower.ids
    spans = [upper.offsets[i] for i, piece in enumerate(upper.tokens) if piece not in ("<s>", "</s>", "▁")]
    covered = "".join("The  CAT sleeps"[start:end] for start, end in spans)
    assert covered.replace(" ", "") == "TheCATsleeps"


def test_a_character_never_seen_is_unknown_and_not_lost(tokenizer: Tokenizer) -> None:
    assert tokenizer.token_to_id("<unk>") in tokenizer.encode("cat ☃").ids


def test_only_the_three_files_that_transformers_reads_are_left(tmp_path: Path) -> None:
    text = tmp_path / "en.txt"
    text.write_text("one two three four five six seven\n" * 30, encoding="utf-8")
    train_tokenizer({"en_XX": text}, tmp_path / "out", vocab_size=24)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}


def test_words_are_learnt_from_the_whole_text_not_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xm.train.tokenizer.CHARS", 3_000)
    text = tmp_path / "de.txt"
    text.write_text("der hund rennt im garten\n" * 200 + "η γάτα κοιμάται\n" * 200, encoding="utf-8")
    tokenizer = train_tokenizer({"de_DE": text}, tmp_path / "out", vocab_size=28)
    assert tokenizer.token_to_id("<unk>") not in tokenizer.encode("hund γάτα").ids


def test_a_language_whose_words_are_cut_up_more_gets_more_text(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("".join(f"line {number:04d} " + "x" * 990 + "\n" for number in range(3_000)), encoding="utf-8")
    n_lines = {code: len([*sample_lines(text, CHARS * FACTORS.get(code, 1))]) for code in ("de_DE", "ru_RU", "zh_CN")}
    assert n_lines == {"de_DE": 1_000, "ru_RU": 2_000, "zh_CN": 500}


def test_pieces_that_are_kept_take_the_place_of_the_rarest_but_of_no_character() -> None:
    learnt = [("▁the", -2.0), ("ca", -5.0), ("▁d", -7.0), ("ts", -6.0), ("▁ra", -6.5)]
    kept = {"▁cats": -4.0, "▁the": -1.0}
    assert with_kept(learnt, kept) == [("▁the", -2.0), ("ca", -5.0), ("▁d", -7.0), ("ts", -6.0), ("▁cats", -4.0)]
    assert with_kept(learnt, {}) == learnt


def test_a_kept_word_is_read_whole(tmp_path: Path) -> None:
    text = tmp_path / "en.txt"
    text.write_text("one two three four five six seven eight\n" * 30, encoding="utf-8")
    texts = {"en_XX": text}
    without = train_tokenizer(texts, tmp_path / "without", vocab_size=24)
    tokenizer = train_tokenizer(texts, tmp_path / "with", vocab_size=24, kept={"▁sevenths": -4.0})
    assert len(without.encode("sevenths", add_special_tokens=False).ids) > 1
    assert tokenizer.encode("Sevenths", add_special_tokens=False).tokens == ["▁sevenths"]
    assert tokenizer.get_vocab_size() == without.get_vocab_size() == 24
