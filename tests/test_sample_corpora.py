"""The sample corpora keep what sample_corpora/SOURCES.md says of them."""

import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from xm.corpus import read_corpus
from xm.languages import find_code

FOLDER = Path(__file__).resolve().parents[1] / "sample_corpora"
LANGUAGES = {"en", "es", "fr", "it", "pt", "id", "de", "ru", "zh", "ja", "nl", "vi", "hi", "ar"}
CORPORA = ("parallel", "lecture")
Row = dict[str, str]

# 40 to 90 words; Chinese and Japanese have no spaces and are counted in characters, Vietnamese in syllables.
LENGTHS = {"zh": (75, 190), "ja": (100, 260), "vi": (50, 125)}


def rows(corpus: str, name: str) -> list[Row]:
    return [json.loads(line) for line in (FOLDER / corpus / name).read_text(encoding="utf-8").splitlines()]


def judgements(corpus: str) -> dict[str, dict[str, int]]:
    """Grades by query id and passage id; a line that is not TREC's four columns, or a repeated one, fails here."""
    grades: dict[str, dict[str, int]] = defaultdict(dict)
    for line in (FOLDER / corpus / "qrels.txt").read_text(encoding="utf-8").splitlines():
        query_id, zero, passage_id, grade = line.split()
        assert zero == "0"
        assert passage_id not in grades[query_id], f"judged twice: {line}"
        grades[query_id][passage_id] = int(grade)
    return dict(grades)


def short(code: str) -> str:
    return code.split("_")[0]


def length(text: str, language: str) -> int:
    return len(text) if language in ("zh", "ja") else len(text.split())


@pytest.mark.parametrize("corpus", CORPORA)
def test_ids_are_unique_and_texts_are_clean_and_different(corpus: str) -> None:
    for name in ("passages.jsonl", "queries.jsonl"):
        found = rows(corpus, name)
        assert len({row["id"] for row in found}) == len(found)
        assert all(row["text"] == row["text"].strip() != "" for row in found)
        assert not any(char in row["text"] for row in found for char in "\n\t\ufffd\u200b")
    texts = Counter(row["text"] for row in rows(corpus, "passages.jsonl"))
    assert max(texts.values()) == 1


@pytest.mark.parametrize("corpus", CORPORA)
def test_languages_are_xmod_codes(corpus: str) -> None:
    for name in ("passages.jsonl", "queries.jsonl"):
        codes = {row["language"] for row in rows(corpus, name)}
        assert codes == {find_code(code) for code in codes}


@pytest.mark.parametrize("corpus", CORPORA)
def test_judgements_name_existing_queries_and_passages_and_none_is_forgotten(corpus: str) -> None:
    grades = judgements(corpus)
    assert set(grades) == {row["id"] for row in rows(corpus, "queries.jsonl")}
    passage_ids = {row["id"] for row in rows(corpus, "passages.jsonl")}
    assert all(set(judged) <= passage_ids for judged in grades.values())
    assert all(set(judged.values()) <= {0, 1, 2} for judged in grades.values())
    assert all(2 in judged.values() for judged in grades.values())


@pytest.mark.parametrize("corpus", CORPORA)
def test_a_folder_reads_as_a_corpus_with_the_languages_it_states(corpus: str) -> None:
    read = read_corpus(FOLDER / corpus)
    stated = {row["id"]: (row["text"], row["language"]) for row in rows(corpus, "passages.jsonl")}
    assert {p.passage_id: (p.text, p.language.code) for p in read.passages} == stated
    assert {passage.language.source for passage in read.passages} == {"given"}


def test_parallel_has_every_topic_once_in_every_language() -> None:
    passages = rows("parallel", "passages.jsonl")
    seen = Counter((row["topic"], short(row["language"])) for row in passages)
    topics = {row["topic"] for row in passages}
    assert len(topics) == 32
    assert seen == Counter((topic, language) for topic in topics for language in LANGUAGES)
    assert all(row["id"] == f"{row['topic']}.{short(row['language'])}" and row["title"] for row in passages)


def test_parallel_passages_have_40_to_90_words() -> None:
    for row in rows("parallel", "passages.jsonl"):
        language = short(row["language"])
        shortest, longest = LENGTHS.get(language, (40, 90))
        assert shortest <= length(row["text"], language) <= longest, row["id"]


def test_parallel_has_three_queries_a_topic_and_language() -> None:
    queries = rows("parallel", "queries.jsonl")
    seen = Counter((row["topic"], short(row["language"])) for row in queries)
    assert set(seen.values()) == {3}
    assert len(seen) == 32 * 14
    expected = {f"{topic}.{language}.{number}" for topic, language in seen for number in (1, 2, 3)}
    assert {row["id"] for row in queries} == expected


def test_parallel_judges_the_passage_of_the_same_language_2_and_its_thirteen_twins_1() -> None:
    for query_id, judged in judgements("parallel").items():
        topic, language, _ = query_id.split(".")
        assert judged == {f"{topic}.{other}": 2 if other == language else 1 for other in LANGUAGES}


def test_parallel_queries_are_not_copied_from_their_passages() -> None:
    texts = {row["id"]: row["text"] for row in rows("parallel", "passages.jsonl")}
    queries = rows("parallel", "queries.jsonl")
    copied = [query["id"] for query in queries if query["text"] in texts[query["id"].rsplit(".", 1)[0]]]
    assert len(copied) <= 0.01 * len(queries), copied  # a query of a few words may occur by chance


def test_lecture_has_six_groups_of_at_least_twenty_passages() -> None:
    passages = rows("lecture", "passages.jsonl")
    groups = Counter(row["group"] for row in passages)
    assert set(groups) == {"mismatch", "polysemy", "negation", "numbers", "names", "near_duplicates"}
    assert len(passages) >= 120
    assert min(groups.values()) >= 20
    assert {row["language"] for row in passages} == {"en_XX"}
    assert {row["group"] for row in rows("lecture", "queries.jsonl")} == set(groups)


def test_each_lecture_query_has_an_answer_in_its_own_group() -> None:
    group_of = {row["id"]: row["group"] for row in rows("lecture", "passages.jsonl")}
    grades = judgements("lecture")
    for query in rows("lecture", "queries.jsonl"):
        answers = [passage_id for passage_id, grade in grades[query["id"]].items() if grade == 2]
        assert query["group"] in {group_of[passage_id] for passage_id in answers}
