"""What config.json says of a backbone. Leaves out: building it (xm.encoder.weights)."""

from pathlib import Path
from typing import Any

from xm.encoder.files import read_json
from xm.errors import CheckpointError

_ROBERTAS = ("xmod", "xlm-roberta")  # their positions count from the padding id on


def read_size(folder: Path, key: str) -> int:
    """Read one positive number of config.json.

    Raises:
        CheckpointError: there is none.
    """
    value = read_json(folder / "config.json").get(key)
    if type(value) is not int or value < 1:
        raise CheckpointError(f"{folder}/config.json: {key} is {value!r}; expected a whole number from 1")
    return value


def usable_positions(folder: Path) -> int:
    """Return how many tokens a backbone has positions for."""
    n_positions = read_size(folder, "max_position_embeddings")
    config = read_json(folder / "config.json")
    padding = config.get("pad_token_id")
    if config.get("model_type") not in _ROBERTAS:
        return n_positions
    return n_positions - 1 - (padding if type(padding) is int else 1)


def read_languages(folder: Path) -> tuple[str, ...]:
    """Read the codes of a backbone's language adapters; only XMOD has any."""
    config = read_json(folder / "config.json")
    languages = config.get("languages", []) if config.get("model_type") == "xmod" else []
    if not isinstance(languages, list) or not all(isinstance(code, str) for code in languages):
        raise CheckpointError(f"{folder}/config.json: languages is {languages!r}; expected a list of codes")
    return tuple(languages)


def remote_code(config: dict[str, Any]) -> str:
    """Return the code that config.json asks for in place of the backbone, "" for none.

    Beside an XMOD checkpoint (colbert-xm's custom.py) it only chooses languages; elsewhere it is the model.
    """
    named = config.get("auto_map")
    if not named or config.get("model_type") == "xmod":
        return ""
    return str(named.get("AutoModel", named)) if isinstance(named, dict) else str(named)
