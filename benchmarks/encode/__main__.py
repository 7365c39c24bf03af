"""Measure encoding against its peers; print one JSON object.

    .venv/bin/python -m benchmarks.encode --out FILE [--quick] [--st PYTHON] [--pylate PYTHON] [--only base mini]
    [--engines xm transformers]

Each engine runs in a process of its own, with the same texts and threads. What FILE holds already is not measured
again, so an interrupted run goes on where it stopped; `--st` and `--pylate` are interpreters that have the peers
(reference/peers.md says which versions), which are skipped, and said so, without. The base-size checkpoint is built
under --cache: 3.4 GB. The full run takes about 40 minutes on two quiet cores, --quick about 5.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.encode.checkpoint import build_base
from benchmarks.encode.quality import measure_quality
from xm.corpus import read_corpus
from xm.encoder import inspect_checkpoint
from xm.encoder.hub import MINI_FOLDER
from xm.encoder.layouts import read_recipe
from xm.encoder.precision import fast_precision
from xm.encoder.tokens import TextTokenizer

ROOT = Path(__file__).resolve().parents[2]
CORPORA = ("parallel", "lecture")
ENGINES = ("xm", "transformers", "sentence-transformers", "pylate")
N_SLOW = 2  # passages for bfloat16 where this processor has no fast form of it: up to a minute each
N_KEPT = 16  # passages whose vectors are compared between engines
SAME = 1e-5  # what float32 may differ from transformers


def main() -> None:
    """Measure what is not in the output file yet, and print it all."""
    options = parse()
    facts = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    facts |= {"machine": describe_machine(), "quick": options.quick, "threads": options.threads}
    engines = facts.setdefault("engines", {})
    for model in options.only:
        folder = build_base(options.cache, options.file_dtype) if model == "base" else MINI_FOLDER
        for name, job in jobs(model, folder, options):
            key = f"{model}/{name}"
            if "passages_s" not in engines.get(key, {}) and "rss_loaded_mb" not in engines.get(key, {}):
                engines[key] = run_engine(key, job, options)
                save(options.out, facts)
        facts[f"{model} compared"] = compare(model, folder, engines, options)
    if "quality" not in facts and "mini" in options.only:
        say("quality of the rough formats, xm-mini on the sample corpora")
        facts["quality"] = measure_quality(quick=options.quick)
    save(options.out, facts)
    print(json.dumps(facts, indent=2))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encode", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file; what it holds is not measured again")
    parser.add_argument("--quick", action="store_true", help="few texts, one pass: a look, not a measurement")
    parser.add_argument("--only", nargs="+", choices=["mini", "base"], default=["mini", "base"])
    parser.add_argument("--engines", nargs="+", default=ENGINES, choices=ENGINES)
    parser.add_argument("--st", help="interpreter that has sentence-transformers")
    parser.add_argument("--pylate", help="interpreter that has PyLate")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "xm-lens" / "benchmarks")
    parser.add_argument("--file-dtype", choices=["float32", "bfloat16"], default="float32", help="of the base file")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--timeout", type=float, default=1_800, help="seconds an engine may take")
    return parser.parse_args()


def jobs(model: str, folder: Path, options: argparse.Namespace) -> list[tuple[str, dict[str, Any]]]:
    """List what to run, by name; the exact formats first."""
    n_passages = {"base": 8 if options.quick else 96, "mini": 32 if options.quick else 586}[model]
    passages, queries = sample(folder, n_passages, 6 if options.quick else 31)
    two = [pair for pair in passages if pair["code"] in ("en_XX", "de_DE")] or passages[:2]
    common = {"folder": str(folder), "threads": options.threads, "passes": 1 if options.quick else 2, "n_kept": N_KEPT}
    slow = fast_precision() == "float32"
    found: list[tuple[str, dict[str, Any]]] = []
    for precision in ("float32", "int8", "bfloat16"):
        for engine in ENGINES[:1] if precision == "int8" else ENGINES:
            few = {"passes": 1, "passages": passages[: 2 if options.quick else N_SLOW], "queries": queries[:3]}
            texts = few if precision == "bfloat16" and slow else {"passages": passages, "queries": queries}
            job = common | {"engine": engine, "precision": precision} | texts
            if precision == "float32" and engine in ("xm", "transformers"):
                job["vectors"] = str(vectors_of(model, engine, options))
            found.append((f"{engine} {precision}", job))
    of_two = {"passes": 1, "passages": two, "queries": [pair for pair in queries if pair["code"] == "de_DE"][:3]}
    for precision in ("float32", "int8"):
        found.append((f"xm {precision} two languages", common | {"engine": "xm", "precision": precision, **of_two}))
    nothing = {"engine": "everything", "precision": "float32", "passages": [], "queries": []}
    found.append(("xm every adapter loaded", common | nothing))
    return [(name, job) for name, job in found if name.split()[0] in options.engines]


def sample(folder: Path, n_passages: int, n_queries: int) -> tuple[list[dict], list[dict]]:
    """Draw passages of natural length in many languages, and queries, with the ids the checkpoint gives them."""
    tokenizer = TextTokenizer(folder, read_recipe(folder))
    passages = [passage for name in CORPORA for passage in read_corpus(ROOT / "sample_corpora" / name).passages]
    drawn = random.Random(0).sample(passages, min(n_passages, len(passages)))
    pairs = [{"text": passage.text, "code": passage.language.code} for passage in drawn]
    tokens = tokenizer.passages([pair["text"] for pair in pairs])
    lines = (ROOT / "sample_corpora" / "parallel" / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    asked = [json.loads(line) for line in random.Random(0).sample(lines, len(lines))]
    german = [query for query in asked if query["language"] == "de_DE"][:3]
    chosen = [*german, *asked][:n_queries]
    queries = [{"text": query["text"], "code": query["language"]} for query in chosen]
    tokens += [tokenizer.query(query["text"]) for query in queries]
    for pair, found in zip([*pairs, *queries], tokens, strict=True):
        pair |= {"ids": found.ids.tolist(), "scored": found.scored.nonzero()[0].tolist()}
    return pairs, queries


def run_engine(key: str, job: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Run one job under its interpreter; what goes wrong is said in place of the numbers."""
    elsewhere = {"sentence-transformers": options.st, "pylate": options.pylate}
    python = elsewhere.get(job["engine"], sys.executable)
    if python is None:
        return {"skipped": f"no interpreter given for {job['engine']}"}
    say(f"{key} ({len(job['passages'])} passages)")
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        command = [python, str(Path(__file__).with_name("worker.py")), str(path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=options.timeout)
        except subprocess.TimeoutExpired:
            return {"failed": f"not done after {options.timeout:.0f} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    facts = json.loads(done.stdout.splitlines()[-1])
    return facts | {"wall_s": time.perf_counter() - begun, "load_average": os.getloadavg()[0]}


def compare(model: str, folder: Path, engines: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Put the numbers in relation: to the best peer, to the matrix product's own rate, to transformers' vectors."""
    facts: dict[str, Any] = {"operations_per_token": operations(folder)}
    for precision in ("float32", "int8", "bfloat16"):
        ours = engines.get(f"{model}/xm {precision}", {})
        if "passages_s" not in ours:
            continue
        alike = "float32" if precision == "int8" else precision
        peers = {
            name: engines[f"{model}/{name} {alike}"]
            for name in ENGINES[1:]
            if "passages_s" in engines.get(f"{model}/{name} {alike}", {})
        }
        used = ours["passages_s"] / ours["n_passages"] * ours["n_tokens"] * facts["operations_per_token"] / 1e9
        facts[precision] = {
            # By the clock, and by what each took of the processor, which alone means something on a busy machine.
            "passages_s_over_peer": {name: ours["passages_s"] / peer["passages_s"] for name, peer in peers.items()},
            "cpu_of_peer": {name: min(ours["cpu_seconds"]) / min(peer["cpu_seconds"]) for name, peer in peers.items()},
            "query_time_of_peer": {name: ours["query_p50_ms"] / peer["query_p50_ms"] for name, peer in peers.items()},
            "query_cpu_of_peer": {
                name: ours["query_cpu_p50_ms"] / peer["query_cpu_p50_ms"] for name, peer in peers.items()
            },
            "gflops": used,
            "share_of_matrix_rate": used / max(ours["matrix_gflops"]),
        }
    paths = [vectors_of(model, engine, options) for engine in ("xm", "transformers")]
    if all(path.exists() for path in paths):
        ours, theirs = (np.load(path) for path in paths)
        facts["largest_difference"] = max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours.files)
        facts["equal"] = facts["largest_difference"] <= SAME
    return facts


def operations(folder: Path) -> int:
    """Count the floating-point operations of a token's matrix products, attention's own left out."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    adapter = 2 * hidden * (hidden // config["adapter_reduction_factor"])
    layer = 4 * hidden**2 + 2 * hidden * inner + adapter
    return 2 * (config["num_hidden_layers"] * layer + hidden * inspect_checkpoint(str(folder)).dim)


def vectors_of(model: str, engine: str, options: argparse.Namespace) -> Path:
    """Say where an engine leaves the vectors that are compared."""
    options.cache.mkdir(parents=True, exist_ok=True)
    return options.cache / f"vectors-{model}-{engine}{'-quick' if options.quick else ''}.npz"


def describe_machine() -> dict[str, Any]:
    """Say what the numbers were measured on, and how busy it was."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "flags": [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile") if flag in flags],
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in ("torch", "transformers", "numpy")},
        "fast_precision": fast_precision(),
        "commit": git.stdout.strip(),
    }


def save(path: Path, facts: dict[str, Any]) -> None:
    """Write what is known so far, whole or not at all."""
    building = path.with_suffix(".new")
    building.write_text(json.dumps(facts, indent=2), encoding="utf-8")
    building.replace(path)


def say(text: str) -> None:
    """Tell how far it is on standard error; standard output is for the JSON."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
