"""Draw each language's token embeddings to those of an English teacher, on parallel sentences.

The student reads a sentence through its language's adapter; the teacher reads the English translation. Both
directions of MaxSim pick the right partner within the batch, and matched tokens are drawn together (the sentence
version of this idea: Reimers & Gurevych 2020). Only embeddings and adapters learn; shared weights stay the teacher's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from xm.errors import TrainingError
from xm.train.data import ParallelPair
from xm.train.losses import in_batch_loss, maxsim_scores
from xm.train.student import LateInteraction, Texts

_LENGTH = 64  # tokens a sentence; longer ones are cut
_ATTRACTION = 4.0  # weight of the two cosine terms against the two contrastive ones, so that all are of one size


@dataclass(eq=False)
class Teacher:
    """A BERT-style English encoder whose token outputs are remembered by sentence."""

    folder: Path
    _remembered: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder)
        self.model = AutoModel.from_pretrained(self.folder).eval()

    @torch.inference_mode()
    def hidden(self, texts: Sequence[str]) -> list[Tensor]:
        """Return the last hidden states of each text, (n_tokens, hidden) float32."""
        new = [text for text in dict.fromkeys(texts) if text not in self._remembered]
        if new:
            batch = self.tokenizer(new, padding=True, truncation=True, max_length=_LENGTH, return_tensors="pt")
            states = self.model(**batch).last_hidden_state
            for text, state, mask in zip(new, states, batch["attention_mask"].bool(), strict=True):
                self._remembered[text] = state[mask].half().numpy()
        return [torch.from_numpy(self._remembered[text]).float() for text in texts]

    def principal_head(self, texts: Sequence[str], *, dim: int) -> Tensor:
        """Return the (dim, hidden) projection that keeps most variance of the token outputs of `texts`.

        The mean direction is taken out first: shared by all tokens, it would make every cosine high.
        """
        states = torch.cat(
            [state for start in range(0, len(texts), 64) for state in self.hidden(texts[start : start + 64])]
        )
        mean = functional.normalize(states.mean(dim=0), dim=0)
        centred = states - states.mean(dim=0)
        centred = centred - (centred @ mean)[:, None] * mean
        return torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -dim:].T.flip(0).contiguous()


def batches_of(pairs: Sequence[ParallelPair], *, batch_size: int, seed: int) -> list[list[ParallelPair]]:
    """Group pairs by language and similar length, in an order that depends on `seed` alone."""
    if not pairs:
        raise TrainingError("no parallel pairs to train on; check the files and the languages asked for")
    generator = np.random.default_rng(seed)
    by_language: dict[str, list[ParallelPair]] = {}
    for index in generator.permutation(len(pairs)):
        by_language.setdefault(pairs[index].code, []).append(pairs[index])
    batches = []
    for group in by_language.values():
        for start in range(0, len(group), 8 * batch_size):  # sort inside windows: near lengths, still random
            window = sorted(group[start : start + 8 * batch_size], key=lambda pair: len(pair.text))
            batches += [window[i : i + batch_size] for i in range(0, len(window), batch_size)]
    batches = [batch for batch in batches if len(batch) > 1]
    return [batches[i] for i in generator.permutation(len(batches))]


def distil_loss(
    student: LateInteraction, texts: Texts, teacher: Teacher, pairs: Sequence[ParallelPair]
) -> tuple[Tensor, int]:
    """Return the loss of one batch of one language, and the student's tokens in it."""
    batch = texts.plain([pair.text for pair in pairs], pairs[0].code, length=_LENGTH)
    hidden = student.hidden(batch)
    ours = functional.normalize(student.head(hidden), dim=-1)
    states = teacher.hidden([pair.english for pair in pairs])
    with torch.no_grad():
        padded = torch.nn.utils.rnn.pad_sequence(states, batch_first=True)
        their_mask = torch.nn.utils.rnn.pad_sequence(
            [torch.ones(len(s), dtype=torch.bool) for s in states], batch_first=True
        )
        theirs = functional.normalize(student.head(padded), dim=-1)
        their_mean = torch.stack([state.mean(dim=0) for state in states])
    forth = maxsim_scores(ours, batch.attended, theirs, their_mask)
    back = maxsim_scores(theirs, their_mask, ours, batch.attended)
    matched = forth.diagonal() / batch.attended.sum(1) + back.diagonal() / their_mask.sum(1)
    our_mean = (hidden * batch.attended[..., None]).sum(1) / batch.attended.sum(1, keepdim=True)
    attraction = 1 - matched.mean() / 2 + 1 - functional.cosine_similarity(our_mean, their_mean).mean()
    loss = in_batch_loss(forth) + in_batch_loss(back) + _ATTRACTION * attraction
    return loss, int(batch.attended.sum())
