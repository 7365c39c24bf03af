"""From an English teacher to an untrained XMOD: which of its pieces and layers are kept, and where others start."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import BertModel

from tests.train.texts import ROWS, write_teacher
from xm.errors import TrainingError
from xm.train import recipes, warm_start
from xm.train.data import ParallelPair
from xm.train.distil import Teacher
from xm.train.student import load_student
from xm.train.tokenizer import train_tokenizer
from xm.train.warm_start import set_apart, teacher_pieces, word_embeddings

ENGLISH, FRENCH = zip(*ROWS, strict=True)
LANGUAGES = ("en_XX", "fr_XX")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny teacher, and texts in two languages."""
    folder = tmp_path_factory.mktemp("warm")
    (folder / "texts").mkdir()
    (folder / "texts" / "en.txt").write_text("\n".join(ENGLISH * 40), encoding="utf-8")
    (folder / "texts" / "fr.txt").write_text("\n".join(FRENCH * 40), encoding="utf-8")
    write_teacher(folder / "teacher")
    return folder


def start(folder: Path, out: Path, **options: object) -> Path:
    files = recipes.WarmStartFiles(folder / "texts", (), folder / "teacher")
    chosen = recipes.WarmStartOptions(LANGUAGES, **{"vocab_size": 65, "dim": 16, **options})
    recipes.warm_start(files, out, options=chosen)
    return out


def test_the_teachers_most_frequent_pieces_come_with_their_log_probability(folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "en.txt"
    text.write_text("the cat sleeps\nthe cat runs\nthe dog\n", encoding="utf-8")
    assert teacher_pieces(folder / "teacher", text, n=2) == {"▁the": math.log(3 / 8), "▁cat": math.log(2 / 8)}


def test_what_is_no_word_of_the_teacher_is_left_to_the_vocabulary(folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "en.txt"
    text.write_text("cat [ zebra\n", encoding="utf-8")  # both unknown to it
    assert list(teacher_pieces(folder / "teacher", text, n=5)) == ["▁cat"]


def test_the_teachers_own_pieces_start_exactly_as_its_embeddings(folder: Path, tmp_path: Path) -> None:
    student, texts = load_student(start(folder, tmp_path, teacher_share=0.3))
    teacher = Teacher(folder / "teacher")
    theirs = teacher.model.embeddings.word_embeddings.weight.detach()
    ours = student.backbone.embeddings.word_embeddings.weight.detach()
    for word in ("cat", "sleeps", "energy"):
        piece = texts.tokenizer.token_to_id(f"▁{word}")
        row = teacher.tokenizer.convert_tokens_to_ids(word)
        assert torch.allclose(ours[piece], theirs[row], atol=1e-3), word  # saved in half precision
    for name, like in (("<unk>", "[CLS]"), ("<mask>", "?")):  # what the markers are, and what queries end in
        row = theirs[teacher.tokenizer.convert_tokens_to_ids(like)]
        assert torch.allclose(ours[texts.tokenizer.token_to_id(name)], row, atol=1e-3)


def test_a_piece_that_english_hardly_uses_leaves_its_english_meaning(folder: Path, tmp_path: Path) -> None:
    french = tmp_path / "fr.txt"
    french.write_text("le chat dog sur le toit\n" * 2_000, encoding="utf-8")
    texts = {"en_XX": folder / "texts" / "en.txt", "fr_XX": french}
    tokenizer = train_tokenizer(texts, tmp_path / "out", vocab_size=40, kept={"▁dog": -3.0, "▁cat": -3.0})
    pairs = [ParallelPair("fr_XX", "dog", "cat")] * 4
    words = word_embeddings(folder / "teacher", tokenizer, texts, pairs)
    table = load_file(folder / "teacher" / "model.safetensors")["embeddings.word_embeddings.weight"].numpy()
    row = {piece: table[Teacher(folder / "teacher").tokenizer.convert_tokens_to_ids(piece)] for piece in ("dog", "cat")}
    assert np.array_equal(words[tokenizer.token_to_id("▁cat")], row["cat"])
    dog = words[tokenizer.token_to_id("▁dog")]
    assert dog @ row["cat"] > 5 * abs(dog @ row["dog"])


def test_rows_that_are_alike_are_set_apart_and_longer_ones_stay() -> None:
    words = np.zeros((5, 300))
    words[:3, 0] = 0.2, 0.2, -0.2
    words[3:, 1] = 5.0, -5.0
    apart = set_apart(words, norm=1.0, seed=0)
    assert np.allclose(np.linalg.norm(apart[:3], axis=1), 1.0, atol=0.05)
    assert np.allclose(apart[3:], words[3:])
    unit = apart[:3]
    assert 0.3 < unit[0] @ unit[1] < 0.9  # they mean the same, and are two
    assert unit[0] @ unit[2] < unit[0] @ unit[1] - 0.3
    assert np.array_equal(apart, set_apart(words, norm=1.0, seed=0))
    assert not np.array_equal(apart, set_apart(words, norm=1.0, seed=1))


def test_the_first_layers_alone_are_the_teachers_first_layers(folder: Path, tmp_path: Path) -> None:
    student, _ = load_student(start(folder, tmp_path, n_layers=1))
    assert student.n_layers == 1
    bert = BertModel.from_pretrained(folder / "teacher").eval()
    teacher = Teacher(folder / "teacher", n_layers=1)
    tokens = teacher.tokenizer(ENGLISH[0], return_tensors="pt")
    with torch.inference_mode():
        first = bert(**tokens, output_hidden_states=True).hidden_states[1][0]
        words = bert.embeddings.word_embeddings.weight
        student.backbone.embeddings.word_embeddings = torch.nn.Embedding.from_pretrained(words)
        lang_ids = torch.zeros(1, dtype=torch.int64)
        ours = student.eval().backbone(tokens["input_ids"], lang_ids=lang_ids).last_hidden_state[0]
    assert torch.allclose(teacher.hidden([ENGLISH[0]])[0], first, atol=2e-3)  # remembered in half precision
    assert torch.allclose(ours, first, atol=2e-3)  # saved in half precision


@pytest.mark.parametrize(
    ("options", "message"), [({"n_layers": 3}, "1 to 2"), ({"teacher_share": 1.0}, "0 to below 1")]
)
def test_what_the_teacher_cannot_give_is_an_error(folder: Path, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        start(folder, tmp_path, **options)


def test_a_teacher_without_what_special_tokens_start_as_is_an_error(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(warm_start._STARTS, "<mask>", "[NOWHERE]")
    with pytest.raises(TrainingError, match=r"lacks \[NOWHERE\]"):
        start(folder, tmp_path)
