"""Learn from a teacher: from an English encoder's tokens on parallel sentences, or from scores of passages.

On parallel sentences, the student reads a sentence through its language's adapter; the teacher reads the English
translation. Both directions of MaxSim pick the right partner within the batch, and matched tokens are drawn together
(the sentence version of this idea: Reimers & Gurevych 2020). Only embeddings and adapters learn; shared weights stay
the teacher's. On scores it is the other way round: what contrastive fine-tuning trains learns to rank as the teacher.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from xm.errors import TrainingError
from xm.train.data import ParallelPair
from xm.train.finetune import Side, score_texts
from xm.train.losses import distillation_loss, in_batch_loss, maxsim_scores, own_scores, stretch
from xm.train.negatives import ENGLISH
from xm.train.student import LateInteraction, Texts
from xm.train.teachers import ScoredQuery

MinMax = Literal["none", "student", "both"]
_LENGTH = 64  # tokens a sentence; longer ones are cut
_ATTRACTION = 4.0  # weight of the two cosine terms against the two contrastive ones, so that all are of one size


@dataclass(eq=False)
class Teacher:
    """A BERT-style English encoder on `device`, whose token outputs are remembered by sentence.

    n_layers: the first ones that are run; None: all.
    """

    folder: Path
    device: torch.device = torch.device("cpu")
    n_layers: int | None = None
    _remembered: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder)
        self.model = AutoModel.from_pretrained(self.folder).eval().to(self.device)
        if self.n_layers is not None and self.n_layers < self.model.config.num_hidden_layers:
            self.model.encoder.layer = self.model.encoder.layer[: self.n_layers]

    @torch.inference_mode()
    def hidden(self, texts: Sequence[str]) -> list[Tensor]:
        """Return the last hidden states of each text, (n_tokens, hidden) float32, on the teacher's device."""
        new = [text for text in dict.fromkeys(texts) if text not in self._remembered]
        if new:
            batch = self.tokenizer(new, padding=True, truncation=True, max_length=_LENGTH, return_tensors="pt")
            states = self.model(**batch.to(self.device)).last_hidden_state.cpu()
            for text, state, mask in zip(new, states, batch["attention_mask"].bool().cpu(), strict=True):
                self._remembered[text] = state[mask].half().numpy()
        return [torch.from_numpy(self._remembered[text]).to(self.device).float() for text in texts]

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
    """Return the loss of one batch of one language, its token part summed over heads, and the student's tokens in it.

    Args:
        teacher: on the device of `texts`.
    """
    batch = texts.plain([pair.text for pair in pairs], pairs[0].code, length=_LENGTH)
    hidden = student.hidden(batch)
    states = teacher.hidden([pair.english for pair in pairs])
    padded = torch.nn.utils.rnn.pad_sequence(states, batch_first=True)
    sizes = torch.tensor([len(state) for state in states], device=padded.device)
    their_mask = torch.arange(padded.shape[1], device=padded.device) < sizes[:, None]
    losses = []
    for head in (student.head, *student.smaller):
        ours = functional.normalize(head(hidden), dim=-1)
        with torch.no_grad():
            theirs = functional.normalize(head(padded), dim=-1)
        losses.append(_token_loss(ours, batch.attended, theirs, their_mask))
    our_mean = (hidden * batch.attended[..., None]).sum(1) / batch.attended.sum(1, keepdim=True)
    their_mean = torch.stack([state.mean(dim=0) for state in states])
    means = _ATTRACTION * (1 - functional.cosine_similarity(our_mean, their_mean).mean())
    return torch.stack(losses).sum() + means, int(batch.attended.sum())


def _token_loss(ours: Tensor, our_mask: Tensor, theirs: Tensor, their_mask: Tensor) -> Tensor:
    """Let MaxSim pick the right partner in both directions, and draw matched tokens together; shapes as of MaxSim."""
    forth = maxsim_scores(ours, our_mask, theirs, their_mask)
    back = maxsim_scores(theirs, their_mask, ours, our_mask)
    matched = forth.diagonal() / our_mask.sum(1) + back.diagonal() / their_mask.sum(1)
    return in_batch_loss(forth) + in_batch_loss(back) + _ATTRACTION * (1 - matched.mean() / 2)


def score_loss(
    student: LateInteraction, texts: Texts, batch: Sequence[ScoredQuery], *, alpha: float, min_max: MinMax = "none"
) -> tuple[Tensor, int]:
    """Return the divergence from the teacher's ranking of each query's passages, summed over heads, and the tokens.

    Args:
        batch: queries with equally many passages.
        alpha: sharpens the teacher's scores, see `distillation_loss`.
        min_max: whose scores are stretched to [0, 1] first. "student" is what PyLate does: its data holds teacher
            scores that are stretched already. "both" makes scores of any scale comparable (Clavié 2024).
    """
    n_passages = len(batch[0].passages)
    questions = Side([query.question for query in batch], ENGLISH)
    passages = Side([passage for query in batch for passage in query.passages], ENGLISH)
    tables, n_tokens = score_texts(student, texts, questions, passages)
    theirs = torch.tensor([query.scores for query in batch], device=texts.device)
    theirs = stretch(theirs) if min_max == "both" else theirs
    losses = []
    for table in tables:
        ours = own_scores(table, n_passages)
        losses.append(distillation_loss(ours if min_max == "none" else stretch(ours), theirs, alpha=alpha))
    return torch.stack(losses).sum(), n_tokens
