"""Measure one engine in a process of its own: `python -m benchmarks.index.measure build|search ENGINE DATA WORK JSON`.

Runs in the engine's own environment, so it needs the standard library and numpy alone. Prints one JSON object. An
engine is a module of benchmarks.index.peers with two functions: `build(vectors, starts, folder, **settings)` writes an
index, and may return its bytes by part; `open_index(data, folder, **settings)` returns a function that takes a query,
(32, dim) float32, and k, and returns passages by falling score. An engine that keeps no files has no `build`.
"""

import importlib
import json
import sys
import time
from pathlib import Path

import numpy as np

K, DEEP_K = 10, 100  # hits asked for: times are those of the former, and with @100 of the latter
WARM_UP = 5


def main() -> None:
    """Build or search, as the command line says."""
    verb, engine, data, work = sys.argv[1:5]
    settings = json.loads(sys.argv[5])
    module = importlib.import_module(f"benchmarks.index.peers.{engine}")
    measured = (build if verb == "build" else search)(module, Path(data), Path(work), settings)
    print(json.dumps(measured | {"peak_bytes": peak_bytes()}))


def build(module: object, data: Path, work: Path, settings: dict[str, object]) -> dict[str, object]:
    """Write an index; return the seconds it took and the bytes it takes."""
    vectors, starts = np.load(data / "vectors.npy", mmap_mode="r"), np.load(data / "starts.npy")
    begun = time.perf_counter()
    parts = module.build(vectors, starts, work, **settings)
    seconds = time.perf_counter() - begun
    n_bytes = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
    per_token = {name: count / len(vectors) for name, count in (parts or {}).items()}
    return {"build_s": seconds, "bytes_per_token": n_bytes / len(vectors), "parts_per_token": per_token}


def search(module: object, data: Path, work: Path, settings: dict[str, object]) -> dict[str, object]:
    """Open an index and ask every query; return the times, and recall against the exact order."""
    queries, truth = np.load(data / "queries.npy"), np.load(data / "truth.npy")
    begun = time.perf_counter()
    ask = module.open_index(data, work, **settings)
    opened = time.perf_counter()
    ask(queries[0], K)
    first = time.perf_counter()
    measured = {"open_s": opened - begun, "first_query_ms": (first - opened) * 1_000}
    for k in (K, DEEP_K):
        for query in queries[:WARM_UP]:
            ask(query, k)
        found, seconds, processor = [], [], time.process_time()
        for query in queries:
            at = time.perf_counter()
            found.append(list(ask(query, k)))
            seconds.append(time.perf_counter() - at)
        p50, p95 = np.percentile(seconds, [50, 95]) * 1_000
        after = "" if k == K else f"@{k}"
        measured[f"p50_ms{after}"], measured[f"p95_ms{after}"] = p50, p95
        measured[f"processor_ms{after}"] = (time.process_time() - processor) / len(queries) * 1_000
        measured[f"recall@{k}"] = recall(found, truth, k)
    return measured


def recall(found: list[list[int]], truth: np.ndarray, k: int) -> float:
    """Return the share of the k truly best passages that are among the first k found, averaged over queries."""
    shares = [
        len(set(hits[:k]) & set(best[:k])) / len(best[:k]) for hits, best in zip(found, truth.tolist(), strict=True)
    ]
    return float(np.mean(shares))


def peak_bytes() -> int:
    """Return the most memory this process has held, memory-mapped pages included (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1_024


if __name__ == "__main__":
    main()
