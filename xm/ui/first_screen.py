"""Read the examples the page opens with: alignments computed beforehand, so that no model is needed to see them.

`benchmarks/make_first_screen.py` writes the file.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xm.ui.shared import ROOT

PATH = ROOT / "assets" / "first_screen.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """A button's title and the payload of the alignment figure it shows (xm.figures.alignment)."""

    title: str
    payload: dict[str, Any]


def read_examples(path: Path = PATH) -> tuple[Example, ...]:
    """Return the examples in their order; none if the file is not there, for a page without them still works."""
    if not path.exists():
        _log.warning("%s is missing: the page opens without examples", path)
        return ()
    examples = json.loads(path.read_text(encoding="utf-8"))["examples"]
    return tuple(Example(example["title"], example["payload"]) for example in examples)
