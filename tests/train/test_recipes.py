"""All stages on tiny data: from an English teacher to a checkpoint that the encoder loads."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from xm import load_encoder
from xm.errors import TrainingError
from xm.train import recipes
from xm.train.data import read_parallel, read_questions
from xm.train.loop import LoopOptions
from xm.train.student import load_student
from xm.train.warm_start import model_from_bert, xmod_config
from xm.types import LanguageGuess

LANGUAGES = ["en_XX", "fr_XX"]
ROWS = [
    ("the cat sleeps on the warm roof", "le chat dort sur le toit chaud"),
    ("the dog runs in the green garden", "le chien court dans le jardin vert"),
    ("water falls from the grey sky", "l'eau tombe du ciel gris"),
    ("plants store energy in their roots", "les plantes stockent l'énergie dans leurs racines"),
]
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
        {"question": f"what about {english.split()[1]} {i}", "context": f"{english} {i}.", "source": "clapnq"}
        for i, (english, _) in enumerate(ROWS * 3)
    ]
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, questions)), encoding="utf-8")
    _write_teacher(folder / "teacher")
    return folder


def _write_teacher(folder):
    torch.manual_seed(0)
    words = sorted({word for english, _ in ROWS for word in english.split()})
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=260, layer_norm_eps=1e-12,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(folder)  # fmt: skip


@pytest.fixture(scope="module")
def stages(data):
    """The three checkpoints: warm, distilled, fine-tuned."""
    warm, distilled, tuned = data / "warm", data / "distilled", data / "tuned"
    files = recipes.WarmStartFiles(data / "texts", (data / "pairs.tsv",), data / "teacher")
    recipes.warm_start(files, warm, languages=LANGUAGES, vocab_size=65, dim=16)
    pairs = read_parallel(data / "pairs.tsv", LANGUAGES)
    recipes.distil(warm, distilled, teacher=data / "teacher", pairs=pairs, options=STEPS, batch_size=4)
    recipes.finetune(
        distilled,
        tuned,
        questions=data / "questions.jsonl",
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


def test_the_result_is_loaded_by_the_encoder_and_equals_the_student(stages):
    encoder = load_encoder(str(stages[2]))
    assert set(encoder.languages) == set(LANGUAGES)
    text = "le chat dort"
    ours = encoder.encode_query(text, LanguageGuess("fr_XX", 1.0, "given"))
    student, texts = load_student(stages[2])
    with torch.inference_mode():
        theirs = student.eval()(texts.queries([text], "fr_XX"))[0].numpy()
    assert np.allclose(ours.vectors, theirs, atol=1e-5)


def test_a_missing_language_file_is_named(data, tmp_path):
    files = recipes.WarmStartFiles(data / "texts", (), data / "teacher")
    with pytest.raises(TrainingError, match="de.txt"):
        recipes.warm_start(files, tmp_path, languages=["en_XX", "de_DE"], vocab_size=140)


def test_a_vocabulary_larger_than_the_texts_carry_is_an_error(data, tmp_path):
    files = recipes.WarmStartFiles(data / "texts", (), data / "teacher")
    with pytest.raises(TrainingError, match="--vocab-size"):
        recipes.warm_start(files, tmp_path, languages=LANGUAGES, vocab_size=5_000)


def test_questions_without_the_wanted_sources_are_an_error(data):
    with pytest.raises(TrainingError, match="no question"):
        read_questions(data / "questions.jsonl", ["nowhere"])
