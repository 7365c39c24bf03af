"""Measure the page and the path from a query to its figure; print one JSON object.

    .venv/bin/python -m benchmarks.app [--model xm-mini] [--out FILE]

Everything runs on this machine with an empty cache: imports in fresh processes, the core in this one, then `xm app` as
a process of its own with headless Chromium in front of it (skipped, and said so, where there is no Chromium). The
budgets of the design, section 10, stand beside what was measured. Leaves out: quality (xm evaluate).
"""

import argparse
import json
import os
import platform
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT / "sample_corpora" / "parallel"
LIBRARIES = ("torch", "transformers", "gradio", "plotly", "faiss-cpu", "umap-learn", "numpy")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
N_IMPORTS, N_LOADS, N_PAINTS, N_QUERIES, N_MAP_TOKENS = 3, 3, 10, 70, 5_000
# From the call to the end of the second frame after it: by then the browser has drawn.
PAINT = """payload => new Promise(done => {
  const place = document.body.appendChild(document.createElement("div"));
  const begun = performance.now();
  window.XmAlignment.mount(place, payload);
  requestAnimationFrame(() => requestAnimationFrame(() => { place.remove(); done(performance.now() - begun); }));
})"""


def say(text: str) -> None:
    """Tell how far it is on standard error; standard output is for the JSON."""
    print(text, file=sys.stderr, flush=True)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds a call took, and its result."""
    begun = time.perf_counter()
    result = call()
    return time.perf_counter() - begun, result


def spread(seconds: list[float]) -> dict[str, float]:
    """Sum up repeated measurements, in milliseconds: median, 95th percentile (nearest rank), how many."""
    in_order = sorted(seconds)
    p95 = in_order[min(len(in_order) - 1, int(0.95 * len(in_order)))]
    return {"p50_ms": round(1e3 * statistics.median(in_order), 1), "p95_ms": round(1e3 * p95, 1), "n": len(in_order)}


def describe_machine() -> dict[str, Any]:
    """Say what the numbers were measured on, how busy it was, and with which versions."""
    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gb": round(memory / 2**30, 1),
        "load_average_before": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "commit": git.stdout.strip(),
    }


def measure_imports() -> dict[str, float]:
    """Import in fresh processes; the median in seconds, the interpreter's own start left out."""
    code = "import time; begun = time.perf_counter(); import {}; print(time.perf_counter() - begun)"
    found = {}
    for name in ("xm", "xm.search", "xm.encoder.encoder", "xm.ui"):
        command = [sys.executable, "-c", code.format(name)]
        printed = [subprocess.check_output(command, cwd=ROOT) for _ in range(N_IMPORTS)]
        found[name] = round(statistics.median(map(float, printed)), 3)
    return found


def sample_queries() -> list[str]:
    """Take every 19th query of the sample: all languages, many topics, all three kinds."""
    lines = (CORPUS / "queries.jsonl").read_text(encoding="utf-8").splitlines()[::19]
    return [json.loads(line)["text"] for line in lines][:N_QUERIES]


def measure_core(model: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Load, index, search, explain and map; return the facts, and the payload of one figure to paint."""
    import xm
    from xm.figures.alignment import payload
    from xm.search import Searcher

    load_seconds, encoder = timed(lambda: xm.load_encoder(model))
    read_seconds, corpus = timed(lambda: xm.read_corpus(CORPUS))
    index_seconds, index = timed(lambda: xm.build_index(corpus, encoder))
    searcher = Searcher(encoder, index)
    first_seconds, result = timed(lambda: searcher.search(sample_queries()[0]))
    searches, explains, both = [], [], []
    for query in sample_queries():
        seconds, result = timed(lambda query=query: searcher.search(query, k=10))
        explain_seconds, alignment = timed(lambda result=result: searcher.explain(result.query, result.hits[0]))
        searches.append(seconds)
        explains.append(explain_seconds)
        both.append(seconds + explain_seconds)
    facts = {
        "model": {"name": encoder.model, "revision": encoder.revision[:12], "precision": encoder.precision},
        "corpus": {"passages": len(corpus.passages), "tokens": index.n_tokens},
        "load_encoder_s": round(load_seconds, 2),
        "read_corpus_s": round(read_seconds, 2),
        "build_index_s": round(index_seconds, 2),
        "passages_per_second": round(len(corpus.passages) / index_seconds, 1),
        "first_search_ms": round(1e3 * first_seconds, 1),
        "search": spread(searches),
        "explain": spread(explains),
        "search_and_explain": spread(both),
        "cells_painted": list(alignment.similarity.shape),
        "map_s": measure_map(searcher, result),
    }
    return facts, payload(alignment)


def measure_map(searcher: Any, result: Any) -> dict[str, float]:
    """Lay out 5,000 tokens by PCA, by UMAP in a process that has not compiled it yet, and by UMAP again."""
    from xm.options import MapOptions
    from xm.token_map import build_map

    ids = [hit.passage_id for hit in result.hits]
    n_shown = len(result.query.tokens) + sum(len(searcher.index.reconstruct(passage_id).tokens) for passage_id in ids)
    options = MapOptions(n_sample=N_MAP_TOKENS - n_shown)

    def laid_out(method: str, seed: int) -> float:
        chosen = replace(options, seed=seed)
        seconds, token_map = timed(lambda: build_map(searcher.index, result.query, ids, options=chosen, method=method))
        if len(token_map.xy) != N_MAP_TOKENS or token_map.method != method:
            raise SystemExit(
                f"expected {N_MAP_TOKENS} tokens by {method}, got {len(token_map.xy)} by {token_map.method}"
            )
        return round(seconds, 3)

    return {"pca": laid_out("pca", 0), "umap_first": laid_out("umap", 1), "umap_again": laid_out("umap", 2)}


@dataclass(frozen=True)
class Server:
    """A running page."""

    url: str
    process_id: int
    start_s: float

    def memory_mb(self, field: str) -> int | None:
        """Read VmRSS (now) or VmHWM (peak) of the server's process; None where there is no /proc."""
        status = Path(f"/proc/{self.process_id}/status")
        if not status.exists():
            return None
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith(field))
        return int(line.split()[1]) // 1024


