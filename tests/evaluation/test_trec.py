"""Queries, judgements and runs as files: what is read, and what each bad line says."""

import pytest

from xm.errors import XmError
from xm.evaluation.trec import Query, read_qrels, read_queries, read_run, write_run
from xm.types import Hit


@pytest.fixture
def write(tmp_path):
    """Write bytes or text to a file and return its path."""

    def _write(content, name="file.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return _write


def test_json_lines_are_read_with_their_languages(write):
    path = write('{"id": "q1", "text": "wie viel?", "language": "de"}\n\n{"id": 2, "text": "how much", "topic": "x"}\n')
    assert read_queries(path) == (Query("q1", "wie viel?", "de_DE"), Query("2", "how much", "auto"))


def test_tab_separated_lines_are_read_with_and_without_a_header(write):
    queries = (Query("q1", "wie viel?", "de_DE"), Query("q2", "how much", "auto"))
    assert read_queries(write("q1\twie viel?\tde\r\nq2\thow much\r\n")) == queries
    assert read_queries(write("id\ttext\tlanguage\nq1\twie viel?\tde_DE\nq2\thow much\n")) == queries


def test_a_byte_order_mark_and_line_separators_inside_a_text_do_no_harm(write):
    path = write(b"\xef\xbb\xbf" + '{"id": "q1", "text": "one\u2028two"}\n'.encode())
    assert read_queries(path) == (Query("q1", "one\u2028two"),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"id": "q1", "text": "x"}\n{"id": "q2"}\n', "line 2: text is None"),
        ('{"id": "q1", "text": "x"}\n\n{"id": "q2", "text": 3}\n', "line 3: text is 3"),
        ('{"id": "q1", "text": "x"}\n{"id": "q1", "text": "y"}\n', "line 2: query id 'q1' occurs a second time"),
        ('{"id": "q1", "text": "x"}\n[1]\n', "line 2: a list; expected an object"),
        ('{"id": "q1", "text": "x"\n', "line 1: not JSON"),
        ('{"id": true, "text": "x"}\n', "line 1: id is True"),
        ('{"id": "q1", "text": "x", "language": "xx"}\n', "line 1: .*xx"),
        ('{"id": "q1", "text": "x", "language": 5}\n', "line 1: language is 5"),
        ("q1\tx\nq2 y\n", "line 2: 1 columns; expected 2 or 3"),
        ("q1\tx\nq2\t \n", "line 2: text is ' '"),
        (b"q1\tx\nq2\t\xff\n", "line 2: not UTF-8"),
        ("\n \n", "no queries in it"),
        ("id\ttext\n", "no queries in it"),
    ],
)
def test_a_bad_line_of_queries_is_named(write, content, message):
    with pytest.raises(XmError, match=message) as caught:
        read_queries(write(content))
    assert "file.txt" in str(caught.value)


def test_judgements_are_read_by_query_and_passage(write):
    assert read_qrels(write("q1 0 p1 2\nq1\t0\tp2\t0\n\nq2 Q0 p1 -1\nq1 0 p1 2\n")) == {
        "q1": {"p1": 2, "p2": 0},
        "q2": {"p1": -1},
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q1 0 p1 1\nq1 p2 1\n", "line 2: 3 columns; expected 4"),
        ("q1 0 p1 yes\n", "line 1: relevance 'yes'"),
        ("q1 0 p1 0.5\n", "line 1: relevance '0.5'"),
        ("q1 0 p1 1\nq1 0 p1 0\n", "line 2: passage 'p1' is judged 0 for query 'q1', but 1 further up"),
        (b"q1 0 p\xfe 1\n", "line 1: not UTF-8"),
        ("", "no judgements in it"),
    ],
)
def test_a_bad_line_of_judgements_is_named(write, content, message):
    with pytest.raises(XmError, match=message) as caught:
        read_qrels(write(content))
    assert "file.txt" in str(caught.value)


@pytest.mark.parametrize("read", [read_queries, read_qrels, read_run])
def test_a_missing_file_is_named(tmp_path, read):
    with pytest.raises(XmError, match="nowhere.txt: cannot be read"):
        read(tmp_path / "nowhere.txt")
    with pytest.raises(XmError, match="cannot be read"):
        read(tmp_path)


def test_a_run_comes_back_as_it_was_written(tmp_path):
    run = {"q1": (Hit("p2", 1 / 3, 1, False), Hit("p1", 0.1 + 0.2, 2, False)), "q2": (Hit("é", 1e-17, 1, False),)}
    write_run(run, tmp_path / "x.run", tag="test")
    assert (tmp_path / "x.run").read_text(encoding="utf-8").splitlines()[0] == "q1 Q0 p2 1 0.3333333333333333 test"
    assert read_run(tmp_path / "x.run") == run


@pytest.mark.parametrize("line", ["q1 Q0 p1 1 0.5", "q1 Q0 p1 first 0.5 tag", "q1 Q0 p1 1 high tag"])
def test_a_bad_line_of_a_run_is_named(write, line):
    with pytest.raises(XmError, match="file.txt, line 2"):
        read_run(write(f"q1 Q0 p0 1 0.5 tag\n{line}\n"))


@pytest.mark.parametrize("name", ["a b", "a\u00a0b", "", " a"])
def test_an_id_that_would_break_the_columns_is_refused(tmp_path, name):
    with pytest.raises(XmError, match="cannot stand in a TREC file"):
        write_run({"q1": (Hit(name, 1.0, 1),)}, tmp_path / "x.run", tag="test")
    assert not (tmp_path / "x.run").exists()
