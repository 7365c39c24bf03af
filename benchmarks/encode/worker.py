"""One engine in a process of its own: load a checkpoint, encode texts, print one JSON object.

    PYTHON benchmarks/encode/worker.py JOB.json

Runs under any interpreter that has the engine's libraries, so it imports nothing of this project but for the engine
"xm". A job says engine, folder, precision, threads, passes, passages and queries (pairs of text and XMOD code; with
ids where the engine has no tokenizer of its own), and where to write vectors. Leaves out: comparing engines.
"""

import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # the same for every engine, or a busy machine would decide
os.environ["GOMP_SPINCOUNT"] = "0"
os.environ["HF_HUB_OFFLINE"] = "1"
BATCH = 32  # texts, for engines that count texts: the default of all of them


def main() -> None:
    """Run the job named on the command line."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    os.environ["OMP_NUM_THREADS"] = str(job["threads"])
    import torch

    torch.set_num_threads(job["threads"])
    warnings.filterwarnings("ignore")
    begun = time.perf_counter()
    engine = ENGINES[job["engine"]](job)
    loaded = time.perf_counter() - begun
    facts: dict[str, Any] = {"load_s": loaded, "torch": torch.__version__, "rss_loaded_mb": peak_memory()}
    if job["passages"]:
        facts |= measure(engine, job, torch)
    print(json.dumps(facts | {"peak_mb": peak_memory(), "threads": torch.get_num_threads()}))


def measure(engine: "Engine", job: dict[str, Any], torch: Any) -> dict[str, Any]:
    """Time passages and queries, and the machine's own matrix products between them."""
    begun = time.perf_counter()
    engine.query(job["queries"][0])
    first_query = time.perf_counter() - begun
    engine.passages(list({pair["code"]: pair for pair in job["passages"]}.values()))  # every adapter is read now
    rates, seconds, cpu = [matrix_rate(torch, job["precision"])], [], []
    for _ in range(job["passes"]):
        begun, begun_cpu = time.perf_counter(), time.process_time()
        vectors = engine.passages(job["passages"])
        seconds.append(time.perf_counter() - begun)
        cpu.append(time.process_time() - begun_cpu)  # for a busy machine: what it took of the processor
        rates.append(matrix_rate(torch, job["precision"]))
    queries, queries_cpu = [], []
    for query in job["queries"][1:]:
        begun, begun_cpu = time.perf_counter(), time.process_time()
        engine.query(query)
        queries.append(time.perf_counter() - begun)
        queries_cpu.append(time.process_time() - begun_cpu)
    if job.get("vectors"):
        import numpy as np

        np.savez(job["vectors"], *vectors[: job["n_kept"]])
    return {
        "n_passages": len(job["passages"]),
        "passages_s": len(job["passages"]) / min(seconds),
        "seconds": seconds,
        "cpu_seconds": cpu,
        "first_query_s": first_query,
        "query_p50_ms": 1e3 * statistics.median(queries),
        "query_cpu_p50_ms": 1e3 * statistics.median(queries_cpu),
        "matrix_gflops": rates,
        "n_tokens": sum(len(pair["ids"]) for pair in job["passages"]),  # as this project counts them, for every engine
        "n_vectors": sum(len(rows) for rows in vectors),
    }


def matrix_rate(torch: Any, precision: str) -> float:
    """Return the best of a few products of 2,048 tokens with a base-size layer, in billions of operations a second."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    left, right = torch.randn(2_048, 768).to(dtype), torch.randn(3_072, 768).to(dtype)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(5):
            begun = time.perf_counter()
            torch.nn.functional.linear(left, right)
            best = min(best, time.perf_counter() - begun)
            if best > 2:
                break
    return 2 * 2_048 * 768 * 3_072 / best / 1e9


def peak_memory() -> float:
    """Return the most memory this process has had, touched pages of mapped files included, in MB (10^6 bytes)."""
    # Not getrusage: its maximum is handed down from the process that started this one.
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6


class Engine:
    """What every engine can do; passages give one (n_tokens, dim) array each, in their order."""

    def __init__(self, passages: Callable[[list], list], query: Callable[[Any], Any]) -> None:
        self.passages, self.query = passages, query


def xm_engine(job: dict[str, Any]) -> Engine:
    """This project's encoder."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from xm.encoder import load_encoder
    from xm.options import EncodeOptions
    from xm.types import LanguageGuess

    encoder = load_encoder(job["folder"], options=EncodeOptions(precision=job["precision"]))

    def given(code: str) -> LanguageGuess:
        return LanguageGuess(code, 1.0, "given")

    def passages(pairs: list) -> list:
        texts, codes = [pair["text"] for pair in pairs], [given(pair["code"]) for pair in pairs]
        return [found.vectors for found in encoder.encode_passages(texts, codes)]

    return Engine(passages, lambda pair: encoder.encode_query(pair["text"], given(pair["code"])).vectors)


