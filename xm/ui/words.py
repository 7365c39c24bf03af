"""Every word the page shows, in one place.

Leaves out: the words inside the alignment figure (`assets/alignment.js`) and of errors raised by the core.
"""

from typing import Any

from xm.languages import LANGUAGES
from xm.types import LanguageGuess

TITLE = "XM Lens"
LEAD = (
    "Search in one language, read in another, and see which words made the match. "
    "Every score on this page is a sum you can check."
)

# Explain
EXPLAIN_TAB = "Explain"
EXAMPLES = "Examples"
QUERY = "Query"
QUERY_HINT = "A question or a few words, in any language"
PASSAGE = "Passage"
PASSAGE_HINT = "A few sentences, in the same language or another"
QUERY_ADAPTER = "Language adapter of the query"
PASSAGE_ADAPTER = "Language adapter of the passage"
AUTO = "Detect the language"
BY_HAND = "{name} · {code} · only by hand"
DETECTABLE = "{name} · {code}"
EXPLAIN = "Explain"
EXPLAINING = "Comparing every token of the query with every token of the passage…"
OTHER_LANGUAGE = "The {what} reads like {read}; it went through the adapter you chose, {chosen}."
NO_EXAMPLES = "The examples are missing from this copy (assets/first_screen.json). Type a query and a passage instead."

# Search
SEARCH_TAB = "Search"
CORPUS = "Corpus"
SAMPLE_TITLES = {"parallel": "Parallel sample", "lecture": "Lecture sample"}
FIRST_SAMPLE = "parallel"
SAMPLE_CHOICE = "{title}: {n:,} passages, {languages}"
OWN_FILE = "My own file"
UPLOAD = "Your file"
UPLOAD_LIMITS = (
    "**txt, md, csv, tsv or jsonl**, up to **{megabytes:g} MB** and **{passages:,} passages**. "
    "A passage is a paragraph (txt, md) or a row: column `text`, and `id` and `language` if you have them. "
    "Passages of more than {words:,} words are split at sentence ends. "
    "Your file stays in your session: nobody else sees it, and it is deleted after {minutes:g} minutes without use."
)
CORPUS_LANGUAGE = "Language of your file"
USE_CORPUS = "Use this corpus"
READING = "Reading {name}…"
CANCEL = "Cancel"
CANCELLED = "Cancelled."
CANCELLING = "Stopping…"
FORMER_KEPT = "You still search {corpus}."
NOW_SEARCHING = "You search {corpus}: {passages:,} passages, {tokens:,} tokens, {languages}; model {model}."
FIRST_CORPUS = "You search {corpus}."
SEARCH = "Search"
SEARCH_HINT = "A question or a few words"
FIRST_QUERY = "how do plants store energy?"
SEARCHING = "Searching…"
RESULTS = {
    "exact": "exact",
    "approximate": "approximate",
    "score": "score",
    "open": "Explain",
    "open_label": "Explain hit {rank}",
    "legend": "share of the score",
    "most": "20 % or more",
}

NO_ADAPTER = (
    "{passages} taken for {languages}, for which {model} has no adapter. "
    "Choose the language of your file by hand, or another model below."
)

# Map
MAP_TAB = "Map"
MAP_LEAD = (
    "Token embeddings of your last query, its hits and a sample of the corpus, laid out so that similar tokens lie "
    "close together. Only closeness means something here; the axes do not."
)
COLOUR_BY = "Colour by"
COLOURS = {"passage": "Passage", "language": "Language", "kind": "Kind of token"}
MAP_WAITING = "Gathering the tokens…"
MAP_PCA = "First view by PCA. UMAP follows in a few seconds…"
MAP_CAPTION = (
    "{method}, seed {seed}. {drawn:,} tokens are drawn; the corpus has {total:,}. "
    "Lines join each query token with its best token in {passage_id}."
)
METHODS = {"umap": "UMAP", "pca": "PCA (too few tokens for UMAP)"}

# Model
MODEL_TITLE = "Model"
MODEL_CHOICE = "Checkpoint"
MODEL_USE = "Use this model"
MODEL_DOWNLOAD = "Download {size} and use it"
MODEL_FACTS = "{size} on disk · licence {licence} · {dim} dimensions · {languages} language adapters · {note}"
MODEL_OTHER = "{model} was named when the page was started; its facts are shown once it is loaded."
MODEL_READY = "You use {model}: {dim} dimensions, {languages} language adapters, {precision}.{again}"
MODEL_AGAIN = " Your corpus was indexed with another model: press “Use this corpus” to index it again."
LOADING_MODEL = "Loading the model {model}…"

