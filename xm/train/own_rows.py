"""Word embeddings that one language has for itself: those of its text's pieces, above the table that all share.

Leaves out: how they are kept beside an adapter (xm.encoder.adapters), and how they are read for search (xm.encoder).
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xm.train.tokenizer import SPECIALS


class OwnRows(nn.Module):
    """Word embeddings of which some rows have an addition that learns; other languages read the table as it is."""

    def __init__(self, words: nn.Embedding, ids: Tensor, language: str) -> None:
        """Let the rows `ids` (n_rows,) learn for texts in `language`; the additions start at zero."""
        super().__init__()
        self.words, self.ids, self.language = words, ids, language
        self.added = nn.Parameter(torch.zeros(len(ids), words.embedding_dim, device=ids.device))
        self._place = torch.full((words.num_embeddings,), len(ids), device=ids.device)
        self._place[ids] = torch.arange(len(ids), device=ids.device)
        self._reading = language

    def reads(self, language: str) -> None:
        """Say which language the ids are of from now on."""
        self._reading = language

    def forward(self, ids: Tensor) -> Tensor:
        """Return the embeddings of `ids`."""
        if self._reading != self.language:
            return self.words(ids)
        added = torch.cat([self.added, self.added.new_zeros(1, self.added.shape[1])])
        return self.words(ids) + functional.embedding(self._place[ids], added)

    def values(self) -> Tensor:
        """Return the language's rows as they are now, (n_rows, hidden)."""
        return self.words.weight[self.ids] + self.added


def give_rows(embeddings: nn.Module, language: str, counts: np.ndarray) -> OwnRows:
    """Give `language` rows of its own in a model's embedding layer; everything else there stands still.

    Args:
        counts: (n_pieces,) how often each piece occurs in the language's text: those that do, but for special
            tokens, have rows.
    """
    words = embeddings.word_embeddings
    places = np.flatnonzero(counts)
    ids = torch.from_numpy(places[places >= len(SPECIALS)]).to(words.weight.device)
    embeddings.word_embeddings = OwnRows(words, ids, language)
    return embeddings.word_embeddings
