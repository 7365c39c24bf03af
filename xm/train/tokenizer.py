"""Train a sentencepiece unigram vocabulary and write it as a `tokenizer.json` with XLM-R's special tokens.

Text is lower-cased and NFKC-normalised inside the tokenizer, so a small vocabulary goes further; offsets still point
into the text as it was typed.
"""

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from xm.errors import TrainingError
from xm.train.data import read_lines

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")  # XLM-R's ids 0 to 3; <mask> comes last
MASK = "<mask>"
_SPACE = "▁"  # what a space is in a piece
_MAX_LINE = 2_000
CHARS = 1_000_000  # of each language's text
# Times that, set by hand: more where a Tatoeba sentence takes many more pieces than its English translation, less where
# it takes few.
FACTORS = {
    "ru_RU": 2, "el_GR": 1.6, "fr_XX": 1.5, "bn_IN": 1.5, "ko_KR": 1.4, "hi_IN": 1.3, "fi_FI": 1.2,
    "ar_AR": 1.2, "th_TH": 1.2, "vi_VN": 0.9, "id_ID": 0.8, "ja_XX": 0.7, "sw_KE": 0.6, "zh_CN": 0.5,
}  # fmt: skip


def train_tokenizer(
    texts: Mapping[str, Path], out: Path, *, vocab_size: int = 36_000, kept: Mapping[str, float] = MappingProxyType({})
) -> Tokenizer:
    """Train on lines spread over each language's text, in amounts that let none crowd out another.

    Args:
        texts: a text file per XMOD code.
        out: folder that gets `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json`.
        vocab_size: pieces, special tokens and mask included.
        kept: pieces that are in it in any case, with their log probabilities; the rarest of the others make room.
    """
    import sentencepiece

    out.mkdir(parents=True, exist_ok=True)
    sentences = (line for code, path in texts.items() for line in sample_lines(path, CHARS * FACTORS.get(code, 1)))
    prefix = out / "spm"
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences,
            model_prefix=str(prefix),
            vocab_size=vocab_size - 2,  # ours adds <pad> and <mask>
            model_type="unigram",
            character_coverage=0.9997,
            normalization_rule_name="identity",
            max_sentence_length=4 * _MAX_LINE,
            num_threads=2,
            minloglevel=2,
        )
    except RuntimeError as error:  # sentencepiece has no error of its own; its text names the size that would fit
        raise TrainingError(f"no vocabulary of {vocab_size} pieces (--vocab-size) from these texts: {error}") from error
    processor = sentencepiece.SentencePieceProcessor(model_file=f"{prefix}.model")
    pieces = [
        (processor.id_to_piece(i), processor.get_score(i))
        for i in range(len(processor))
        if not _is_special(processor, i)
    ]
    for suffix in (".model", ".vocab"):
        Path(f"{prefix}{suffix}").unlink()
    tokenizer = tokenizer_of(with_kept(pieces, kept))
    save_tokenizer(tokenizer, out)
    return tokenizer


def with_kept(learnt: Sequence[tuple[str, float]], kept: Mapping[str, float]) -> list[tuple[str, float]]:
    """Put the pieces `kept` in the place of the rarest others, but of no single character; as many as before."""
    pieces = dict(learnt)
    new = {piece: score for piece, score in kept.items() if piece not in pieces}
    rarest = sorted((p for p in pieces if p not in kept and len(p.removeprefix(_SPACE)) > 1), key=pieces.__getitem__)
    for piece in rarest[: len(new)]:
        del pieces[piece]
    return [*pieces.items(), *new.items()][: len(learnt)]


def tokenizer_of(pieces: list[tuple[str, float]]) -> Tokenizer:
    """Make the fast tokenizer from unigram pieces and their log probabilities."""
    vocabulary = [(token, 0.0) for token in SPECIALS] + pieces + [(MASK, 0.0)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=SPECIALS.index("<unk>"), byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme="always")
    tokenizer.add_special_tokens([*SPECIALS, MASK])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, out: Path) -> None:
    """Write the three files that transformers reads."""
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)  # indented, it would be twice as large
    names = {
        "bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>",
        "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": MASK,
    }  # fmt: skip
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **names}
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    (out / "special_tokens_map.json").write_text(json.dumps(names, indent=1), encoding="utf-8")


def sample_lines(path: Path, n_chars: float) -> Iterator[str]:
    """Yield normalised lines spread evenly over a file, about `n_chars` characters in all; reads it twice."""
    share = min(1.0, n_chars / max(1, sum(map(len, _normalised(path)))))
    for number, line in enumerate(_normalised(path)):
        if int((number + 1) * share) > int(number * share):
            yield line


def _normalised(path: Path) -> Iterator[str]:
    return (unicodedata.normalize("NFKC", line[:_MAX_LINE]).lower() for line in read_lines(path))


def _is_special(processor, index: int) -> bool:  # a sentencepiece processor
    return processor.is_control(index) or processor.is_unknown(index)
