"""Kill processes while they build, add to and compact an index, and look at what they leave.

    python benchmarks/index_faults.py [--kills 100] [--passages 400] [--seed 0]

Each process is ended by SIGKILL at a random moment of its work; then the index is opened, every byte of it verified,
and its contents are compared with those before and those the change would have given. Prints one JSON object: kills,
broken (must be 0), old, new. A process that was done before its moment came does not count. POSIX only, as it forks.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from xm.errors import XmError
from xm.index.centroid import build_centroid
from xm.index.change import add_passages, compact, delete_passages
from xm.index.flat import build_flat
from xm.index.parts import Index
from xm.index.store import open_index, save_index
from xm.options import CodecOptions
from xm.types import Corpus, LanguageGuess, Passage, TokenEmbeddings

DIM = 32
CHECKPOINT = {"model": "made up", "revision": "0"}
GUESS = LanguageGuess("en_XX", 1.0, "given")
Action = Callable[[], None]


def made(prefix: str, n_passages: int, rng: np.random.Generator) -> tuple[Corpus, list[TokenEmbeddings]]:
    """Make passages of 10 to 60 tokens with random unit vectors."""
    passages, items = [], []
    for number in range(n_passages):
        n_tokens = int(rng.integers(10, 61))
        vectors = rng.standard_normal((n_tokens, DIM)).astype(np.float32)
        text = " ".join(f"{prefix}{word}" for word in rng.integers(0, 5_000, n_tokens))
        passages.append(Passage(f"{prefix}-{number}", text, GUESS))
        items.append(
            TokenEmbeddings(
                text=text,
                vectors=vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
                tokens=tuple(text.split()),
                offsets=np.full((n_tokens, 2), -1, dtype=np.int32),
                kinds=("content",) * n_tokens,
                language=GUESS,
            )
        )
    return Corpus("made up", tuple(passages)), items


def index_of(kind: str, corpus: Corpus, items: list[TokenEmbeddings]) -> Index:
    """Build an index in memory."""
    flat = build_flat(corpus, items, **CHECKPOINT)
    return flat if kind == "flat" else build_centroid(flat.table, flat.vectors, options=CodecOptions(n_centroids=64))


def fingerprint(folder: Path) -> tuple[tuple[str, ...], int, tuple[str, ...]]:
    """Open an index, verify every byte, read every passage; give what tells it from another."""
    index = open_index(folder, verify=True)
    query = np.eye(DIM, dtype=np.float32)[:4]
    hits = tuple(hit.passage_id for hit in index.search(query, k=5))
    texts = [passage.text for passage in index.corpus.passages]
    vectors = sum(float(np.abs(index.reconstruct(passage_id).vectors).sum()) for passage_id in index.corpus.passage_ids)
    return index.corpus.passage_ids, hash((tuple(texts), round(vectors, 2))), hits


def seconds_of(action: Action) -> float:
    """Run an action in a process of its own and time it."""
    begun = time.perf_counter()
    os.waitpid(start(action), 0)
    return time.perf_counter() - begun


def start(action: Action) -> int:
    """Run an action in a forked process; give its id."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        finally:
            os._exit(0)
    return pid


def kill_during(action: Action, *, after: float) -> bool:
    """Run an action and kill it after some seconds; say whether it was still at work."""
    pid = start(action)
    time.sleep(after)
    os.kill(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def changes_of(kind: str, folder: Path, n_passages: int, rng: np.random.Generator) -> dict[str, Action]:
    """Return the three changes, each of which can be repeated."""
    other = index_of(kind, *made("other", n_passages, rng))
    more = made("more", n_passages // 2, rng)
    return {
        "build": lambda: save_index(other, folder),
        "add": lambda: add_passages(folder, *more, **CHECKPOINT),
        "compact": lambda: compact(folder),
    }


def measure(*, n_kills: int, n_passages: int, seed: int) -> dict[str, object]:
    """Kill n_kills processes at work and count what they left."""
    rng, moments = np.random.default_rng(seed), random.Random(seed)
    by_change: dict[str, Counter[str]] = {}
    problems: list[str] = []
    n_each = -(-n_kills // 6)  # three changes to indexes of two kinds
    with tempfile.TemporaryDirectory() as place:
        for kind in ("flat", "centroid"):
            folder = Path(place) / kind
            base = index_of(kind, *made("base", n_passages, rng))
            for name, change in changes_of(kind, folder, n_passages, rng).items():
                left = by_change[f"{kind} {name}"] = Counter()
                wanted = min(n_each, n_kills - sum(counts.total() for counts in by_change.values()))
                left.update(kill_often(change, base, folder, n=wanted, moments=moments, problems=problems))
    return {
        "kills": sum(counts.total() for counts in by_change.values()),
        **{outcome: sum(counts[outcome] for counts in by_change.values()) for outcome in ("broken", "old", "new")},
        "by_change": {name: dict(counts) for name, counts in by_change.items()},
        "problems": problems,
        "seed": seed,
        "passages": n_passages,
    }


def kill_often(
    change: Action, base: Index, folder: Path, *, n: int, moments: random.Random, problems: list[str]
) -> Iterator[str]:
    """Make a change n times in a process that is killed at work; say each time what it left."""
    reset(base, folder)
    old = fingerprint(folder)
    seconds = seconds_of(change)
    new = fingerprint(folder)
    while n > 0:
        reset(base, folder)
        former = manifest_of(folder)
        if kill_during(change, after=moments.uniform(0, seconds)):
            n -= 1
            yield what_is_left(folder, former, old, new, problems)
            seconds *= 1.1  # a busy disk changes its pace: stay near the whole time that a change takes
        else:
            seconds *= 0.8


def reset(base: Index, folder: Path) -> None:
    """Put the first index back, with a fifth of it deleted, so that compacting has something to do."""
    save_index(base, folder)
    delete_passages(folder, base.corpus.passage_ids[::5])


def manifest_of(folder: Path) -> bytes:
    """Return what is committed."""
    return (folder / "manifest.json").read_bytes()


def what_is_left(folder: Path, former: bytes, old: object, new: object, problems: list[str]) -> str:
    """Say whether an index is the old one, the new one or broken."""
    try:
        found, is_new = fingerprint(folder), manifest_of(folder) != former
    except (XmError, OSError, ValueError) as error:
        problems.append(str(error))
        return "broken"
    if found != (new if is_new else old):
        problems.append(f"{folder.name} is neither the old index nor the new")
        return "broken"
    return "new" if is_new else "old"


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--passages", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    result = measure(n_kills=arguments.kills, n_passages=arguments.passages, seed=arguments.seed)
    print(json.dumps(result, indent=1))
    sys.exit(1 if result["broken"] else 0)


if __name__ == "__main__":
    main()
