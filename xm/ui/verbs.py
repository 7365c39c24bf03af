"""What a visitor can do, in terms of the core: take a corpus, search it, explain a hit or a pair of texts.

The tabs show it; nothing here knows Gradio. Verbs that may take long are generators: they yield `show(progress)` and
return their result.
Leaves out: the map (`xm.ui.tabs.map`), which asks the core directly.
"""

import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xm import maxsim
from xm.corpus import read_corpus
from xm.errors import CorpusError, LanguageError, XmError
from xm.languages import LANGUAGES, choose, detect
from xm.search import Searcher, build_index
from xm.types import Alignment, Corpus, SearchResult
from xm.ui import words
from xm.ui.progress import watch
from xm.ui.session import Session
from xm.ui.shared import Shared

if TYPE_CHECKING:
    from xm.encoder import Encoder

N_HITS = 10  # what fits a screen or two; rank 11 is rarely opened
MAX_QUERY_CHARS = 2_000  # a query of 32 tokens holds about 150; far beyond that it is a slip of the clipboard
MAX_PASSAGE_CHARS = 60_000  # a passage of 256 tokens holds about 1,500; the rest is shown as unseen
CLEAR_MARGIN = 0.9  # a detector this sure is worth contradicting a person's choice, in words only
Show = Callable[[Any], Any]
Steps = Generator[Any, None, Any]


def check_text(text: str, what: str, *, max_chars: int) -> str:
    """Return a text a person typed, without white space around it; XmError if it cannot be encoded.

    Args:
        text: as it came from the page.
        what: "query" or "passage", for the message.
        max_chars: longest text taken in.
    """
    text = (text or "").strip()
    if not text:
        raise XmError(words.TEXT_EMPTY.format(what=what))
    if len(text) > max_chars:
        raise XmError(words.TEXT_TOO_LONG.format(what=what, n_chars=len(text), max_chars=max_chars))
    broken = next((char for char in text if "\ud800" <= char <= "\udfff"), None)
    if broken is not None:
        raise XmError(words.TEXT_BROKEN.format(what=what, code=f"{ord(broken):04X}"))
    return text


def check_query(query: str) -> str:
    """Return a query that can be encoded, without white space around it; XmError if it cannot."""
    return check_text(query, words.QUERY_WORD, max_chars=MAX_QUERY_CHARS)


def encoder_of(shared: Shared, session: Session, *, show: Show) -> Steps:
    """Return the encoder of the visitor's model, loading it (with a word to the visitor) if nobody has before."""
    if session.model not in shared.loaded:
        yield show(words.LOADING_MODEL.format(model=session.model))
    encoder = shared.load_encoder(session.model)
    shared.loaded.add(session.model)
    return encoder


def use_sample(
    shared: Shared, session: Session, key: str, *, show: Show, cancel: threading.Event | None = None
) -> Steps:
    """Make a sample corpus the one the visitor searches; `cancel` stops it (None: only leaving the page does)."""
    cancel = cancel or threading.Event()
    encoder = yield from encoder_of(shared, session, show=show)
    ready = shared.samples.ready(key, encoder)
    if ready is None:
        ready = yield from watch(
            lambda report: shared.samples.open(key, encoder, report=report), cancel=cancel, show=show
        )
    session.take(key, ready)


def use_upload(shared: Shared, session: Session, path: str | Path | None, language: str, *, show: Show) -> Steps:
    """Read and index the visitor's own file; what was searched before stays until the new index is whole."""
    if not path:
        raise CorpusError(words.NO_FILE)
    session.keep_upload(Path(path))
    yield show(words.READING.format(name=Path(path).name))
    corpus = read_corpus(path, language=language, limits=shared.limits)
    encoder = yield from encoder_of(shared, session, show=show)
    _check_adapters(corpus, encoder)
    index = yield from watch(
        lambda report: build_index(corpus, encoder, on_progress=report), cancel=session.cancel, show=show
    )
    session.take("upload", Searcher(encoder, index))


def search(shared: Shared, session: Session, query: str, language: str, *, show: Show) -> Steps:
    """Search what the visitor has chosen, the parallel sample if nothing yet; keep and return the result."""
    query = check_query(query)
    if session.searcher is None:
        if session.own:
            raise XmError(words.INDEX_AGAIN)
        yield from use_sample(shared, session, session.corpus_key or words.FIRST_SAMPLE, show=show)
    result: SearchResult = session.searcher.search(query, k=N_HITS, language=language)
    session.result, session.alignment = result, None
    session.maps.clear()
    return result


def explain_hit(session: Session, passage_id: str) -> Alignment:
    """Align the visitor's last query with one of its hits; XmError if there is no such hit."""
    if session.result is None or session.searcher is None:
        raise XmError(words.NO_RESULT)
    if passage_id not in [hit.passage_id for hit in session.result.hits]:
        raise XmError(words.NOT_A_HIT.format(passage_id=passage_id))
    session.alignment = session.searcher.explain(session.result.query, passage_id)
    return session.alignment


def _check_adapters(corpus: Corpus, encoder: "Encoder") -> None:
    """Refuse a corpus with passages the model has no adapter for, naming them: often one short line misread."""
    if not encoder.languages:
        return
    missing = [passage for passage in corpus.passages if passage.language.code not in encoder.languages]
    if missing:
        codes = sorted({passage.language.code for passage in missing})
        raise LanguageError(words.no_adapters([passage.passage_id for passage in missing], codes, encoder.model))


def top_alignment(session: Session) -> Alignment:
    """Align the visitor's last query with its first hit."""
    return session.searcher.explain(session.result.query, session.result.hits[0])


def explain_texts(encoder: "Encoder", texts: tuple[str, str], codes: tuple[str, str]) -> Alignment:
    """Align any query with any passage.

    Args:
        encoder: encodes both.
        texts: query and passage.
        codes: the adapter of each: "auto" or a code.
    """
    query = check_query(texts[0])
    passage = check_text(texts[1], words.PASSAGE_WORD, max_chars=MAX_PASSAGE_CHARS)
    # A small checkpoint's languages are likelier than the others it could not encode anyway.
    prior = encoder.languages if len(encoder.languages) < len(LANGUAGES) else ()
    query_language, passage_language = choose(query, codes[0], prior=prior), choose(passage, codes[1], prior=prior)
    encoded_query = encoder.encode_query(query, query_language)
    encoded_passage = encoder.encode_passages([passage], [passage_language])[0]
    return maxsim.align(encoded_query, encoded_passage, model=encoder.model)


def doubts(alignment: Alignment) -> list[str]:
    """Say where an adapter chosen by hand does not fit what its text reads like."""
    found = []
    for what, side in ((words.QUERY_WORD, alignment.query), (words.PASSAGE_WORD, alignment.passage)):
        if side.language.source != "given":
            continue
        try:
            guess = detect(side.text)
        except LanguageError:
            continue
        if guess.code != side.language.code and guess.margin >= CLEAR_MARGIN:
            found.append(words.other_language(what, side.language.code, guess.code))
    return found
