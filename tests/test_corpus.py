"""Files and rows into a corpus: what is read, what is reported, and what is refused."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from xm.corpus import Row, corpus_from_rows, read_corpus
from xm.decoding import LEGACY_ENCODINGS
from xm.errors import CorpusError, LanguageError
from xm.options import CorpusLimits
from xm.splitting import count_words, split_text

SAMPLES = Path(__file__).parents[1] / "sample_corpora"
ENGLISH = "Plants store the energy of light in sugar and starch."
GERMAN = "Pflanzen speichern die Energie des Lichts in Zucker und Stärke."
RUSSIAN = "Растения запасают энергию света в сахаре и крахмале."


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def texts(corpus) -> list[str]:
    return [passage.text for passage in corpus.passages]


def rows_of(*contents: str) -> list[Row]:
    return [Row(number, text) for number, text in enumerate(contents, 1)]


# --- formats


def test_a_txt_file_has_a_passage_a_paragraph_named_by_its_line(tmp_path):
    corpus = read_corpus(write(tmp_path, "notes.txt", f"{ENGLISH}\nSecond line.\r\n\r\n \n{GERMAN}\n"))
    assert texts(corpus) == [f"{ENGLISH}\nSecond line.", GERMAN]
    assert [passage.passage_id for passage in corpus.passages] == ["row-1", "row-5"]
    assert [passage.language.code for passage in corpus.passages] == ["en_XX", "de_DE"]
    assert (corpus.name, corpus.notes) == ("notes", ())


def test_a_txt_file_without_blank_lines_says_that_it_is_one_paragraph(tmp_path):
    corpus = read_corpus(write(tmp_path, "a.txt", f"{ENGLISH}\n{ENGLISH} Again."))
    assert len(corpus.passages) == 1
    assert "no blank line, so its 2 lines are one paragraph" in corpus.notes[0]


def test_markdown_keeps_headings_with_their_text_and_fences_whole(tmp_path):
    content = (
        "# Title\n\n## Part\n\nThe first paragraph of the text.\n\nRun it:\n```python\na = 1\n\n\nb = 2\n```\n\n"
        "Setext title\n======\n\nThe last paragraph of the text.\n"
    )
    corpus = read_corpus(write(tmp_path, "a.md", content))
    assert texts(corpus) == [
        "# Title\n\n## Part\n\nThe first paragraph of the text.",
        "Run it:\n```python\na = 1\n\n\nb = 2\n```",
        "Setext title\n======\n\nThe last paragraph of the text.",
    ]
    assert [passage.passage_id for passage in corpus.passages] == ["row-1", "row-7", "row-15"]


def test_csv_takes_its_columns_in_any_order_and_lines_inside_quotes(tmp_path):
    content = f'language,extra,ID,Text\nde,x,first,"{GERMAN}\nMit ""Zeilen"", auch."\n,y,,{ENGLISH}\n'
    corpus = read_corpus(write(tmp_path, "a.csv", content))
    first, second = corpus.passages
    assert (first.passage_id, first.language.code, first.language.source) == ("first", "de_DE", "given")
    assert first.text == f'{GERMAN}\nMit "Zeilen", auch.'
    assert (second.passage_id, second.language.code, second.language.source) == ("row-3", "en_XX", "detected")


def test_csv_takes_a_field_beyond_pythons_own_limit(tmp_path):
    long_text = "word " * 40_000
    corpus = read_corpus(write(tmp_path, "a.csv", f'text\n"{long_text}"\n'))
    assert sum(len(text.split()) for text in texts(corpus)) == 40_000


@pytest.mark.parametrize(("delimiter", "word"), [(";", "semicolons"), ("\t", "tabs")])
def test_csv_with_another_separator_is_read_with_a_note(tmp_path, delimiter, word):
    corpus = read_corpus(write(tmp_path, "a.csv", f"id{delimiter}text\nx{delimiter}{ENGLISH}\n"))
    assert texts(corpus) == [ENGLISH] and word in corpus.notes[0]


def test_csv_with_an_unclosed_quote_is_an_error_with_its_line(tmp_path):
    with pytest.raises(CorpusError, match="line 3.*quotes"):
        read_corpus(write(tmp_path, "a.csv", f'text\n{ENGLISH}\n"never closed\n'))


def test_csv_rows_with_too_many_fields_are_reported(tmp_path):
    corpus = read_corpus(write(tmp_path, "a.csv", f"text\nOne, two and three.\n{ENGLISH}\n"))
    assert texts(corpus)[0] == "One" and "rows 2" in corpus.notes[0]


def test_tsv_with_stray_quotes_takes_them_as_characters_with_a_note(tmp_path):
    corpus = read_corpus(write(tmp_path, "a.tsv", f'id\ttext\n1\t"Quoted to here and more: {ENGLISH}\n2\t{GERMAN}\n'))
    assert texts(corpus) == [f'"Quoted to here and more: {ENGLISH}', GERMAN]
    assert "plain characters" in corpus.notes[0]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_missing_column_is_an_error_that_names_what_is_there(tmp_path, name):
    separator = "," if name.endswith("csv") else "\t"
    with pytest.raises(CorpusError, match="no column 'text'.*'id', 'body'"):
        read_corpus(write(tmp_path, name, f"id{separator}body\n1{separator}x\n"))


def test_jsonl_reads_ids_and_languages_and_ignores_other_keys(tmp_path):
    lines = [{"id": 7, "text": ENGLISH, "language": "en", "topic": [1]}, {"text": f"{GERMAN}\u2028{GERMAN}"}]
    corpus = read_corpus(write(tmp_path, "a.jsonl", "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)))
    assert [passage.passage_id for passage in corpus.passages] == ["7", "row-2"]
    assert [passage.language.source for passage in corpus.passages] == ["given", "detected"]


@pytest.mark.parametrize(
    ("line", "message"),
    [("{broken", "row 2 is not JSON"), ('["text"]', "row 2 has no key 'text'; found list"),
     ('{"body": "x", "id": 1}', "row 2 has no key 'text'; found 'body', 'id'"),
     ('{"text": 5}', "row 2: 'text' must be a string, came int"), ("[" * 100_000, "row 2 is not JSON"),
     ('{"text": "x", "id": true}', "row 2: 'id' must be a string, came bool")],
)  # fmt: skip
def test_a_bad_jsonl_line_is_an_error_with_its_row(tmp_path, line, message):
    with pytest.raises(CorpusError, match=message):
        read_corpus(write(tmp_path, "a.jsonl", json.dumps({"text": ENGLISH}) + "\n" + line))


# --- folders and sample corpora


@pytest.mark.parametrize(("name", "n_passages"), [("parallel", 448), ("lecture", 138)])
def test_the_sample_corpora_are_read_at_once_with_the_languages_they_give(name, n_passages):
    started = time.perf_counter()
    corpus = read_corpus(SAMPLES / name)
    assert time.perf_counter() - started < 1.0
    assert (len(corpus.passages), corpus.notes, corpus.name) == (n_passages, (), name)
    assert all(passage.language.source == "given" and passage.parent_id is None for passage in corpus.passages)


def test_detection_finds_the_language_of_every_passage_of_the_parallel_corpus():
    given = read_corpus(SAMPLES / "parallel").passages[::5]
    detected = corpus_from_rows("again", [Row(i, passage.text) for i, passage in enumerate(given)]).passages
    assert [passage.language.code for passage in detected] == [passage.language.code for passage in given]
    assert {passage.language.source for passage in detected} == {"detected"}


def test_a_folder_of_files_is_one_corpus_and_names_what_it_left(tmp_path):
    write(tmp_path, "b.txt", GERMAN)
    write(tmp_path, "a.csv", f"text\n{ENGLISH}\n{ENGLISH}\n")
    write(tmp_path, "queries.jsonl", '{"id": "q", "text": "a query"}')
    write(tmp_path, "picture.png", b"\x89PNG")
    corpus = read_corpus(tmp_path)
    assert [passage.passage_id for passage in corpus.passages] == ["a.csv-2", "a.csv-3", "b.txt-1"]
    assert corpus.notes[0] == "not read: picture.png, queries.jsonl"
    assert "(a.csv rows 2, 3)" in corpus.notes[1]


# --- encodings and files that are not text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_is_read_in_every_form_without_a_note(tmp_path, encoding):
    corpus = read_corpus(write(tmp_path, "a.csv", f"text\n{RUSSIAN}\n".encode(encoding)))
    assert texts(corpus) == [RUSSIAN] and corpus.notes == ()


@pytest.mark.parametrize(
    ("encoding", "code"),
    [("cp1252", "de_DE"), ("cp1252", "fr_XX"), ("cp1251", "ru_RU"), ("koi8_r", "ru_RU"), ("cp1256", "ar_AR"),
     ("gb18030", "zh_CN"), ("shift_jis", "ja_XX"), ("euc_jp", "ja_XX")],
)  # fmt: skip
def test_an_old_encoding_is_found_and_named_in_a_note(tmp_path, encoding, code):
    passages = [passage for passage in read_corpus(SAMPLES / "parallel").passages if passage.language.code == code]
    original = [passage.text.encode(encoding, "ignore").decode(encoding) for passage in passages[:3]]
    corpus = read_corpus(write(tmp_path, "a.txt", "\n\n".join(original).encode(encoding)))
    assert texts(corpus) == original
    assert encoding in LEGACY_ENCODINGS and f"read as {encoding}" in corpus.notes[0] and "not UTF-8" in corpus.notes[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b" \n\n\t\n", "is empty"), (b"PK\x03\x04rest", "zip archive"), (b"%PDF-1.7", "a PDF"),
     (b"\x89PNG\r\n", "PNG"), (b"some\x00zero", "zero bytes.*byte 4"), ("Grün".encode("utf-16-le"), "zero bytes"),
     (bytes(range(9, 256)) * 20, "no other encoding"),
     ("ж".encode() * 50 + b"\n\xff" + "ж".encode() * 50, "damaged at line 2"),
     (b"\xff\xfe\x00\xd8", "utf-16.*damaged")],
)  # fmt: skip
def test_a_file_that_is_not_text_is_refused_with_what_it_is(tmp_path, content, message):
    with pytest.raises(CorpusError, match=f"a.txt.*{message}"):
        read_corpus(write(tmp_path, "a.txt", content))


@pytest.mark.parametrize("name", ["a.docx", "a", "a.json"])
def test_an_unknown_ending_is_an_error_that_names_the_known_ones(tmp_path, name):
    with pytest.raises(CorpusError, match=".txt, .md, .csv, .tsv or .jsonl"):
        read_corpus(write(tmp_path, name, "text"))


def test_a_missing_file_or_empty_folder_is_an_error(tmp_path):
    with pytest.raises(CorpusError, match="cannot read.*check the path"):
        read_corpus(tmp_path / "missing.txt")
    with pytest.raises(CorpusError, match="no file to read"):
        read_corpus(tmp_path)
    with pytest.raises(CorpusError, match="cannot read"):
        read_corpus("zero\0.txt")


# --- limits


def test_too_much_is_refused_with_both_numbers(tmp_path):
    small = CorpusLimits(max_bytes=1_000, max_passages=3)
    with pytest.raises(CorpusError, match="0.0 MB|MB are read here"):
        read_corpus(write(tmp_path, "a.txt", "x" * 1_001), limits=small)
    with pytest.raises(CorpusError, match="4 passages; at most 3"):
        corpus_from_rows("x", rows_of(*[ENGLISH + str(i) for i in range(4)]), limits=small)
    with pytest.raises(CorpusError, match="MB of text"):
        corpus_from_rows("x", rows_of("word " * 300), limits=small)


def test_a_space_has_its_own_limits(tmp_path, monkeypatch):
    path = write(tmp_path, "a.csv", "text\n" + "".join(f"{ENGLISH} {i}\n" for i in range(2_001)))
    monkeypatch.setenv("SPACE_ID", "someone/space")
    with pytest.raises(CorpusError, match="2,001 passages; at most 2,000"):
        read_corpus(path, language="en")
    monkeypatch.delenv("SPACE_ID")
    assert len(read_corpus(path, language="en").passages) == 2_001


def test_a_word_of_50_000_characters_is_kept_whole_with_a_note():
    corpus = corpus_from_rows("x", rows_of(ENGLISH, "a" * 50_000))
    assert texts(corpus)[1] == "a" * 50_000
    assert corpus.notes == ("a word of more than 1,000 characters, of which models read the start: rows 2",)


def test_one_giant_line_is_refused_without_spaces_and_split_with_them():
    with pytest.raises(CorpusError, match="row 1 has 100,001 characters without a space"):
        corpus_from_rows("x", rows_of("x" * 100_001))
    assert len(corpus_from_rows("x", rows_of("word " * 16_000)).passages) == 100


# --- rows: hostile, empty, equal


def test_hostile_texts_come_through_as_they_are():
    hostile = [
        "<img src=x onerror=alert(1)>",
        "${7*7} {{7*7}}",
        "\"'`;--",
        "a\x00b\x1b[31m\u202e",
        "=cmd|' /C calc'!A0",
    ]
    assert texts(corpus_from_rows("x", rows_of(*hostile), language="en")) == hostile


def test_empty_rows_are_left_out_and_equal_ones_kept_both_with_their_rows(tmp_path):
    content = f'text,id\n{ENGLISH},a\n,b\n"  ",c\n{ENGLISH},d\n\n{GERMAN},e\n\n\n'
    corpus = read_corpus(write(tmp_path, "a.csv", content))
    assert [passage.passage_id for passage in corpus.passages] == ["a", "d", "e"]
    assert corpus.notes == ("empty and left out: rows 3, 4, 6", "the same text more than once, all kept: (rows 2, 5)")


def test_rows_that_are_all_empty_are_an_error():
    with pytest.raises(CorpusError, match="no passage with text; empty and left out: rows 1, 2"):
        corpus_from_rows("x", rows_of("", "  "))


def test_half_a_character_is_replaced_with_a_note(tmp_path):
    corpus = read_corpus(write(tmp_path, "a.jsonl", '{"text": "good ' + "\\ud83d" + ' morning to you"}'))
    assert texts(corpus) == ["good \ufffd morning to you"] and "U+FFFD: rows 1" in corpus.notes[0]


def test_one_id_for_two_rows_is_an_error_that_names_both(tmp_path):
    rows = [Row(2, ENGLISH, "same"), Row(3, GERMAN, "other"), Row(9, RUSSIAN, "same")]
    with pytest.raises(CorpusError, match="'same' is used in row 2 and row 9"):
        corpus_from_rows("x", rows)
    with pytest.raises(CorpusError, match="'long#1' is used in row 2 and row 3"):
        corpus_from_rows("x", [Row(2, "One word. " * 200, "long"), Row(3, ENGLISH, "long#1")])


# --- languages


def test_passages_without_words_inherit_the_language_of_the_rest_with_a_note():
    corpus = corpus_from_rows("x", rows_of(GERMAN, "12345", GERMAN + " Wirklich.", "67 %"))
    inherited = [passage.language for passage in corpus.passages if passage.language.source == "inherited"]
    assert [guess.code for guess in inherited] == ["de_DE", "de_DE"]
    assert corpus.notes == ("language not clear from the text, de_DE taken as in the rest of the corpus: rows 2, 4",)


def test_a_corpus_without_any_language_asks_for_one():
    with pytest.raises(LanguageError, match="choose the language by hand"):
        corpus_from_rows("x", rows_of("12345", "67 %"))
    assert corpus_from_rows("x", rows_of("12345"), language="sw").languages == ("sw_KE",)


def test_passages_without_words_inherit_a_given_language_where_none_is_detected():
    corpus = corpus_from_rows("x", [Row(1, "12345"), Row(2, "Kila kitu", language="sw")])
    assert corpus.languages == ("sw_KE",) and corpus.passages[0].language.source == "inherited"


def test_a_chosen_language_is_given_to_rows_that_name_none():
    rows = [Row(1, ENGLISH), Row(2, GERMAN, language="de"), Row(3, RUSSIAN, language="auto")]
    corpus = corpus_from_rows("x", rows, language="fr")
    assert [passage.language.code for passage in corpus.passages] == ["fr_XX", "de_DE", "fr_XX"]
    assert corpus.notes == ("kept in the language they name instead of fr_XX: rows 2",)


def test_a_wrong_language_is_an_error_with_its_row():
    with pytest.raises(LanguageError, match="row 2: unknown language 'germna'.*de_DE"):
        corpus_from_rows("x", [Row(1, ENGLISH), Row(2, GERMAN, language="germna")])
    with pytest.raises(LanguageError, match="unknown language 'klingon'"):
        corpus_from_rows("x", rows_of(ENGLISH), language="klingon")


# --- splitting


def test_a_long_passage_is_split_at_sentence_ends_by_hand():
    text = "One two three. Four five six! Seven eight nine? Ten (e.g. eleven) twelve."
    assert split_text(text, max_words=7) == [
        "One two three. Four five six!",
        "Seven eight nine? Ten (e.g. eleven) twelve.",
    ]
    assert split_text(text, max_words=13) == [text]


@pytest.mark.parametrize(
    "text",
    ["Ein Satz hat Wörter. " * 60, "今天天气很好。我们去公园散步！" * 40, "पानी जीवन है। " * 120,
     "هل تعرف الجواب؟ نعم أعرفه. " * 60,
     "no sentence end at all " * 90, "line without a stop\n" * 90, "ไม่มีช่องว่างระหว่างคำ" * 60, "." * 50_000 + " x" * 300],
)  # fmt: skip
def test_parts_stay_within_the_limit_and_lose_nothing_but_spaces(text):
    parts = split_text(text, max_words=160)
    assert len(parts) > 1
    assert all(0 < count_words(part) <= 160 for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert min(map(count_words, parts)) > 160 / 4  # of about even length, no crumbs


def test_split_passages_keep_their_parent_and_are_noted():
    long_text = "This sentence has exactly six words. " * 40
    corpus = corpus_from_rows("x", [Row(1, ENGLISH, "short"), Row(2, long_text, "long")])
    assert [(passage.passage_id, passage.parent_id) for passage in corpus.passages] == [
        ("short", None), ("long#1", "long"), ("long#2", "long"),
    ]  # fmt: skip
    assert corpus.notes == ("longer than 160 words and split, at sentence ends where it has any: rows 2",)


def test_the_digest_follows_the_texts_and_nothing_else():
    rows = rows_of(ENGLISH, GERMAN)
    assert corpus_from_rows("a", rows).digest == corpus_from_rows("b", rows, language="fr").digest
    changed = [rows[0], replace(rows[1], text=GERMAN + "!")]
    assert corpus_from_rows("a", rows).digest != corpus_from_rows("a", changed).digest
