"""Small made texts, a tiny checkpoint and a tiny English teacher for the tests of training."""

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from xm.train.data import language_files
from xm.train.pretrain import Size, cold_start

WORDS = {
    "en": "the cat dog roof garden sleeps runs on in warm green old house river water falls from grey sky".split(),
    "fr": "le chat chien toit jardin dort court sur dans chaud vert vieille maison eau tombe du ciel gris".split(),
    "it": "il gatto cane tetto giardino dorme corre su nel caldo verde vecchia casa acqua cade dal cielo".split(),
}
ROWS = [
    ("the cat sleeps on the warm roof", "le chat dort sur le toit chaud"),
    ("the dog runs in the green garden", "le chien court dans le jardin vert"),
    ("water falls from the grey sky", "l'eau tombe du ciel gris"),
    ("plants store energy in their roots", "les plantes stockent l'énergie dans leurs racines"),
]
TINY = Size(layers=2, width=32, heads=2, reduction=2, vocab=60, dim=16)


def write_texts(folder: Path, *, n_lines: int = 150) -> Path:
    """Write LANG.txt files: each word decides the next but one in three, so there is something to learn."""
    folder.mkdir(parents=True)
    for language, words in WORDS.items():
        draw = random.Random(language)
        lines = []
        for _ in range(n_lines):
            place = draw.randrange(len(words))
            line = []
            for _ in range(12):
                line.append(words[place])
                place = (place + 1) % len(words) if draw.random() < 2 / 3 else draw.randrange(len(words))
            lines.append(" ".join(line))
        (folder / f"{language}.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


def write_start(folder: Path, texts: Path, *, seed: int = 1) -> Path:
    """Write an untrained checkpoint of English and French whose vocabulary knows the Italian words' letters too."""
    cold_start(language_files(texts, ["en_XX", "fr_XX"]), folder, size=TINY, seed=seed)
    return folder


def write_teacher(folder: Path) -> Path:
    """Write an English BERT, 48 wide, whose words are those of ROWS."""
    torch.manual_seed(0)
    words = sorted({word for english, _ in ROWS for word in english.split()})
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, "?"])}
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
    return folder
