"""Measure a checkpoint on question-passage sets: each question's gold passage among all passages of its file.

    python benchmarks/evaluate_qa.py CHECKPOINT FOLDER > result.jsonl

FOLDER holds dev.SOURCE.LANG.jsonl.xz, rows with question and context. Prints one JSON object a file as it is done, with
the measures of the multi-vector, BM25, hybrid and (with --single-vector) single-vector runs, then one with the means
over the files. Progress goes to standard error. Passages are whole contexts: what lies past the checkpoint's length
limit is not seen by the encoder (n_passages_cut says how often), but is by BM25.
"""

import argparse
import json
import lzma
import platform
import random
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import xm  # noqa: E402
from xm.errors import LanguageError, XmError  # noqa: E402
from xm.evaluation import Qrels, Query, evaluate_queries  # noqa: E402
from xm.languages import find_code  # noqa: E402
from xm.options import EvaluateOptions  # noqa: E402
from xm.search import BuildProgress, Searcher, build_index  # noqa: E402
from xm.types import Corpus, LanguageGuess, Passage  # noqa: E402

if TYPE_CHECKING:
    from xm.encoder import Encoder

FILE_NAME = re.compile(r"dev\.(.+)\.([A-Za-z_]+)\.jsonl\.xz")
MEASURES = ("MRR@10", "R@100")


@dataclass(frozen=True)
class QuestionSet:
    """One file: its passages, its questions, and which passage answers which question."""

    name: str
    corpus: Corpus
    queries: tuple[Query, ...]
    qrels: Qrels


