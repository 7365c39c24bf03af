"""What each command of `xm` does: call the core, and report it as facts (for --json) and as lines (for people).

Leaves out: reading the command line, printing, and showing errors (xm.__main__).
"""

import os
import sys
import unicodedata
from argparse import Namespace
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xm.options import DEFAULT_MODEL, EncodeOptions, EvaluateOptions, options_for

if TYPE_CHECKING:
    from xm.encoder import Encoder
    from xm.search import Searcher
    from xm.types import LanguageGuess


@dataclass(frozen=True)
class Report:
    """What a command found: one JSON object, and the same in lines."""

    facts: dict[str, Any]
    lines: tuple[str, ...]


def default_model() -> str:
    """Return the checkpoint to use where none is named: XM_MODEL, or the embedded one."""
    return os.environ.get("XM_MODEL") or DEFAULT_MODEL


def run_app(arguments: Namespace) -> None:
    """Start the page, and stay with it."""
    from xm import ui

    ui.launch(host=arguments.host, port=arguments.port, model=arguments.model or default_model())


def run_languages(arguments: Namespace) -> Report:
    """List the languages that XMOD has adapters for."""
    from xm.languages import LANGUAGES

    languages = [asdict(language) for language in LANGUAGES.values()]
    lines = []
    for language in LANGUAGES.values():
        found = "told by its script" if language.by_script else "to be chosen by hand"
        found = "detectable" if language.detectable else found
        lines.append(f"{language.code}  {language.name:<24}  {found}")
    return Report({"languages": languages}, tuple(lines))


def run_detect(arguments: Namespace) -> Report:
    """Detect the language of texts: of all together, as for a corpus, and of each."""
    from xm.languages import detect

    together = detect("\n".join(arguments.text))
    prior = () if len(arguments.text) == 1 else (together.code,)
    guesses = [detect(text, prior=prior) for text in arguments.text]
    pairs = list(zip(arguments.text, guesses, strict=True))
    lines = [f"{guess_line(guess)}  {plain(text, width=60)}" for text, guess in pairs]
    if prior:
        lines.append(f"{guess_line(together)}  (all together)")
    texts = [{"text": text, **_guess_facts(guess)} for text, guess in pairs]
    return Report({**_guess_facts(together), "texts": texts}, tuple(lines))


def run_evaluate(arguments: Namespace) -> Report:
    """Measure every method on judged queries, over all of them and by language."""
    from xm.evaluation import evaluate_queries, find_measure, read_qrels, read_queries, result_lines

    options = EvaluateOptions(
        measures=tuple(arguments.measures.split()),
        depth=arguments.depth,
        single_vector=arguments.single_vector,
        runs_out=arguments.runs_out,
    )
    for name in options.measures:
        find_measure(name)  # a wrong name or file shows before anything is loaded
    queries, qrels = read_queries(arguments.queries), read_qrels(arguments.qrels)
    facts = evaluate_queries(open_named(arguments), queries, qrels, options=options, on_progress=_show_queries)
    return Report(facts, tuple(plain(line) for line in result_lines(facts)))


def _show_queries(done: int, total: int) -> None:
    """Keep one line on standard error up to date, if somebody is looking at it."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{done}/{total} queries" + ("\n" if done == total else ""))
        sys.stderr.flush()


def lasting_name(model: str) -> str:
    """Write a folder out in full, so that its index can be opened from anywhere."""
    path = Path(model).expanduser()
    return str(path.resolve()) if model != DEFAULT_MODEL and path.is_dir() else model


def open_named(arguments: Namespace) -> "Searcher":
    """Open the index that is named, or index the corpus that is named in memory, with the encoder that is named."""
    from xm.index.store import is_index_folder
    from xm.search import open_searcher

    model = arguments.model or (None if is_index_folder(arguments.folder) else default_model())
    return open_searcher(arguments.folder, model=model, options=encode_options(arguments))


def load_named(arguments: Namespace, *, default: str | None = None, revision: str | None = None) -> "Encoder":
    """Load the checkpoint that is named, to encode as the flags say.

    Args:
        arguments: --model, --allow-remote-code and --clean-punctuation.
        default: the checkpoint where none is named; None: `default_model`.
        revision: of the index that the encoder is for, if there is one.

    Raises:
        XmError: --clean-punctuation is asked for, and the index was built without.
    """
    from xm.encoder import load_encoder

    options = encode_options(arguments)
    if revision is not None:
        options = options_for(revision, options)
    return load_encoder(lasting_name(arguments.model or default or default_model()), options=options)


def encode_options(arguments: Namespace) -> EncodeOptions:
    """Return what --allow-remote-code and --clean-punctuation ask for."""
    return EncodeOptions(clean_punctuation=arguments.clean_punctuation, allow_remote_code=arguments.allow_remote_code)


def _guess_facts(guess: "LanguageGuess") -> dict[str, Any]:
    """A guess as JSON; the adapter is the language's, as nothing else is ever used."""
    from xm.languages import LANGUAGES

    facts = asdict(guess)
    code = facts.pop("code")
    return {"language": code, "name": LANGUAGES[code].name, "adapter": code, **facts}


def guess_line(guess: "LanguageGuess") -> str:
    """A guess in words; the probability never stands without its margin."""
    if guess.source != "detected":
        return f"{guess.code} ({guess.source})"
    rival = f" over {guess.runner_up}" if guess.runner_up else ""
    return f"{guess.code} (detected, probability {guess.probability:.2f}, margin {guess.margin:.2f}{rival})"


def plain(text: str, *, width: int = 0) -> str:
    """Take out what could steer a terminal, control and direction marks, and cut to a width if one is given."""
    # Cf holds marks that turn the reading direction of what follows; only joiners (U+200C, U+200D) belong to words.
    steering = ("Cc", "Cf", "Zl", "Zp")
    safe = "".join(
        " " if unicodedata.category(char) in steering and char not in "\u200c\u200d" else char for char in text
    )
    return safe[: width - 1] + "…" if 0 < width < len(safe) else safe
