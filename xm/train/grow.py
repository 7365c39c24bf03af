"""Give a trained checkpoint more languages at once: a vocabulary that covers them too, and an adapter for each.

What it knows stays: layers, heads and adapters are copied, and a new piece starts as the mean of the old pieces it is
made of. Pieces of new languages start from their translations (xm.train.lexicon), new adapters as copies of a near
language's. The result needs training (xm.train.joint). Leaves out: one language added to a checkpoint whose vocabulary
and weights stay as they are (xm.train.add_language).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from xm.errors import TrainingError
from xm.train.add_language import grow
from xm.train.data import language_files, read_parallel
from xm.train.student import load_student, save_student
from xm.train.tokenizer import train_tokenizer
from xm.train.warm_start import word_embeddings

_UNKNOWN = 3


@dataclass(frozen=True)
class GrowOptions:
    """What the checkpoint is to cover, as XMOD codes.

    like: for each new language, the one whose adapter it starts as. later: more that the vocabulary covers, so that
    an adapter can be added afterwards.
    """

    like: Mapping[str, str]
    later: tuple[str, ...] = ()
    vocab_size: int = 36_000


def grow_languages(source: Path, out: Path, *, texts: Path, parallel: Sequence[Path], options: GrowOptions) -> None:
    """Write `source` with the new languages, and a new vocabulary over all of them, to `out`.

    Args:
        texts: folder with LANG.txt[.xz] of every language, old ones included.
        parallel: TSV files with translations of the new languages' sentences.

    Raises:
        TrainingError: a language is there already, the one it should start as is not, or a text is missing.
    """
    student, old = load_student(source, device="cpu")
    known = tuple(student.languages)
    for code, like in options.like.items():
        if code in known or like not in known:
            have = ", ".join(known)
            raise TrainingError(
                f"{code} cannot start as {like}: {source} has {have}; expected one it lacks, one it has"
            )
        grow(student, code, like=like)
    new = (*options.like, *options.later)
    covered = language_files(texts, (*known, *new))
    tokenizer = train_tokenizer(covered, out, vocab_size=options.vocab_size)
    pairs = [pair for path in parallel for pair in read_parallel(path, new)]
    embeddings = student.backbone.embeddings
    pieces = old_embeddings(old.tokenizer, embeddings.word_embeddings.weight.detach().numpy(), tokenizer)
    words = torch.from_numpy(word_embeddings(pieces, known, tokenizer, covered, pairs))
    embeddings.word_embeddings = torch.nn.Embedding.from_pretrained(words, freeze=False, padding_idx=1)
    student.backbone.config.vocab_size = len(words)
    save_student(student, out, out, metadata=old.metadata)


def old_embeddings(old: Tokenizer, words: np.ndarray, new: Tokenizer) -> np.ndarray:
    """Embed each piece of a vocabulary as the mean of the old pieces it is made of; zero where one is unknown.

    Args:
        words: (old vocabulary, hidden).

    Returns:
        (new vocabulary, hidden) float32.
    """
    known = old.get_vocab()
    found = np.zeros((new.get_vocab_size(), words.shape[1]), dtype=np.float32)
    for piece, index in new.get_vocab().items():
        ids = [known[piece]] if piece in known else [token.id for token in old.model.tokenize(piece)]
        if ids and _UNKNOWN not in ids or piece == "<unk>":
            found[index] = words[ids].mean(axis=0)
    return found
