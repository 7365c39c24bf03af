"""The two verbs other programs may call on a running page: search and explain, as JSON.

They see the sample corpora and the texts they bring; a visitor's own corpus is out of their reach.
"""

from typing import Any

import gradio as gr

from xm.errors import XmError
from xm.ui import verbs, words
from xm.ui.guard import ENCODE
from xm.ui.shared import SAMPLES, Shared

MAX_HITS = 100


def add_endpoints(shared: Shared) -> None:
    """Offer `search` and `explain` under their names (call inside gr.Blocks)."""

    def search(query: str, corpus: str = words.FIRST_SAMPLE, language: str = "auto", k: int = 10) -> dict[str, Any]:
        """Search a sample corpus ("parallel" or "lecture"). `language` is "auto" or a code; `k` is 1 to 100."""
        return _loud(search_json, shared, query, corpus, language, k)

    def explain(
        query: str, passage: str, query_language: str = "auto", passage_language: str = "auto"
    ) -> dict[str, Any]:
        """Align a query with a passage: one row per query token, whose similarities sum to the score."""
        return _loud(explain_json, shared, (query, passage), (query_language, passage_language))

    gr.api(search, api_name="search", **ENCODE)
    gr.api(explain, api_name="explain", **ENCODE)


def search_json(shared: Shared, query: str, corpus: str, language: str, k: int) -> dict[str, Any]:
    """Search a sample corpus; keys as `xm search --json` prints them."""
    if corpus not in SAMPLES:
        raise XmError(words.UNKNOWN_CORPUS.format(key=corpus, known=", ".join(SAMPLES)))
    if not 1 <= k <= MAX_HITS:
        raise XmError(words.BAD_K.format(k=k, max_k=MAX_HITS))
    query = verbs.check_query(query)
    searcher = shared.samples.open(corpus, shared.load_encoder(shared.model), report=lambda progress: None)
    result = searcher.search(query, k=k, language=language)
    passages = {passage.passage_id: passage for passage in searcher.index.corpus.passages}
    return {
        "query": query,
        "adapter": result.query.language.code,
        "hits": [
            {
                "rank": hit.rank,
                "passage_id": hit.passage_id,
                "score": hit.score,
                "exact": hit.exact,
                "language": passages[hit.passage_id].language.code,
                "text": passages[hit.passage_id].text,
            }
            for hit in result.hits
        ],
        "seconds": result.seconds,
    }


def explain_json(shared: Shared, texts: tuple[str, str], codes: tuple[str, str]) -> dict[str, Any]:
    """Align two texts; keys as `xm explain --json` prints them."""
    encoder = shared.load_encoder(shared.model)
    return verbs.explain_texts(encoder, texts, codes).to_dict()


def _loud(verb: Any, *arguments: Any) -> dict[str, Any]:
    """Send an XmError to the caller as Gradio's own error, the only kind whose text travels."""
    try:
        return verb(*arguments)
    except XmError as error:
        raise gr.Error(str(error)) from error