@contextmanager
def running_server(model: str) -> Iterator[Server]:
    """Start `xm app` as a person would, wait until its port answers, stop it at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "xm", "app", "--port", str(port), "--model", model]
    begun = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            while not _answers(port):
                if process.poll() is not None or time.perf_counter() - begun > 120:
                    raise SystemExit("the page did not start within two minutes; try `xm app` by hand")
                time.sleep(0.01)
            yield Server(f"http://127.0.0.1:{port}", process.pid, round(time.perf_counter() - begun, 2))
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    """Say whether somebody listens."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def measure_page(model: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Start the page, open it in a browser, paint a figure, search through its API, read its memory."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    with running_server(model) as server:
        facts: dict[str, Any] = {"start_s": server.start_s, "memory_at_start_mb": server.memory_mb("VmRSS")}
        facts["browser"] = _measure_browser(server.url, browser, payload) if browser else "no Chromium found: skipped"
        facts["search_over_http"] = _measure_http(server.url)
        facts["peak_memory_mb"] = server.memory_mb("VmHWM")
    return facts


def _measure_browser(url: str, browser: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Time the first screen (each time with an empty browser cache) and the painting of one figure."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        first_screens = []
        for _ in range(N_LOADS):
            page = chromium.new_context().new_page()
            begun = time.perf_counter()
            page.goto(url, wait_until="commit")
            page.wait_for_selector(".xm-alignment", timeout=60_000)
            first_screens.append(round(time.perf_counter() - begun, 2))
        paints = [page.evaluate(PAINT, payload) / 1e3 for _ in range(N_PAINTS)]
        facts = {"version": chromium.version, "first_screen_s": first_screens, "paint": spread(paints)}
        chromium.close()
    return facts


def _measure_http(url: str) -> dict[str, Any]:
    """Search through the page's own API, queue and JSON included; the first call may wait for the model to load."""
    from gradio_client import Client

    client = Client(url, verbose=False)
    first, _ = timed(lambda: client.predict(sample_queries()[0], api_name="/search"))
    seconds = [timed(lambda query=query: client.predict(query, api_name="/search"))[0] for query in sample_queries()]
    return {"first_s": round(first, 2), **spread(seconds)}


def judge(core: dict[str, Any], page: dict[str, Any]) -> list[dict[str, Any]]:
    """Set each budget of the design, section 10, beside the slowest sensible reading of what was measured."""
    browser = page["browser"] if isinstance(page["browser"], dict) else None
    rows = [
        (
            "page usable after the server is up (slowest of the loads)",
            "s",
            2,
            browser and max(browser["first_screen_s"]),
        ),
        ("search plus alignment of a pinned pair in the server (p95)", "ms", 150, core["search_and_explain"]["p95_ms"]),
        ("heatmap painted (p95)", "ms", 500, browser and browser["paint"]["p95_ms"]),
        ("5,000-token map, UMAP as after the page's warm-up", "s", 3, core["map_s"]["umap_again"]),
    ]
    return [
        {
            "what": what,
            "unit": unit,
            "budget": budget,
            "measured": value,
            "met": None if value is None else value < budget,
        }
        for what, unit, budget, value in rows
    ]


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="xm-mini")
    parser.add_argument("--out", type=Path, help="also write the JSON there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xm-bench-") as cache:
        os.environ["XM_CACHE"] = cache
        machine = describe_machine()
        say("imports ...")
        imports = measure_imports()
        say("core: load, index, search, explain, map ...")
        core, payload = measure_core(arguments.model)
        # ru_maxrss counts bytes on macOS, kibibytes elsewhere.
        unit = 2**20 if sys.platform == "darwin" else 2**10
        core["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit
        say("page: start, first screen, paint, search over HTTP ...")
        page = measure_page(arguments.model, payload)
    report = {"machine": machine, "budgets": judge(core, page), "import_s": imports, "core": core, "page": page}
    text = json.dumps(report, indent=1, ensure_ascii=False)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
