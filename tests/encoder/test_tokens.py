"""Token ids, spans, kinds and the skiplist, as the original library makes them."""

import json
import unicodedata
from pathlib import Path

import pytest

from tests.encoder.twin import Twin
from tests.tiny import SENTENCES, build_checkpoint, piece_tokenizer
from xm.encoder.layouts import read_recipe
from xm.encoder.tokens import PASSAGE_MARKER, QUERY_MARKER, TextTokenizer, TextTokens
from xm.errors import CheckpointError, TextError
from xm.types import NO_SPAN

ODD = (
    "a",
    "?!",
    "  leading  and\tinner\n spaces ",
    "ﬁne Ⅷ ｆｕｌｌ",
    "😀 unknown ☃ signs",
    "typed <mask> and <pad> and </s> and [unused0]",
    "植物 how कैसे كيف как",
    "energy " * 60,
    "x" * 500,
    "null\x00byte and \x1b[31m colour",
)


def tokenizer_of(folder: Path) -> TextTokenizer:
    return TextTokenizer(folder, read_recipe(folder))


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> TextTokenizer:
    return tokenizer_of(tiny_folder)


def visible(text: str, tokens: TextTokens) -> list[str]:
    return ["" if tuple(span) == NO_SPAN else text[slice(*span)] for span in tokens.offsets.tolist()]


def test_a_query_worked_by_hand(tokenizer: TextTokenizer) -> None:
    pieces = piece_tokenizer()
    tokens = tokenizer.query("Energie?")
    content = pieces.encode("Energie?", add_special_tokens=False)
    mask_id = pieces.token_to_id("<mask>")
    assert tokens.ids.tolist() == [0, 3, *content.ids, 2] + [mask_id] * (32 - 3 - len(content.ids))
    shown = tokenizer.shown(tokens, QUERY_MARKER)
    assert shown[: 3 + len(content.ids) + 1] == ("<s>", "[Q]", *content.tokens, "</s>", "<mask>")
    assert tokens.kinds[:3] == ("marker", "marker", "content")
    assert tokens.kinds[-2:] == ("mask", "mask")
    assert tokens.kinds.count("marker") == 3
    assert tokens.attended.all()
    assert tokens.scored.all()


def test_a_passage_worked_by_hand(tokenizer: TextTokenizer) -> None:
    content = piece_tokenizer().encode("Wie.", add_special_tokens=False)
    tokens = tokenizer.passages(["Wie."])[0]
    assert tokens.ids.tolist() == [0, 3, *content.ids, 2]
    assert tokenizer.shown(tokens, PASSAGE_MARKER) == ("<s>", "[D]", *content.tokens, "</s>")
    assert tokens.scored.all()  # the full stop hangs on its word, and is none of the skiplist's pieces


@pytest.mark.parametrize("attends", [True, False])
def test_token_ids_equal_the_twins(attends: bool, tmp_path: Path) -> None:
    folder = build_checkpoint(tmp_path, metadata={"attend_to_mask_tokens": attends})
    tokenizer, twin = tokenizer_of(folder), Twin(folder)
    for text in (*SENTENCES, *ODD):
        query, passage = tokenizer.query(text), tokenizer.passages([text])[0]
        assert query.ids.tolist() == twin.query(text, "en_XX").ids
        assert query.attended.tolist() == [bool(m) for m in twin.query(text, "en_XX").mask]
        assert passage.ids.tolist() == twin.passage(text, "en_XX").ids
        assert passage.ids[passage.scored].tolist() == twin.passage(text, "en_XX").kept_ids


@pytest.mark.parametrize("text", [*SENTENCES, *ODD])
def test_each_span_gives_the_visible_characters_of_its_token(text: str, tokenizer: TextTokenizer) -> None:
    tokens = tokenizer.passages([text])[0]
    shown = tokenizer.shown(tokens, PASSAGE_MARKER)
    for piece, span_text, kind in zip(shown, visible(text, tokens), tokens.kinds, strict=True):
        if kind != "content" or piece == "<unk>":
            continue
        assert span_text == span_text.strip()
        wanted = piece.replace("▁", "")
        if not unicodedata.is_normalized("NFKC", text):
            assert wanted in unicodedata.normalize("NFKC", span_text).lower()
        else:
            assert span_text.lower() == wanted


def test_a_lone_space_piece_has_no_span_though_the_tokenizer_gives_it_the_next_character(
    tokenizer: TextTokenizer,
) -> None:
    tokens = tokenizer.query("how")
    assert tokenizer.shown(tokens, QUERY_MARKER)[2:4] == ("▁", "h")
    assert tokens.offsets[2:4].tolist() == [[-1, -1], [0, 1]]


