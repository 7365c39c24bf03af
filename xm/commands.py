"""What each command of `xm` does: call the core, and report it as facts (for --json) and as lines (for people).

Leaves out: reading the command line, printing, and showing errors (xm.__main__).
"""

import importlib.metadata
import os
import platform
import sys
import time
import unicodedata
from argparse import Namespace
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xm
from xm.errors import CheckpointError, XmError
from xm.options import DEFAULT_MODEL

if TYPE_CHECKING:
    from xm.search import BuildProgress
    from xm.types import LanguageGuess

_LIBRARIES = (
    "numpy torch transformers tokenizers safetensors huggingface_hub faiss-cpu umap-learn langdetect gradio plotly"
).split()


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
    lines = [f"{_guess_line(guess)}  {_plain(text, width=60)}" for text, guess in pairs]
    if prior:
        lines.append(f"{_guess_line(together)}  (all together)")
    texts = [{"text": text, **_guess_facts(guess)} for text, guess in pairs]
    return Report({**_guess_facts(together), "texts": texts}, tuple(lines))


def run_index(arguments: Namespace) -> Report:
    """Read a corpus, index it, and write the index to its folder."""
    from xm.corpus import read_corpus
    from xm.encoder import load_encoder
    from xm.index.store import check_target
    from xm.search import build_index

    check_target(arguments.out)
    begun = time.perf_counter()
    corpus = read_corpus(arguments.corpus, language=arguments.language)
    read = time.perf_counter()
    encoder = load_encoder(_lasting_name(arguments.model or default_model()))
    loaded = time.perf_counter()
    index = build_index(corpus, encoder, folder=arguments.out, on_progress=_show_progress)
    built = time.perf_counter()
    n_bytes = sum(path.stat().st_size for path in Path(arguments.out).iterdir())
    languages = dict(Counter(passage.language.code for passage in corpus.passages).most_common())
    facts = {
        "index": str(arguments.out),
        "corpus": corpus.name,
        "model": index.model,
        "revision": index.revision,
        "precision": encoder.precision,
        "dim": index.dim,
        "n_passages": index.n_passages,
        "n_tokens": index.n_tokens,
        "languages": languages,
        "bytes": n_bytes,
        "notes": list(corpus.notes),
        "seconds": {"read": read - begun, "load": loaded - read, "build": built - loaded},
    }
    lines = [_plain(f"note: {note}") for note in corpus.notes]
    lines.append(f"{index.n_passages} passages ({_counts(languages)}), {index.n_tokens} tokens of dim {index.dim}")
    lines.append(f"indexed with {index.model} ({encoder.precision}) in {built - loaded:.1f} s")
    lines.append(f"{arguments.out}: {n_bytes / 1e6:.1f} MB")
    return Report(facts, tuple(lines))


def run_search(arguments: Namespace) -> Report:
    """Search an index or a corpus."""
    searcher = xm.open(arguments.folder, model=_model_for(arguments))
    result = searcher.search(arguments.query, k=arguments.k, language=arguments.language)
    lines = [f"query through {_guess_line(result.query.language)}, {sum(result.seconds.values()):.3f} s"]
    hits = []
    for hit in result.hits:
        passage = searcher.index.corpus.passages[searcher.index.place_of(hit.passage_id)]
        place = {"rank": hit.rank, "passage_id": hit.passage_id, "score": hit.score, "exact": hit.exact}
        hits.append({**place, "language": passage.language.code, "text": passage.text})
        lines.append(f"{hit.rank:>3}  {hit.score:8.4f}  {passage.language.code}  {_plain(hit.passage_id)}")
        lines.append(f"     {_plain(passage.text, width=100)}")
    adapter = result.query.language.code
    facts = {"query": arguments.query, "adapter": adapter, "hits": hits, "seconds": result.seconds}
    return Report(facts, tuple(lines))


def run_explain(arguments: Namespace) -> Report:
    """Show where the score of a query and a passage comes from: a line for each query token."""
    searcher = xm.open(arguments.folder, model=_model_for(arguments))
    alignment = searcher.explain(arguments.query, arguments.passage_id, language=arguments.language)
    facts: dict[str, Any] = alignment.to_dict()
    exactness = "exact" if facts["exact"] else "approximate"
    lines = [
        f"query through {_guess_line(alignment.query.language)}",
        f"passage {_plain(alignment.passage_id)} through {_guess_line(alignment.passage.language)}",
    ]
    for row in facts["rows"]:
        token, best_token = _plain(row["token"]), _plain(row["best_token"])
        lines.append(f"{row['similarity']:8.4f}  {row['kind']:<7}  {token:<16}  {best_token} ({row['best_index']})")
    lines.append(f"{facts['score']:8.4f}  is their sum, the score ({exactness})")
    if arguments.html:
        try:
            Path(arguments.html).write_text(alignment.to_html(), encoding="utf-8")
        except OSError as error:
            raise XmError(f"{arguments.html} cannot be written: {error.strerror}; name another file") from error
        lines.append(f"figure in {arguments.html}")
    return Report(facts, tuple(lines))