def read_set(path: Path, *, max_questions: int | None, max_passages: int | None, seed: int) -> QuestionSet:
    """Read a file, or a seeded sample of it: questions first, then their passages and others up to max_passages.

    Raises:
        XmError: the name, the file or a row is not what is expected.
    """
    match = FILE_NAME.fullmatch(path.name)
    if match is None:
        raise XmError(f"{path}: expected a name like dev.SOURCE.LANG.jsonl.xz")
    code = find_code(match[2])
    pairs = read_pairs(path)
    contexts = list(dict.fromkeys(context for _, context in pairs))
    rng = random.Random(seed)
    if max_questions is not None and max_questions < len(pairs):
        pairs = [pairs[place] for place in sorted(rng.sample(range(len(pairs)), max_questions))]
    if max_passages is not None and max_passages < len(contexts):
        contexts = sample_passages(contexts, pairs, max_passages, rng)
    ids = {context: f"p{place}" for place, context in enumerate(contexts)}
    pairs = [(question, context) for question, context in pairs if context in ids]
    language = LanguageGuess(code, 1.0, "given")
    return QuestionSet(
        name=path.name,
        corpus=Corpus(path.name, tuple(Passage(ids[context], context, language) for context in contexts)),
        queries=tuple(Query(f"q{place}", question, code) for place, (question, _) in enumerate(pairs)),
        qrels={f"q{place}": {ids[context]: 1} for place, (_, context) in enumerate(pairs)},
    )


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Read (question, context) of every row; ids are not used, since they repeat in some files."""
    pairs = []
    try:
        with lzma.open(path, "rt", encoding="utf-8", newline="\n") as file:
            for line in file:
                row = json.loads(line)
                pairs.append((row["question"], row["context"]))
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise XmError(f"{path}: cannot be read ({error})") from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise XmError(
            f"{path}, line {len(pairs) + 1}: expected a JSON object with question and context ({error!r})"
        ) from error
    if not pairs:
        raise XmError(f"{path}: no rows in it")
    return pairs


def sample_passages(
    contexts: list[str], pairs: list[tuple[str, str]], max_passages: int, rng: random.Random
) -> list[str]:
    """Keep the passages of the questions (as many as fit), fill up with others; the order stays."""
    kept = set(list(dict.fromkeys(context for _, context in pairs))[:max_passages])
    others = [context for context in contexts if context not in kept]
    kept.update(rng.sample(others, max_passages - len(kept)))
    return [context for context in contexts if context in kept]


def evaluate_set(questions: QuestionSet, encoder: "Encoder", options: EvaluateOptions) -> dict[str, object]:
    """Index and evaluate one set; return the line that is printed for it."""
    begun = time.perf_counter()
    index = build_index(questions.corpus, encoder, on_progress=report_build)
    built = time.perf_counter()
    result = evaluate_queries(
        Searcher(encoder, index), questions.queries, questions.qrels, options=options, on_progress=report_queries
    )
    return {
        "file": questions.name,
        "language": questions.corpus.languages[0],
        "n_questions": result["queries"],
        "n_passages": len(questions.corpus.passages),
        "n_passages_cut": int((index.table.n_unseen > 0).sum()),
        "n_tokens": index.n_tokens,
        "dim": index.dim,
        "runs": result["runs"],
        "seconds": {"index": built - begun, **result["seconds"]},
    }


def summarise(lines: list[dict[str, object]], encoder: "Encoder") -> dict[str, object]:
    """Average over the files, each counting alike, and count the files where one method's MRR@10 beats another's."""
    runs = [line["runs"] for line in lines]
    means = {
        method: {name: sum(run[method][name] for run in runs) / len(runs) for name in MEASURES} for method in runs[0]
    }
    pairs = [("multi_vector", "bm25"), ("multi_vector", "single_vector")]
    pairs += [(hybrid, one) for hybrid in ("hybrid_rrf", "hybrid_minmax") for one in ("multi_vector", "bm25")]
    return {
        "file": "mean over files",
        "n_files": len(lines),
        "runs": means,
        "n_files_where_mrr_is_higher": {
            f"{one} > {other}": sum(run[one]["MRR@10"] > run[other]["MRR@10"] for run in runs)
            for one, other in pairs
            if other in means
        },
        "model": Path(encoder.model).name,
        "revision": encoder.revision,
        "precision": encoder.precision,
        "machine": f"{platform.platform()}, {platform.machine()}, Python {platform.python_version()}",
    }


def report_build(progress: BuildProgress) -> None:
    """Show how far the index is."""
    if progress.done % 50 == 0 or progress.done == progress.total:
        print(f"\r  {progress.stage} {progress.done}/{progress.total}   ", end="", file=sys.stderr, flush=True)


def report_queries(done: int, total: int) -> None:
    """Show how many questions are done."""
    if done % 50 == 0 or done == total:
        end = "\n" if done == total else ""
        print(f"\r  questions {done}/{total}   ", end=end, file=sys.stderr, flush=True)


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="checkpoint folder, or a name that xm knows")
    parser.add_argument("folder", type=Path, help="folder of dev.SOURCE.LANG.jsonl.xz")
    parser.add_argument("--single-vector", metavar="CHECKPOINT", help="the single-vector twin")
    parser.add_argument("--languages", nargs="+", metavar="CODE", help="only these, such as de fr; default: all")
    parser.add_argument("--max-questions", type=int, metavar="N", help="a seeded sample of each file's questions")
    parser.add_argument("--max-passages", type=int, metavar="N", help="a seeded sample of each file's passages")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs-out", type=Path, metavar="DIR", help="write TREC run files, one folder a file")
    arguments = parser.parse_args()
    for name in ("max_questions", "max_passages"):
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    return arguments


def find_files(folder: Path, languages: list[str] | None) -> list[Path]:
    """List the files of the wanted languages, by name."""
    wanted = {find_code(language) for language in languages} if languages else None
    files = [
        path
        for path in sorted(folder.glob("dev.*.jsonl.xz"))
        if (match := FILE_NAME.fullmatch(path.name)) and (wanted is None or find_code(match[2]) in wanted)
    ]
    if not files:
        raise XmError(f"{folder}: no files named dev.SOURCE.LANG.jsonl.xz for {languages or 'any language'}")
    return files


def main() -> None:
    """Evaluate file after file."""
    arguments = read_arguments()
    files = find_files(arguments.folder, arguments.languages)
    encoder = xm.load_encoder(arguments.checkpoint)
    lines = []
    for path in files:
        sys.stderr.write(f"{path.name}\n")
        questions = read_set(
            path, max_questions=arguments.max_questions, max_passages=arguments.max_passages, seed=arguments.seed
        )
        options = EvaluateOptions(
            measures=MEASURES,
            single_vector=arguments.single_vector,
            runs_out=str(arguments.runs_out / path.name.removesuffix(".jsonl.xz")) if arguments.runs_out else None,
        )
        try:
            lines.append(evaluate_set(questions, encoder, options))
        except LanguageError as error:
            sys.stderr.write(f"  left out: {error}\n")
            print(json.dumps({"file": path.name, "left_out": str(error)}, ensure_ascii=False), flush=True)
            continue
        print(json.dumps(lines[-1], ensure_ascii=False), flush=True)
    if lines:
        print(json.dumps(summarise(lines, encoder), ensure_ascii=False), flush=True)


if __name__ == "__main__":
    try:
        main()
    except XmError as error:
        sys.stderr.write(f"evaluate_qa: {error}\n")
        sys.exit(2)
