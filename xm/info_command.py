"""`xm info`: what is installed, on which machine, and what is in a checkpoint or an index folder.

Leaves out: reading the command line (xm.__main__).
"""

import importlib.metadata
import os
import platform
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

import xm
from xm.commands import Report, default_model, plain
from xm.errors import CheckpointError

_LIBRARIES = (
    "numpy torch transformers tokenizers safetensors huggingface_hub faiss-cpu umap-learn langdetect gradio plotly"
).split()


def run_info(arguments: Namespace) -> Report:
    """Say what is installed, on which machine, and what is in a checkpoint or an index."""
    from xm.index.store import is_index_folder

    named = arguments.named_model
    facts: dict[str, Any] = {
        "xm": xm.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        **(_index_facts(named) if named and is_index_folder(named) else _checkpoint_facts(named)),
    }
    lines = []
    for name, value in facts.items():
        parts = value if isinstance(value, dict) else {"": value}
        for key, part in parts.items():
            lines += [f"{name:<12} {key:<18} {plain(text)}" for text in _in_words(key, part)]
    return Report(facts, tuple(lines))


def _index_facts(folder: str) -> dict[str, Any]:
    """Facts of an index folder; every byte of it is compared with what was written."""
    from xm.index.facts import inspect_index

    facts = inspect_index(folder)
    return {"model": facts.model, "index": {"folder": folder, **asdict(facts)}}


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


def _in_words(key: str, value: Any) -> list[str]:
    """A fact on one line, notes on a line each; quotes show the space that belongs to a marker or prompt."""
    if key == "notes":
        return list(value) or ["none"]
    if key.startswith("bytes"):
        return [f"{value / 1e6:,.1f} MB" if value else "not known, or none"]
    if key.endswith(("marker", "prompt")) and value:
        return [f'"{value}"']
    if isinstance(value, dict):
        value = [f"{name} {number:,.1f}" for name, number in value.items()]
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    return ["none" if value is None or value == "" else str(value)]


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
