"""Tiny tokenizers of three families, made by counting: the same bytes on every machine, unlike trained ones.

Training orders its vocabulary by hash maps and sums in threads, so two runs differ; golden numbers need equal ids.
"""

import unicodedata
from collections import Counter
from functools import cache

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from xm.train.tokenizer import MASK, SPECIALS, tokenizer_of

__all__ = ["MASK", "SENTENCES", "SPECIALS", "byte_tokenizer", "piece_tokenizer", "word_tokenizer"]


SENTENCES = (
    "How do plants store energy? They keep sugar as starch, in roots and seeds.",
    "The old bank by the river was closed after the flood; nobody (not one!) came back.",
    "Wie speichern Pflanzen Energie? Sie lagern Zucker als Stärke in Wurzeln und Samen ein.",
    "植物はどのようにエネルギーを蓄えますか。糖をでんぷんとして根に蓄えます。",
    "كيف تخزن النباتات الطاقة؟ تحفظ السكر على شكل نشا في الجذور.",
    "Как растения запасают энергию? Они хранят сахар в виде крахмала в корнях.",
    "पौधे ऊर्जा कैसे जमा करते हैं? वे शर्करा को स्टार्च के रूप में जड़ों में रखते हैं।",
    "植物如何储存能量？它们把糖以淀粉的形式存在根里。",
    "식물은 어떻게 에너지를 저장합니까? ไม้เก็บพลังงานอย่างไร",
)


@cache
def piece_tokenizer() -> Tokenizer:
    """A lower-casing unigram tokenizer like XLM-R's: <s> 0, <pad> 1, </s> 2, <unk> 3, ..., <mask> last."""
    words = ["▁" + word for word in _words(SENTENCES)]
    counts = Counter(
        word[start : start + length]
        for word in words
        for length in (2, 3, 4)
        for start in range(len(word) - length + 1)
    )
    longer = sorted(piece for piece, count in counts.items() if count >= 3 and piece[1:].isalnum())
    single = ["▁", *sorted({char for word in words for char in word} - {"▁"})]
    # Scores fall with the place, so that no two ways to cut a word are equally likely.
    scores = [(piece, -5 - len(piece) / 2 - place / 512) for place, piece in enumerate([*single, *longer])]
    return tokenizer_of(scores)


@cache
def word_tokenizer() -> Tokenizer:
    """A lower-casing WordPiece tokenizer like BERT's, with [unused0] and [unused1] in its vocabulary."""
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = [word for text in SENTENCES for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]
    starts = Counter(word[:length] for word in words for length in (2, 3, 4) if len(word) >= length)
    ends = Counter("##" + word[-length:] for word in words for length in (2, 3) if len(word) > length)
    chars = sorted({char for word in words for char in word} | set(".,?!();-'\""))
    pieces = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *chars]
    pieces += [f"##{char}" for char in chars]
    pieces += sorted(piece for piece, count in (starts + ends).items() if count >= 2)
    vocabulary = {piece: place for place, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    return _framed(tokenizer, "[CLS]", "[SEP]")


@cache
def byte_tokenizer() -> Tokenizer:
    """A byte-level BPE tokenizer like ModernBERT's: cased, spaces belong to words, no unknown text."""
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = Counter(word for text in SENTENCES for word, _ in splitter.pre_tokenize_str(text))
    merges = _merges({tuple(word): count for word, count in words.items()}, n_merges=60)
    pieces = ["[PAD]", *sorted(pre_tokenizers.ByteLevel.alphabet()), *(left + right for left, right in merges)]
    vocabulary = {piece: place for place, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.NFC(), splitter
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    return _framed(tokenizer, "[CLS]", "[SEP]")


def _words(texts: tuple[str, ...]) -> list[str]:
    """Words as the piece tokenizer's normaliser leaves them."""
    return [word for text in texts for word in unicodedata.normalize("NFKC", text).lower().split()]


def _merges(words: dict[tuple[str, ...], int], *, n_merges: int) -> list[tuple[str, str]]:
    """The most frequent neighbours, one merge at a time; among equals the first in code point order."""
    merges = []
    for _ in range(n_merges):
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:], strict=False):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {_merge(word, best): count for word, count in words.items()}
    return merges


def _merge(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    parts = list(word)
    place = 0
    while place < len(parts) - 1:
        if (parts[place], parts[place + 1]) == pair:
            parts[place : place + 2] = [pair[0] + pair[1]]
        place += 1
    return tuple(parts)


def _framed(tokenizer: Tokenizer, first: str, last: str) -> Tokenizer:
    """Put `first` before and `last` behind every text."""
    ends = [(token, tokenizer.token_to_id(token)) for token in (first, last)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{first} $A {last}", special_tokens=ends)
    return tokenizer
