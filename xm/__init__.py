"""XM Lens: search in many languages with token embeddings, and see where every score comes from.

    import xm
    searcher = xm.open("sample_corpora/parallel")
    result = searcher.search("how do plants store energy?", k=5)
    searcher.explain(result.query, result.hits[0]).show()

Importing it loads nothing but numpy: each verb brings its libraries when it is first used.
"""

import importlib
from typing import Any

from xm.errors import XmError
from xm.options import CodecOptions, SearchOptions
from xm.types import Alignment, Corpus, Hit, LanguageGuess, Passage, SearchResult, TokenEmbeddings

__version__ = "0.1.0"

# Each verb and where it lives.
_VERBS = {
    "open": ("xm.search", "open_searcher"),
    "align_texts": ("xm.search", "align_texts"),
    "build_index": ("xm.building", "build_index"),
    "add_corpus": ("xm.building", "add_corpus"),
    "delete_passages": ("xm.index.change", "delete_passages"),
    "compact": ("xm.index.change", "compact"),
    "inspect_index": ("xm.index.facts", "inspect_index"),
    "import_colbert": ("xm.index.colbert_format", "import_colbert"),
    "export_colbert": ("xm.index.colbert_format", "export_colbert"),
    "read_corpus": ("xm.corpus", "read_corpus"),
    "detect": ("xm.languages", "detect"),
    "load_encoder": ("xm.encoder", "load_encoder"),
}

__all__ = [
    "Alignment",
    "CodecOptions",
    "Corpus",
    "Hit",
    "LanguageGuess",
    "Passage",
    "SearchOptions",
    "SearchResult",
    "TokenEmbeddings",
    "XmError",
    "add_corpus",
    "align_texts",
    "build_index",
    "compact",
    "delete_passages",
    "detect",
    "export_colbert",
    "import_colbert",
    "inspect_index",
    "load_encoder",
    "open",
    "read_corpus",
]


def __getattr__(name: str) -> Any:
    """Find a verb in its module, which is imported now (PEP 562)."""
    if name not in _VERBS:
        raise AttributeError(f"module 'xm' has no attribute {name!r}; its verbs are {', '.join(_VERBS)}")
    module, verb = _VERBS[name]
    return getattr(importlib.import_module(module), verb)


def __dir__() -> list[str]:
    """List verbs too, so that completion finds them."""
    return sorted({*globals(), *_VERBS})