def everything_engine(job: dict[str, Any]) -> Engine:
    """This project's reader told to take every adapter: what lazy loading saves."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from xm.encoder.xmod import read_xmod

    model, _ = read_xmod(job["folder"], languages=None)
    sum(float(tensor.double().sum()) for tensor in model.state_dict().values())  # touched, not only mapped
    return Engine(list, len)


def transformers_engine(job: dict[str, Any]) -> Engine:
    """Run transformers' own forward with the head, ids given; languages mixed in a batch, as XmodModel allows."""
    import torch
    from safetensors import safe_open
    from torch.nn.functional import linear, normalize, pad
    from transformers import XmodModel

    dtype = getattr(torch, job["precision"])
    model = XmodModel.from_pretrained(job["folder"], add_pooling_layer=False, dtype=dtype).eval()
    with safe_open(Path(job["folder"]) / "model.safetensors", framework="pt") as tensors:
        head = tensors.get_tensor("linear.weight").to(dtype)
    order = list(model.config.languages)

    def run(pairs: list) -> list:
        ids = [torch.tensor(pair["ids"]) for pair in pairs]
        longest = max(map(len, ids))
        padded = torch.stack([pad(row, (0, longest - len(row)), value=1) for row in ids])
        mask = torch.stack([pad(torch.ones_like(row), (0, longest - len(row))) for row in ids])
        languages = torch.tensor([order.index(pair["code"]) for pair in pairs])
        with torch.inference_mode():
            hidden = model(input_ids=padded, attention_mask=mask, lang_ids=languages).last_hidden_state
            vectors = normalize(linear(hidden, head), dim=-1).float().numpy()
        return [vectors[row][pair["scored"]] for row, pair in enumerate(pairs)]

    def passages(pairs: list) -> list:
        places = sorted(range(len(pairs)), key=lambda place: -len(pairs[place]["ids"]))
        found = {}
        for start in range(0, len(places), BATCH):
            batch = places[start : start + BATCH]
            found |= dict(zip(batch, run([pairs[place] for place in batch]), strict=True))
        return [found[place] for place in range(len(pairs))]

    return Engine(passages, lambda pair: run([pair]))


def sentence_transformers_engine(job: dict[str, Any]) -> Engine:
    """sentence-transformers 6's MultiVectorEncoder; every text goes through en_XX there."""
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(job["folder"], device="cpu")
    model = model.bfloat16() if job["precision"] == "bfloat16" else model.float()  # not what the file is stored in
    bare = {"show_progress_bar": False, "batch_size": BATCH}
    return Engine(
        lambda pairs: list(model.encode_document([pair["text"] for pair in pairs], **bare)),
        lambda pair: model.encode_query([pair["text"]], **bare),
    )


def pylate_engine(job: dict[str, Any]) -> Engine:
    """PyLate's ColBERT; every text goes through en_XX there."""
    from pylate import models

    model = models.ColBERT(job["folder"], device="cpu")
    model = model.bfloat16() if job["precision"] == "bfloat16" else model.float()  # not what the file is stored in
    bare = {"show_progress_bar": False, "batch_size": BATCH}
    return Engine(
        lambda pairs: list(model.encode([pair["text"] for pair in pairs], is_query=False, **bare)),
        lambda pair: model.encode([pair["text"]], is_query=True, **bare),
    )


ENGINES: dict[str, Callable[[dict[str, Any]], Engine]] = {
    "xm": xm_engine,
    "everything": everything_engine,
    "transformers": transformers_engine,
    "sentence-transformers": sentence_transformers_engine,
    "pylate": pylate_engine,
}

if __name__ == "__main__":
    main()
