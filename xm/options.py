"""Options of every job: small frozen records; each default names its source.

Leaves out: reading options from files or the environment (the command line and the page do that where they start).
"""

import os
from dataclasses import dataclass

from xm.types import Kind

DEFAULT_MODEL = "xm-mini"


@dataclass(frozen=True)
class CorpusLimits:
    """How much text is taken in; a file over a limit is refused whole, never cut."""

    max_bytes: int = 50_000_000
    max_passages: int = 50_000
    max_words: int = 160  # longer passages are split: 256 tokens (colbert-xm's doc_maxlen) hold about 160 words
    max_word_chars: int = 1_000  # longer unbroken runs are kept and noted: models read only their beginning
    max_run_chars: int = 100_000  # an unbroken run this long is data, not text: the file is refused


# A free Space has 2 cores and 16 GB for all visitors: 2,000 passages index in under two minutes there.
SPACE_LIMITS = CorpusLimits(max_bytes=5_000_000, max_passages=2_000)


def limits_here() -> CorpusLimits:
    """Return the Space's limits on a Hugging Face Space (which sets SPACE_ID), the local ones elsewhere."""
    return SPACE_LIMITS if os.environ.get("SPACE_ID") else CorpusLimits()


@dataclass(frozen=True)
class EncodeOptions:
    """How texts become token embeddings."""

    exact: bool = False  # True forces float32, whatever the processor is fast at
    token_budget: int = 2_048  # tokens a batch, padding included: fastest of those measured (stack-facts, section 2)


@dataclass(frozen=True)
class MapOptions:
    """How token embeddings become a map (UMAP: McInnes et al. 2018)."""

    seed: int = 42
    n_neighbors: int = 15  # umap-learn's default
    min_dist: float = 0.1  # umap-learn's default
    n_epochs: int = 200  # 5,000 tokens in seconds (stack-facts, section 4); 500 looks the same
    n_sample: int = 1_500  # corpus tokens behind query and hits: dense enough to show clusters, fast enough to wait for
    kinds: tuple[Kind, ...] = ("content", "marker", "mask")


@dataclass(frozen=True)
class EvaluateOptions:
    """What is measured on judged queries, and how."""

    measures: tuple[str, ...] = ("MRR@10", "R@100", "nDCG@10")  # design, section 9
    depth: int = 100  # hits per query and method, what the measures look at; more where one of them looks deeper
    single_vector: str | None = None  # checkpoint of the single-vector twin, by name or folder; its run costs an index
    runs_out: str | None = None  # folder for one TREC run file a method