@pytest.mark.parametrize("attends", [True, False])
def test_masks_are_attended_to_as_metadata_says(attends: bool, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(build_checkpoint(tmp_path, metadata={"attend_to_mask_tokens": attends}))
    tokens = tokenizer.query("typed <mask> here")
    n_text = 3 + tokens.n_content
    assert tokens.attended[:n_text].all()  # a mask that someone typed is text
    assert tokens.attended[n_text:].tolist() == [attends] * (32 - n_text)
    assert "mask" not in tokens.kinds[:n_text]


def test_what_the_length_limit_cuts_off_is_counted_in_characters(tokenizer: TextTokenizer) -> None:
    text = "energie " * 50
    tokens = tokenizer.passages([text])[0]
    assert len(tokens.ids) == 48
    last = max(end for _, end in tokens.offsets.tolist())
    assert tokens.n_unseen == len(text) - last > 0
    assert tokenizer.passages(["energie"])[0].n_unseen == 0
    assert len(tokenizer.query(text).ids) == 32
    assert tokenizer.query(text).n_unseen > tokens.n_unseen


def test_the_skiplist_is_the_odd_one_of_the_original(tokenizer: TextTokenizer) -> None:
    assert [tokenizer.piece(token_id) for token_id in tokenizer.skip_ids] == ["▁"]
    passage = tokenizer.passages(["how , why"])[0]
    shown = tokenizer.shown(passage, PASSAGE_MARKER)
    assert not any(scored for piece, scored in zip(shown, passage.scored, strict=True) if piece == "▁")
    assert all(scored for piece, scored in zip(shown, passage.scored, strict=True) if piece == ",")
    assert tokenizer.query("how , why").scored.all()


def test_without_mask_punctuation_everything_is_scored(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(build_checkpoint(tmp_path, metadata={"mask_punctuation": False}))
    assert tokenizer.skip_ids == ()
    assert tokenizer.passages(["how , why"])[0].scored.all()


def test_a_marker_in_the_vocabulary_is_found_and_an_absent_one_is_unknown(
    tokenizer: TextTokenizer, tmp_path: Path
) -> None:
    assert (tokenizer.query_marker_id, tokenizer.passage_marker_id) == (3, 3)
    bert = tokenizer_of(build_checkpoint(tmp_path, backbone="bert"))
    assert (bert.query_marker_id, bert.passage_marker_id) == (1, 2)
    assert {bert.piece(token_id) for token_id in bert.skip_ids} >= {",", "?", "("}


def test_truncation_and_padding_saved_with_the_tokenizer_are_ignored(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    path = build_checkpoint(tmp_path) / "tokenizer.json"
    values = json.loads(path.read_text())
    values["truncation"] = {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
    values["padding"] = {
        "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 1, "pad_type_id": 0, "pad_token": "<pad>",
    }  # fmt: skip
    path.write_text(json.dumps(values))
    assert tokenizer_of(tmp_path).query(SENTENCES[0]).ids.tolist() == tokenizer.query(SENTENCES[0]).ids.tolist()


@pytest.mark.parametrize("text", ["", "   ", "\n\t\u3000"])
def test_an_empty_text_is_an_error_that_says_which(text: str, tokenizer: TextTokenizer) -> None:
    with pytest.raises(TextError, match="the query is empty"):
        tokenizer.query(text)
    with pytest.raises(TextError, match="passage 1 is empty"):
        tokenizer.passages(["fine", text])


def test_half_a_character_is_an_error(tokenizer: TextTokenizer) -> None:
    with pytest.raises(TextError, match="lone surrogate"):
        tokenizer.query("broken \ud800 text")


def test_a_text_without_a_readable_character_is_an_error(tmp_path: Path) -> None:
    bert = tokenizer_of(build_checkpoint(tmp_path, backbone="bert"))  # BERT's normaliser drops control characters
    with pytest.raises(TextError, match="the query holds no character"):
        bert.query("\x07\x08")


@pytest.mark.parametrize("role", ["mask", "pad", "unk"])
def test_a_tokenizer_without_a_needed_special_token_is_refused(role: str, tmp_path: Path) -> None:
    build_checkpoint(tmp_path)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        values = json.loads((tmp_path / name).read_text())
        del values[f"{role}_token"]
        (tmp_path / name).write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=f"the tokenizer has no {role} token"):
        tokenizer_of(tmp_path)


def test_a_mask_token_that_is_only_named_is_refused(tmp_path: Path) -> None:
    path = build_checkpoint(tmp_path) / "tokenizer_config.json"
    path.write_text(path.read_text().replace("<mask>", "<gap>"))
    with pytest.raises(CheckpointError, match="no mask token .*'<gap>'"):
        tokenizer_of(tmp_path)


def test_a_tokenizer_that_frames_no_text_is_refused(tmp_path: Path) -> None:
    path = build_checkpoint(tmp_path) / "tokenizer.json"
    values = json.loads(path.read_text())
    values["post_processor"] = None
    path.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="expected one token before and one behind"):
        tokenizer_of(tmp_path)


@pytest.mark.parametrize("content", ['{"model": ', "{}", "\x00\x01"])
def test_a_damaged_tokenizer_is_refused(content: str, tmp_path: Path) -> None:
    (build_checkpoint(tmp_path) / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is damaged"):
        tokenizer_of(tmp_path)
