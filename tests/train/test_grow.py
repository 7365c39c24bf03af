"""Languages that join a trained checkpoint: what stays as it is, what new pieces and adapters start as."""

import json

import numpy as np
import pytest
import torch

from tests.train.texts import ROWS, write_start, write_texts
from xm import load_encoder
from xm.__main__ import main
from xm.errors import TrainingError
from xm.train.grow import GrowOptions, grow_languages, old_embeddings
from xm.train.student import load_student
from xm.types import LanguageGuess


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """Folders of a checkpoint of English and French, and of the same with Italian."""
    folder = tmp_path_factory.mktemp("grow")
    texts = write_texts(folder / "texts")
    start = write_start(folder / "start", texts)
    (folder / "pairs.tsv").write_text("\n".join(["en\tit", *["the house\tla casa", "the dog\til cane"] * 20]), "utf-8")
    options = GrowOptions({"it_IT": "fr_XX"}, vocab_size=75)
    grow_languages(start, folder / "grown", texts=texts, parallel=[folder / "pairs.tsv"], options=options)
    return start, folder / "grown"


def test_layers_and_adapters_stay_and_the_new_adapter_is_a_copy(grown):
    (before, _), (after, _) = map(load_student, grown)
    assert after.languages == ["en_XX", "fr_XX", "it_IT"]
    new = after.state_dict()
    for name, tensor in before.state_dict().items():
        if "word_embeddings" in name:
            continue
        assert torch.equal(new[name], tensor), name
        if ".fr_XX." in name:
            assert torch.equal(new[name.replace("fr_XX", "it_IT")], tensor), name


def test_a_piece_of_old_languages_alone_keeps_its_embedding(grown):
    (before, old), (after, new) = map(load_student, grown)
    rows = [student.backbone.embeddings.word_embeddings.weight for student in (before, after)]
    italian = (grown[0].parent / "texts" / "it.txt").read_text("utf-8") + " la casa il cane"
    foreign = set(new.tokenizer.encode(italian, add_special_tokens=False).tokens)
    kept = [piece for piece in new.tokenizer.get_vocab().keys() & old.tokenizer.get_vocab() if piece not in foreign]
    assert {"<s>", "</s>", "<mask>"} < set(kept)
    assert len(kept) > 10
    for piece in kept:
        one, other = (words.tokenizer.token_to_id(piece) for words in (old, new))
        assert torch.allclose(rows[0][one], rows[1][other], atol=1e-3), piece


def test_a_new_piece_is_the_mean_of_the_old_ones_it_is_made_of(grown):
    start, out = (load_student(folder)[1].tokenizer for folder in grown)
    words = np.random.default_rng(0).normal(size=(start.get_vocab_size(), 8)).astype(np.float32)
    found = old_embeddings(start, words, out)
    known = start.get_vocab()
    fresh = [piece for piece in out.get_vocab() if piece not in known]
    assert fresh
    for piece in fresh:
        ids = [known.get(token.value, 3) for token in start.model.tokenize(piece)]
        expected = 0 if 3 in ids else words[ids].mean(axis=0)
        assert np.allclose(found[out.token_to_id(piece)], expected), piece


def test_the_encoder_loads_it_and_reads_the_new_language(grown):
    encoder = load_encoder(str(grown[1]))
    read = encoder.encode_passages([ROWS[0][0]], [LanguageGuess("it_IT", 1.0, "given")])[0]
    assert np.allclose(np.linalg.norm(read.vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("like", [{"fr_XX": "en_XX"}, {"it_IT": "de_DE"}, {"it_IT": "it_IT"}])
def test_a_language_that_is_there_or_starts_as_one_that_is_not_is_an_error(grown, tmp_path, like):
    with pytest.raises(TrainingError, match="cannot start as"):
        grow_languages(grown[0], tmp_path, texts=tmp_path, parallel=(), options=GrowOptions(like))


def test_the_command_does_the_same(grown, tmp_path, capsys):
    start, out = grown
    arguments = ["train", "grow", str(start), str(tmp_path), "--texts", str(out.parent / "texts"), "--vocab-size", "75"]
    assert main([*arguments, "--parallel", str(out.parent / "pairs.tsv"), "--like", "it=fr", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["languages"] == ["it_IT"]
    ours, theirs = (load_student(folder)[0].state_dict() for folder in (tmp_path, out))
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    assert main([*arguments, "--like", "it"]) == 2
    assert "expected NEW=OLD" in capsys.readouterr().err
