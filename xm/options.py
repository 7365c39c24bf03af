"""Options of every job: small frozen records; each default names its source.

Leaves out: reading options from files or the environment (the command line and the page do that where they start).
"""

import os
from dataclasses import dataclass, replace
from typing import Literal

from xm.errors import XmError
from xm.types import Kind

DEFAULT_MODEL = "xm-mini"

# Above this many tokens a flat index is no longer interactive: 95 % of queries of 32 tokens take up to 141 ms to score
# (half of them 96 ms), and 311 ms (221 ms) at twice as many. float32, 128 dimensions, two cores that did little else.
FLAT_LIMIT_TOKENS = 1_000_000

# In the revision of an encoder with clean_punctuation, and so of its indexes: it gives passages other embeddings.
CLEAN = "+clean-punctuation"


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
    # "auto" is float32, or bfloat16 where that is much faster; int8 is faster without AMX but moves scores.
    precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    token_budget: int = 2_048  # tokens a batch, padding included: fastest of those measured (stack-facts, section 2)
    # Score no passage token of punctuation or space alone, in place of the checkpoint's skiplist. Changes the model.
    clean_punctuation: bool = False
    allow_remote_code: bool = False  # run the Python that a checkpoint such as jina-colbert-v2 asks for


def options_for(revision: str, options: EncodeOptions = EncodeOptions()) -> EncodeOptions:
    """Return the options to encode with for an index of this revision: it keeps to the way it was built.

    Raises:
        XmError: clean_punctuation is asked for, and the index was built without.
    """
    clean = CLEAN in revision
    if options.clean_punctuation and not clean:
        raise XmError(
            "the index was built without clean punctuation (--clean-punctuation), and keeps to one way of encoding; "
            "leave that out, or build the index again with it"
        )
    return replace(options, clean_punctuation=clean)


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
class CodecOptions:
    """How token embeddings are compressed (ColBERTv2: Santhanam et al. 2022, section 3.3)."""

    n_bits: int = 2  # bits a number of the residual, of 1, 2, 4 and 8: ColBERTv2's
    # None: ColBERTv2's formula, clipped to what the corpus carries and to 16,384, which from 4.2 million tokens on is
    # fewer: to find and assign 32,768 takes four and two times as long. Half the formula's centroids cost 1 % of the
    # ten best passages among the 64 best by centroids, none among the 128 best (250,000 made-up tokens).
    n_centroids: int | None = None
    n_iter: int = 4  # k-means iterations: colbert-xm's kmeans_niters
    seed: int = 42
    # Sampled tokens a centroid: faiss warns below 39. A million tokens of 128 numbers then build in 86 s on one core.
    n_sample_per_centroid: int = 40


@dataclass(frozen=True)
class SearchOptions:
    """How a compressed index is searched (ColBERTv2, appendix A; PLAID: Santhanam et al. 2022b, section 4)."""

    # Of the ten truly best passages, these let through to exact scoring 100 % (a million made-up tokens of
    # benchmarks/index) and 96.7 % (a million tokens of xm-mini, passages of 170). Half of both let 99.3 % and 92.7 %
    # through in 0.7 of the time; n_candidates 1,024 and n_exact 512 100 % and 99.5 % in 1.8 times the time.
    n_probe: int = 32  # centroids probed for each query token; 16 lets up to 0.7 % fewer through, 0.6 ms sooner
    n_candidates: int = 512  # passages kept for scoring by all their centroids, PLAID's third stage; at least k
    n_exact: int = 256  # passages decoded and scored by MaxSim; at least k
    centroid_threshold: float | None = None  # PLAID's t_cs: a centroid below it for every query token is not probed


@dataclass(frozen=True)
class EvaluateOptions:
    """What is measured on judged queries, and how."""

    measures: tuple[str, ...] = ("MRR@10", "R@100", "nDCG@10")  # design, section 9
    depth: int = 100  # hits per query and method, what the measures look at; more where one of them looks deeper
    single_vector: str | None = None  # checkpoint of the single-vector twin, by name or folder; its run costs an index
    runs_out: str | None = None  # folder for one TREC run file a method
