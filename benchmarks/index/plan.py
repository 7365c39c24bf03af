"""Which engines are measured, with which settings, up to which size.

An engine has one build, or none where it keeps no files, and the searches that are tried on it. Sizes are limited where
an engine would not fit 24 GB of memory, or an hour.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Engine:
    """An engine as it is measured: its module in benchmarks.index.peers, and its environment ("" is the project's)."""

    name: str
    module: str
    venv: str = ""
    build: dict[str, object] | None = None
    searches: tuple[dict[str, object], ...] = ({},)
    max_tokens: int = 10_000_000


def _centroid(n_bits: int) -> Engine:
    """The compressed index of xm: n_probe, and as many candidates as recall asks for."""
    searches = tuple(
        {"n_probe": n_probe, "n_candidates": n_candidates, "n_exact": n_candidates // 2}
        for n_probe, n_candidates in ((32, 512), (8, 128), (16, 256), (32, 1_024))
    )
    return Engine(
        f"xm centroid {n_bits} bit", "xm_index", build={"kind": "centroid", "n_bits": n_bits}, searches=searches
    )


ENGINES = (
    Engine("xm flat", "xm_index", build={"kind": "flat"}),
    Engine("xm flat float16", "xm_index", build={"kind": "flat", "dtype": "float16"}),
    *(_centroid(n_bits) for n_bits in (2, 1, 4, 8)),
    Engine("numpy", "numpy_brute"),
    Engine("maxsim-cpu", "maxsim_cpu", "maxsim"),
    Engine(
        "qdrant-edge flat",
        "qdrant_edge",
        "qdrant-edge",
        build={"indexed": False},
        searches=({"exact": True},),
        max_tokens=1_000_000,
    ),
    Engine(
        "qdrant-edge HNSW",
        "qdrant_edge",
        "qdrant-edge",
        build={"indexed": True},
        searches=({"exact": False},),
        max_tokens=100_000,
    ),
    Engine("lancedb flat", "lancedb", "lancedb", build={"indexed": False}, max_tokens=1_000_000),
    Engine(
        "lancedb IVF-PQ",
        "lancedb",
        "lancedb",
        build={"indexed": True},
        searches=({}, {"nprobes": 50, "refine_factor": 10}),
        max_tokens=1_000_000,
    ),
    *(
        Engine(
            f"PyLate WARP {n_bits} bit",
            "pylate_warp",
            "pylate-index",
            build={"n_bits": n_bits},
            searches=({"n_probe": 32}, {"n_probe": 8}, {"n_probe": 128}),
            max_tokens=1_000_000,
        )
        for n_bits in (2, 4)
    ),
    Engine(
        "PyLate Voyager",
        "pylate_voyager",
        "pylate-index",
        build={},
        searches=({"k_token": 100}, {"k_token": 200}),
        max_tokens=100_000,
    ),
    *(
        Engine(
            f"fast-plaid {n_bits} bit",
            "fast_plaid",
            "pylate-index",
            build={"n_bits": n_bits},
            searches=({"n_probe": 8}, {"n_probe": 32}),
            max_tokens=1_000_000,
        )
        for n_bits in (2, 4)
    ),
    *(
        Engine(
            f"colbert-ai {n_bits} bit",
            "colbert_ai",
            "colbert",
            build={"n_bits": n_bits},
            # Its defaults for k up to 100, and a wider search.
            searches=(
                {"n_probe": 2, "threshold": 0.45, "n_docs": 1_024},
                {"n_probe": 8, "threshold": 0.3, "n_docs": 4_096},
            ),
            max_tokens=1_000_000,
        )
        for n_bits in (2, 4)
    ),
)
