"""Measure indexes against each other: time, room and recall on the same embeddings, at growing sizes.

    python -m benchmarks.index --out results.jsonl [--sizes 10000 100000 1000000 10000000] [--quick] [--data FOLDER]

Each engine builds and searches in processes of its own, one after the other, limited to --threads threads; peers run in
their own environments (--venvs). Prints and appends one JSON object a measurement; what --out holds already is not
measured again. An engine that does not run is recorded with its error. --chart draws what --out holds.
Leaves out: what is measured (benchmarks.index.measure) and on what (benchmarks.index.data).
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.index.chart import draw
from benchmarks.index.data import DIM, make_synthetic, make_xm_mini
from benchmarks.index.plan import ENGINES, Engine

ROOT = Path(__file__).resolve().parents[2]
SIZES, QUICK_SIZES = (10_000, 100_000, 1_000_000, 10_000_000), (10_000,)
THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "RAYON", "TOKIO_WORKER", "LANCE_CPU", "NUMBA")


def main() -> None:
    """Make each data folder, run what is missing, draw."""
    arguments = read_arguments()
    done = {key_of(line) for line in read_lines(arguments.out)}
    for size in arguments.sizes:
        folder = arguments.work / f"synthetic-{size}"
        if not (folder / "truth.npy").is_file():
            n_queries = arguments.queries if size < 5_000_000 else min(arguments.queries, 20)
            make_synthetic(folder, n_tokens=size, n_queries=n_queries, seed=size)
        measure_all(folder, size, arguments, done)
    if arguments.xm_mini:
        folder = arguments.work / "xm-mini"
        if not (folder / "truth.npy").is_file():
            make_xm_mini(folder, contexts=arguments.data, n_queries=arguments.queries, seed=0)
        measure_all(folder, None, arguments, done)
    if arguments.chart:
        draw(read_lines(arguments.out), arguments.chart)


def measure_all(data: Path, size: int | None, arguments: argparse.Namespace, done: set[str]) -> None:
    """Measure every engine on one data folder."""
    for engine in ENGINES:
        if engine.name not in (arguments.engines or [engine.name]) or (size or 0) > engine.max_tokens:
            continue
        searches = engine.searches[:2] if arguments.quick else engine.searches
        wanted = [line_of(data, engine, search) for search in searches]
        wanted = [line for line in wanted if key_of(line) not in done]
        if not wanted:
            continue
        with tempfile.TemporaryDirectory(dir=arguments.work) as work:
            built: dict[str, object] = {}
            if engine.build is not None:
                built = run("build", engine, engine.build, data, Path(work), arguments)
                built["build_peak_bytes"] = built.pop("peak_bytes", None)
            for line in wanted:
                found = {} if "error" in built else run("search", engine, line["search"], data, Path(work), arguments)
                record(line | facts(arguments) | built | found, arguments.out)


def run(
    verb: str, engine: Engine, settings: dict[str, object], data: Path, work: Path, arguments: argparse.Namespace
) -> dict[str, object]:
    """Run one measurement in the engine's environment; an error comes back as such."""
    python = arguments.venvs / engine.venv / "bin" / "python" if engine.venv else Path(sys.executable)
    if not python.is_file():
        return {"error": f"no environment {python}"}
    module = [str(python), "-m", "benchmarks.index.measure", verb, engine.module, str(data), str(work / "index")]
    threads = {f"{name}_NUM_THREADS": str(arguments.threads) for name in THREADS}
    # What colbert-ai compiles at first use; a compilation that was cut off leaves a lock that waits for ever.
    compiled = arguments.work / "torch-extensions"
    # A virtual environment's own commands come first: colbert-ai compiles with its ninja.
    path = {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    try:
        ended = subprocess.run(
            [*module, json.dumps(settings)],
            cwd=ROOT,
            env=os.environ | threads | path | {"CUDA_VISIBLE_DEVICES": "", "TORCH_EXTENSIONS_DIR": str(compiled)},
            capture_output=True,
            text=True,
            timeout=arguments.timeout,
        )
    except subprocess.TimeoutExpired:
        shutil.rmtree(compiled, ignore_errors=True)
        return {"error": f"{verb} took over {arguments.timeout} s"}
    if ended.returncode:
        return {
            "error": f"{verb}: {(ended.stderr.strip().splitlines() or [f'ended with {ended.returncode}'])[-1][:300]}"
        }
    return json.loads(ended.stdout.strip().splitlines()[-1])


def line_of(data: Path, engine: Engine, search: dict[str, object]) -> dict[str, object]:
    """Say what a measurement is of."""
    starts = np.load(data / "starts.npy")
    return {
        "data": data.name,
        "n_tokens": int(starts[-1]),
        "n_passages": len(starts) - 1,
        "engine": engine.name,
        "build": engine.build,
        "search": search,
    }


def facts(arguments: argparse.Namespace) -> dict[str, object]:
    """Say when and on what machine, and how busy it was."""
    return {
        "dim": DIM,
        "threads": arguments.threads,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "load": os.getloadavg()[0],
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def record(line: dict[str, object], out: Path) -> None:
    """Append a line to the results and print it."""
    text = json.dumps(line)
    with out.open("a", encoding="utf-8") as file:
        file.write(text + "\n")
    print(text, flush=True)


def read_lines(out: Path) -> list[dict[str, object]]:
    """Read the results; a line that was cut off counts as not there."""
    lines = []
    for text in out.read_text(encoding="utf-8").splitlines() if out.is_file() else ():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            print(f"{out}: left out a damaged line", file=sys.stderr)
    return lines


def key_of(line: dict[str, object]) -> str:
    """Name a measurement: data, engine and settings."""
    return json.dumps([line["data"], line["engine"], line["build"], line["search"]], sort_keys=True)


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, appended to")
    parser.add_argument("--sizes", type=int, nargs="*", help=f"tokens, made up; default {SIZES}")
    parser.add_argument("--quick", action="store_true", help="10,000 tokens and two searches an engine unless told")
    parser.add_argument("--engines", nargs="*", help="names, as in benchmarks/index/plan.py; default all")
    parser.add_argument("--xm-mini", action="store_true", help="also xm-mini's embeddings of the sample corpora")
    parser.add_argument("--data", type=Path, help="folder of dev.SOURCE.LANG.jsonl.xz, passages for --xm-mini")
    parser.add_argument("--queries", type=int, default=100, help="queries, 20 of them at 5,000,000 tokens and more")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--timeout", type=int, default=3_600, help="seconds for one build or one search")
    parser.add_argument("--venvs", type=Path, default=Path("../venvs"), help="environments of the peers")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "xm-benchmark-index")
    parser.add_argument("--chart", type=Path, help="HTML file to draw the results into")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.sizes is None:
        arguments.sizes = QUICK_SIZES if arguments.quick else SIZES
    return arguments


if __name__ == "__main__":
    main()