WAITING = "Waiting for a free processor…"

# Errors of the page itself
SESSION_EXPIRED = (
    "Your corpus was deleted: it was not used for {minutes} minutes, or its room was needed. "
    "Choose a corpus and press “Use this corpus”."
)
NO_SESSION = "The page is still starting. Try again in a moment."
TEXT_EMPTY = "The {what} is empty. Type a few words."
TEXT_TOO_LONG = "The {what} has {n_chars:,} characters; at most {max_chars:,} are taken. Shorten it."
TEXT_BROKEN = "The {what} holds half of a character (U+{code}). Type it anew; copying cut a symbol in two."
QUERY_WORD = "query"
PASSAGE_WORD = "passage"
NO_FILE = "No file was chosen. Drop one on “Your file”, or take a sample corpus."
INDEX_AGAIN = "Your corpus has no index for this model yet. Press “Use this corpus”."
NO_RESULT = "There is no search to explain. Search first."
NOT_A_HIT = "{passage_id} is not among the hits of your last search. Search again."
FILE_TOO_LARGE = "{name} has {size} MB; at most {limit} MB are taken. Split the file or shorten it."
UNKNOWN_CORPUS = "There is no corpus called {key!r}; it is one of {known}."
UNKNOWN_MODEL = "{model} is not offered here. Start the page with --model to use another checkpoint."
PORT_BAD = "The port {port!r} is not a number. Set PORT to a number from 1 to 65535."
BAD_K = "k is {k}; ask for 1 to {max_k} hits."
PORT_TAKEN = (
    "{where} cannot be used: most likely another program listens there. Choose another port with --port or PORT."
)

# Footer
PRIVATE_LOCAL = (
    "Everything runs on this machine: the page asks no other host for anything, and your texts do not leave it."
)
PRIVATE_SPACE = (
    "The page asks no other host for anything. Your texts are kept in this Space's memory, for your session only, "
    "and are deleted after {minutes:g} minutes without use."
)
DELETE = "Delete my data"
DELETED = "Your file, your index and your results are deleted."

SOURCES = {"given": "given", "detected": "detected", "inherited": "inherited"}
_STAGES = {"encode": "Encoding", "write": "Laying out"}


def margin(guess: LanguageGuess) -> str:
    """Say how far the detected language is ahead; the detector's own probability alone would promise too much."""
    if guess.runner_up is None:
        return "no rival"
    return f"{guess.margin:.2f} ahead of {guess.runner_up}"


def timings(seconds: dict[str, float]) -> str:
    """Write the seconds of each stage in milliseconds."""
    return " · ".join(f"{stage} {1000 * value:,.0f} ms" for stage, value in seconds.items())


def size(n_bytes: int) -> str:
    """Write a number of bytes in MB or GB."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def progress(step: Any) -> tuple[str, float | None]:
    """Write a progress line and the share that is done (0 to 1), None if it cannot be told."""
    if isinstance(step, str):
        return step, None
    languages = ", ".join(f"{code} {n:,}" for code, n in step.languages.items())
    line = f"{_STAGES[step.stage]} {step.done:,} of {step.total:,} passages"
    if languages:
        line += f" ({languages})"
    return line, step.done / step.total if step.total else None


def languages_of(codes: tuple[str, ...]) -> str:
    """Count languages, or name the only one."""
    if len(codes) == 1:
        return LANGUAGES[codes[0]].name
    return f"{len(codes)} languages"


def other_language(what: str, chosen: str, read: str) -> str:
    """Say that a text reads like another language than the one chosen for it."""
    return OTHER_LANGUAGE.format(what=what, chosen=LANGUAGES[chosen].name, read=LANGUAGES[read].name)


def sentences(*parts: str) -> str:
    """Join what the core and the page say, each ended by a full stop."""
    return " ".join(part if part.endswith((".", "…", "?", "!")) else f"{part}." for part in parts if part)


def no_adapters(passage_ids: list[str], codes: list[str], model: str) -> str:
    """Say which passages the model cannot encode; their languages may only have been guessed."""
    shown = ", ".join(passage_ids[:5]) + (f" and {len(passage_ids) - 5:,} more" if len(passage_ids) > 5 else "")
    passages = f"{shown} {'was' if len(passage_ids) == 1 else 'were'}"
    languages = ", ".join(f"{LANGUAGES[code].name} ({code})" for code in codes)
    return NO_ADAPTER.format(passages=passages, languages=languages, model=model)