def run_evaluate(arguments: Namespace) -> Report:
    """Measure an index on judged queries."""
    from xm.evaluation import evaluate_index

    facts = evaluate_index(
        arguments.folder,
        queries_path=arguments.queries,
        qrels_path=arguments.qrels,
        measures=arguments.measures.split(),
        model=_model_for(arguments),
    )
    lines = [f"{facts['queries']} queries"]
    lines += [f"{name:<10}  {value:.4f}" for name, value in facts["measures"].items()]
    return Report(facts, tuple(lines))


def run_info(arguments: Namespace) -> Report:
    """Say what is installed, on which machine, and what is in a checkpoint."""
    facts: dict[str, Any] = {
        "xm": xm.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        **_checkpoint_facts(arguments.named_model),
    }
    lines = []
    for name, value in facts.items():
        parts = value if isinstance(value, dict) else {"": value}
        lines += [f"{name:<12} {key:<18} {_plain(_short(part))}" for key, part in parts.items()]
    return Report(facts, tuple(lines))


def _checkpoint_facts(named: str | None) -> dict[str, Any]:
    """Facts of the named checkpoint; of the default one with its problem, since `info` is for finding problems."""
    from xm.encoder import inspect_checkpoint

    model = named or default_model()
    try:
        return {"model": model, "checkpoint": asdict(inspect_checkpoint(model))}
    except CheckpointError as error:
        if named:
            raise
        return {"model": model, "checkpoint": None, "problem": str(error)}


def _lasting_name(model: str) -> str:
    """Write a folder out in full, so that its index can be opened from anywhere."""
    path = Path(model).expanduser()
    return str(path.resolve()) if model != DEFAULT_MODEL and path.is_dir() else model


def _model_for(arguments: Namespace) -> str | None:
    """The model to open a folder with: the one named, else an index's own, else the default for a corpus."""
    from xm.index.store import is_index_folder

    return arguments.model or (None if is_index_folder(arguments.folder) else default_model())


def _show_progress(progress: "BuildProgress") -> None:
    """Keep one line on standard error up to date, if somebody is looking at it."""
    if sys.stderr.isatty():
        end = "\n" if progress.stage == "write" and progress.done == progress.total else ""
        line = f"{progress.stage} {progress.done}/{progress.total} ({_counts(progress.languages)})"
        sys.stderr.write(f"\r\033[K{line[:100]}{end}")
        sys.stderr.flush()


def _guess_facts(guess: "LanguageGuess") -> dict[str, Any]:
    """A guess as JSON; the adapter is the language's, as nothing else is ever used."""
    from xm.languages import LANGUAGES

    facts = asdict(guess)
    code = facts.pop("code")
    return {"language": code, "name": LANGUAGES[code].name, "adapter": code, **facts}


def _guess_line(guess: "LanguageGuess") -> str:
    """A guess in words; the probability never stands without its margin."""
    if guess.source != "detected":
        return f"{guess.code} ({guess.source})"
    rival = f" over {guess.runner_up}" if guess.runner_up else ""
    return f"{guess.code} (detected, probability {guess.probability:.2f}, margin {guess.margin:.2f}{rival})"


def _counts(languages: dict[str, int]) -> str:
    """Passages by language on one line."""
    return ", ".join(f"{code} {count}" for code, count in languages.items())


def _plain(text: str, *, width: int = 0) -> str:
    """Take out what could steer a terminal, control and direction marks, and cut to a width if one is given."""
    # Cf holds marks that turn the reading direction of what follows; only joiners (U+200C, U+200D) belong to words.
    steering = ("Cc", "Cf", "Zl", "Zp")
    safe = "".join(
        " " if unicodedata.category(char) in steering and char not in "\u200c\u200d" else char for char in text
    )
    return safe[: width - 1] + "…" if 0 < width < len(safe) else safe


def _short(value: Any) -> str:
    """A value on one line."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _version(library: str) -> str | None:
    """The installed version of a library, found without importing it."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
