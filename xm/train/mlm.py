"""Masked language modelling on top of a checkpoint: a head tied to the word embeddings, and its loss.

The head lives in a run's folder only: a checkpoint that ships has none. Leaves out: what is masked (xm.train.packing).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from xm.errors import TrainingError
from xm.train.device import mixed_precision
from xm.train.packing import Masker
from xm.train.student import LateInteraction, TokenBatch

HEAD_FILE = "mlm_head.safetensors"
_SHORTEST = 8  # tokens a row
_UNSEEN_COUNT = 0.5  # of a piece that the text lacks, when the bias starts from frequencies


def check_shape(student: LateInteraction, *, length: int, masked: float) -> None:
    """Raise TrainingError unless the model can read rows of `length` tokens and `masked` is a share of them."""
    longest = student.backbone.config.max_position_embeddings - 2  # XMOD counts positions from 2
    if not _SHORTEST <= length <= longest:
        raise TrainingError(f"rows of {length} tokens (--length): this model reads {_SHORTEST} to {longest}")
    if not 0 < masked < 1:
        raise TrainingError(f"a masked share of {masked}: expected one between 0 and 1, such as 0.25")


@dataclass(frozen=True, eq=False)
class MaskedBatch:
    """Masked rows of one language; positions index the flattened rows, labels are the pieces that stood there."""

    tokens: TokenBatch
    positions: Tensor
    labels: Tensor


def masked_batch(
    rows: np.ndarray, masker: Masker, language: str, *, seed: tuple[int, ...], device: torch.device
) -> MaskedBatch:
    """Mask `rows` (n_rows, length) as `seed` says, and put the batch on `device`."""
    seen, positions, labels = masker(rows, language=language, generator=np.random.default_rng(seed))
    ids = torch.from_numpy(seen).to(device)
    tokens = TokenBatch(ids, torch.ones_like(ids, dtype=torch.bool), language)
    return MaskedBatch(tokens, torch.from_numpy(positions).to(device), torch.from_numpy(labels).to(device))


class MaskedLanguageModel(nn.Module):
    """A student with BERT's MLM head: transform, gelu, layer norm, then the word embeddings and a bias a piece."""

    def __init__(self, student: LateInteraction, counts: np.ndarray, *, seen_only: bool = False) -> None:
        """Start a head whose transform changes nothing and whose bias is the pieces' log frequency.

        Args:
            counts: (n_pieces,) how often each piece occurs in the text.
            seen_only: predict only among pieces that occur: far cheaper, and losses are comparable within one text.
        """
        super().__init__()
        width = student.backbone.config.hidden_size
        self.student = student
        self.transform = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=student.backbone.config.layer_norm_eps)
        share = np.maximum(counts, _UNSEEN_COUNT) / np.maximum(counts, _UNSEEN_COUNT).sum()
        self.bias = nn.Parameter(torch.from_numpy(np.log(share)).float())
        with torch.no_grad():
            self.transform.weight.copy_(torch.eye(width))
            self.transform.bias.zero_()
        candidates = np.flatnonzero(counts) if seen_only else np.arange(len(counts))
        self.register_buffer("candidates", torch.from_numpy(candidates), persistent=False)
        self.to(student.head.weight.device)

    def head_parameters(self) -> list[nn.Parameter]:
        """Return what is the head's own: transform, layer norm, bias."""
        return [*self.transform.parameters(), *self.norm.parameters(), self.bias]

    def forward(self, batch: MaskedBatch) -> Tensor:
        """Return the mean cross-entropy of the masked pieces, in nats."""
        states = self.student.hidden(batch.tokens).flatten(0, 1)[batch.positions]
        return self.loss_of(states, batch.labels)

    def loss_of(self, states: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy, in nats, of `labels` (n_masked,) given `states` (n_masked, hidden)."""
        with mixed_precision(states.device):
            words = self.student.backbone.embeddings.word_embeddings(self.candidates)
            logits = self.norm(functional.gelu(self.transform(states))) @ words.T
        return functional.cross_entropy(
            logits.float() + self.bias[self.candidates], torch.searchsorted(self.candidates, labels)
        )


def save_head(model: MaskedLanguageModel, folder: Path) -> None:
    """Write transform, layer norm and bias to `folder`."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _head_tensors(model).items()}
    try:
        save_file(tensors, folder / HEAD_FILE)
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"cannot write {folder / HEAD_FILE}: {error}; free some disk space, and resume") from error


def load_head(model: MaskedLanguageModel, path: Path) -> None:
    """Read what `save_head` wrote into `model`.

    Raises:
        TrainingError: the file is missing or damaged, or of another width or vocabulary.
    """
    try:
        found = load_file(path)
        for name, tensor in _head_tensors(model).items():
            if found[name].shape != tensor.shape:
                raise TrainingError(f"{path}: {name} is {tuple(found[name].shape)}, the model's {tuple(tensor.shape)}")
            tensor.data.copy_(found[name])
    except (OSError, SafetensorError, KeyError) as error:
        raise TrainingError(f"{path} is no MLM head that `xm train pretrain` wrote: {error}") from error


def _head_tensors(model: MaskedLanguageModel) -> dict[str, Tensor]:
    wanted = ("transform.", "norm.", "bias")
    return {name: tensor for name, tensor in model.named_parameters() if name.startswith(wanted)}
