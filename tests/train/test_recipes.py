"""All stages on tiny data: from an English teacher to a checkpoint that the encoder loads."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import BertModel

from tests.train.texts import ROWS, write_teacher
from xm import load_encoder
from xm.errors import TrainingError
from xm.train import recipes
from xm.train.data import read_parallel, read_questions
from xm.train.loop import LoopOptions
from xm.train.student import load_student
from xm.train.warm_start import model_from_bert, xmod_config
from xm.types import LanguageGuess

LANGUAGES = ("en_XX", "fr_XX")
STEPS = LoopOptions(n_steps=3, learning_rate=1e-3, save_every=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with a tiny BERT teacher, texts, parallel sentences and questions."""
    folder = tmp_path_factory.mktemp("training")
    texts = folder / "texts"
    texts.mkdir()
    (texts / "en.txt").write_text("\n".join(english for english, _ in ROWS * 40), encoding="utf-8")
    (texts / "fr.txt").write_text("\n".join(french for _, french in ROWS * 40), encoding="utf-8")
    lines = ["en\tfr\tde", *(f"{english}\t{french}\t-" for english, french in ROWS)]
    (folder / "pairs.tsv").write_text("\n".join(lines), encoding="utf-8")
    questions = [
        # Each question shares a word with the passage before it, which is then its BM25 negative.
        {"question": f"{english.split()[0]} {ROWS[i % 4 - 1][0].split()[0]}", "context": english, "source": "clapnq"}
        for i, (english, _) in enumerate(ROWS * 3)
    ]
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, questions)), encoding="utf-8")
    write_teacher(folder / "teacher")
    return folder


@pytest.fixture(scope="module")
def stages(data):
    """The three checkpoints: warm, distilled, fine-tuned."""
    warm, distilled, tuned = data / "warm", data / "distilled", data / "tuned"
    files = recipes.WarmStartFiles(data / "texts", (data / "pairs.tsv",), data / "teacher")
    recipes.warm_start(files, warm, options=recipes.WarmStartOptions(LANGUAGES, vocab_size=65, dim=16))
    pairs = read_parallel(data / "pairs.tsv", LANGUAGES)
    recipes.distil(warm, distilled, teacher=data / "teacher", pairs=pairs, options=STEPS, batch_size=4)
    recipes.finetune(
        distilled,
        tuned,
        questions=read_questions(data / "questions.jsonl"),
        pairs=pairs,
        batch=recipes.FinetuneOptions(batch_size=4, parallel_batch_size=4, parallel_every=3),
        options=STEPS,
    )
    return warm, distilled, tuned


def test_a_warm_started_xmod_equals_its_teacher(data):
    teacher = BertModel.from_pretrained(data / "teacher").eval()
    config = json.loads((data / "teacher" / "config.json").read_text())
    words = teacher.embeddings.word_embeddings.weight.detach().numpy()
    xmod = model_from_bert(
        data / "teacher", xmod_config(config, languages=LANGUAGES, vocab_size=len(words)), words
    ).eval()
    ids = torch.tensor([[2, 7, 9, 11, 3]])
    with torch.inference_mode():
        expected = teacher(input_ids=ids).last_hidden_state
        for language in range(len(LANGUAGES)):
            ours = xmod(input_ids=ids, lang_ids=torch.tensor([language])).last_hidden_state
            assert torch.allclose(ours, expected, atol=1e-6)


def test_distilling_changes_embeddings_and_adapters_and_nothing_else(stages):
    before, after = (load_file(folder / "model.safetensors") for folder in stages[:2])
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("adapter_modules" in name or "word_embeddings" in name for name in changed)


def test_fine_tuning_leaves_adapters_and_embeddings_as_they_are(stages):
    before, after = (load_file(folder / "model.safetensors") for folder in stages[1:])
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert "linear.weight" in changed
    assert not any("adapter_modules" in name or "embeddings" in name for name in changed)


@pytest.mark.parametrize("attend_to_masks", [True, False])
def test_the_result_is_loaded_by_the_encoder_and_equals_the_student(data, stages, tmp_path, attend_to_masks):
    batch = recipes.FinetuneOptions(batch_size=4, parallel_every=0, attend_to_masks=attend_to_masks)
    questions = read_questions(data / "questions.jsonl")
    recipes.finetune(stages[1], tmp_path, questions=questions, pairs=(), batch=batch, options=STEPS)
    encoder = load_encoder(str(tmp_path))
    assert set(encoder.languages) == set(LANGUAGES)
    assert encoder.facts.attends_to_masks == attend_to_masks
    text, french = "le chat dort sur le toit , dit-on", LanguageGuess("fr_XX", 1.0, "given")
    student, texts = load_student(tmp_path)
    query, passage = texts.queries([text], "fr_XX"), texts.passages([text], "fr_XX")
    with torch.inference_mode():
        ours = [student.eval()(batch)[0][batch.scored[0]].numpy() for batch in (query, passage)]
    assert np.allclose(encoder.encode_query(text, french).vectors, ours[0], atol=1e-5)
    assert np.allclose(encoder.encode_passages([text], [french])[0].vectors, ours[1], atol=1e-5)
    assert len(ours[1]) < passage.attended.sum()  # the punctuation was left out


def test_a_vocabulary_covers_languages_that_get_their_adapter_later_and_a_seed_decides_the_rest(data, tmp_path):
    files = recipes.WarmStartFiles(data / "texts", (), data / "teacher")  # no sentences: French stays untranslated
    options = recipes.WarmStartOptions(("en_XX",), later=("fr_XX",), vocab_size=65, reduction=4, dim=16)
    for name in ("one", "other"):
        recipes.warm_start(files, tmp_path / name, options=options)
    student, texts = load_student(tmp_path / "one")
    assert student.languages == ["en_XX"]
    assert student.backbone.encoder.layer[0].output.adapter_modules["en_XX"].dense1.weight.shape == (12, 48)
    assert 3 not in texts.plain(["énergie"], "en_XX", length=16).ids
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "other"))
    assert all(torch.equal(other[name], tensor) for name, tensor in one.items())


def test_a_missing_language_file_is_named(data, tmp_path):
    files = recipes.WarmStartFiles(data / "texts", (), data / "teacher")
    with pytest.raises(TrainingError, match="de.txt"):
        recipes.warm_start(files, tmp_path, options=recipes.WarmStartOptions(("en_XX", "de_DE"), vocab_size=140))


def test_a_vocabulary_larger_than_the_texts_carry_is_an_error(data, tmp_path):
    files = recipes.WarmStartFiles(data / "texts", (), data / "teacher")
    with pytest.raises(TrainingError, match="--vocab-size"):
        recipes.warm_start(files, tmp_path, options=recipes.WarmStartOptions(LANGUAGES, vocab_size=5_000))


def test_questions_without_the_wanted_sources_are_an_error(data):
    with pytest.raises(TrainingError, match="no question"):
        read_questions(data / "questions.jsonl", ["nowhere"])
