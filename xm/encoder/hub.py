"""Where a checkpoint lies: in the repository (xm-mini), in a folder, or on the Hugging Face hub.

Leaves out: what is in it (xm.encoder.layouts). Imports the hub client only when a hub name is asked for.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from xm.encoder.config import remote_code
from xm.encoder.files import SHARDS, WEIGHTS, inside, is_snapshot, read_json, weight_map
from xm.encoder.modules import MODULES, SETTINGS, TRANSFORMER, module_folders
from xm.encoder.recipe import Recipe
from xm.encoder.stanford import METADATA
from xm.errors import CheckpointError
from xm.options import DEFAULT_MODEL

MINI_FOLDER = Path(__file__).resolve().parents[2] / "assets" / "xm-mini"
# Everything that decides a vector; the digest covers these. Code is fetched only for those who allowed it to run.
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
CONTENT = ("config.json", METADATA, *_TOKENIZER)
_MODULE_CONTENT = (MODULES, SETTINGS, TRANSFORMER)
_SMALL = (*CONTENT, *_MODULE_CONTENT, SHARDS, "README.md")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HASHED_WHOLE = 256 * 2**20  # bytes; larger files are hashed by sample, as reading 3.4 GB takes many seconds
_BLOCK = 2**20


@dataclass(frozen=True)
class KnownModel:
    """A checkpoint for the model menu. n_bytes: size of its weights on disk; 0 if not there yet."""

    name: str
    n_bytes: int
    licence: str
    dim: int
    n_languages: int
    note: str


def known_models() -> tuple[KnownModel, ...]:
    """List the checkpoints the page offers; any other name or folder can be given too. Nothing is downloaded."""
    weights = MINI_FOLDER / WEIGHTS
    mini_bytes = weights.stat().st_size if weights.is_file() else 0
    return (
        KnownModel(DEFAULT_MODEL, mini_bytes, "CC BY-SA 4.0", 128, _n_mini_languages(), "embedded; no download"),
        # Facts: late-interaction-facts.md, section 1.1 (main 960de71). 3.41 GB is the hub's own rounding.
        KnownModel(
            "antoinelouis/colbert-xm",
            3_410_000_000,
            "MIT",
            128,
            81,
            "the original; downloads 3.41 GB once, then reads only the adapters in use",
        ),
    )


def _n_mini_languages() -> int:
    """Count the embedded model's adapters by its config; 0 if it is not there."""
    config = MINI_FOLDER / "config.json"
    return len(read_json(config).get("languages", [])) if config.is_file() else 0


def find_folder(
    model: str, *, revision: str | None = None, with_weights: bool = True, allow_remote_code: bool = False
) -> Path:
    """Return the folder of a checkpoint, fetching it from the hub if `model` is neither a folder nor "xm-mini".

    Args:
        model: "xm-mini", a folder, or a hub name such as "antoinelouis/colbert-xm".
        revision: a branch, tag or commit of the hub; folders are checked against theirs by `revision_of`.
        with_weights: False fetches the small files alone.
        allow_remote_code: fetch the weights of a checkpoint that needs code of its own too.

    Raises:
        CheckpointError: there is no such folder, no such name on the hub, or no way to reach the hub; or what is there
            could not be loaded.
    """
    if model == DEFAULT_MODEL:
        if not MINI_FOLDER.is_dir():
            raise CheckpointError(f"{MINI_FOLDER} is missing, though it belongs to the repository; check it out again")
        return MINI_FOLDER
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise CheckpointError(f"{model} is a file; give the folder that holds config.json and {WEIGHTS}")
    if not _HUB_NAME.fullmatch(model):
        raise CheckpointError(
            f"{model!r} is neither a folder nor a hub name (owner/name); known models: "
            + ", ".join(known.name for known in known_models())
        )
    return _fetch(model, revision, with_weights=with_weights, allow_remote_code=allow_remote_code)


def _fetch(model: str, revision: str | None, *, with_weights: bool, allow_remote_code: bool) -> Path:
    """Fetch the small files first, so that a layout that cannot be used costs no large download."""
    from huggingface_hub import snapshot_download

    from xm.encoder.layouts import check_remote_code, read_recipe

    small = [*_SMALL]
    try:
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=small))
        if _has_modules(folder):
            small += [f"{place}/{name}" for place in _places(folder)[1:] for name in _SMALL]
            folder = Path(snapshot_download(model, revision=folder.name, allow_patterns=small))
        if with_weights:
            recipe = read_recipe(folder)
            check_remote_code(folder, recipe, allowed=allow_remote_code)
            small += ["*.py"] if recipe.remote_code else []
            weights = [name for place in _places(folder) for name in _weight_names(folder, place)]
            folder = Path(snapshot_download(model, revision=folder.name, allow_patterns=[*small, *weights]))
    except (OSError, ValueError) as error:  # the hub client's errors all derive from these two
        raise CheckpointError(
            f"{model!r} is no folder here and cannot be fetched from the Hugging Face hub: {_first_line(error)} "
            f"Check the name and the network, or give a folder, or use {DEFAULT_MODEL}, which needs neither."
        ) from error
    return folder


def _has_modules(folder: Path) -> bool:
    """Say whether a checkpoint is spread over the folders of its modules; the Stanford layout never is."""
    return (folder / MODULES).is_file() and not (folder / METADATA).is_file()


def _places(folder: Path) -> tuple[str, ...]:
    """Return the folders a checkpoint consists of, its own ("") first."""
    modules = module_folders(folder) if _has_modules(folder) else ()
    return ("", *(place for place in dict.fromkeys(modules) if place))


def _weight_names(folder: Path, place: str) -> list[str]:
    """Return the names of the weight files in one of a checkpoint's folders: one file, or the shards in its place."""
    names = [WEIGHTS]
    if (folder / place / SHARDS).is_file():
        shards = sorted(set(weight_map(folder / place).values()))
        names += [str(inside(Path(), name, named_by=SHARDS)) for name in shards]
    return [f"{place}/{name}" if place else name for name in names]


def _first_line(error: Exception) -> str:
    """The first line of a message, closed with a full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".") + "."


def has_weights(folder: Path, recipe: Recipe) -> bool:
    """Say whether the backbone's weights are there; a snapshot of the hub may be without them."""
    return any((folder / name).is_file() for name in _weight_names(folder, recipe.backbone))


def weights_size(model: str, folder: Path, revision: str | None) -> int:
    """Return the bytes of the weights on disk, or what the hub says they would take."""
    names = [name for place in _places(folder) for name in _weight_names(folder, place)]
    here = [(folder / name).stat().st_size for name in names if (folder / name).is_file()]
    if here or Path(model).expanduser().is_dir() or model == DEFAULT_MODEL:
        return sum(here)
    if (folder / SHARDS).is_file():
        total = read_json(folder / SHARDS).get("metadata")
        return int(total["total_size"]) if isinstance(total, dict) and type(total.get("total_size")) is int else 0
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    try:
        return get_hf_file_metadata(hf_hub_url(model, WEIGHTS, revision=revision)).size or 0
    except (OSError, ValueError) as error:
        raise CheckpointError(f"the hub does not say how large {model} is: {_first_line(error)}") from error


def revision_of(folder: Path, revision: str | None = None) -> str:
    """Name the exact content of a checkpoint: the hub's commit, or 16 hex digits of a SHA-256 over its files.

    Of weights beyond 256 MiB the digest covers the size and every 16th MiB.

    Raises:
        CheckpointError: `revision` is asked of a folder whose content is another one.
    """
    if is_snapshot(folder):
        return folder.name
    state = hashlib.sha256()
    for name in _content(folder):
        path = folder / name
        if path.is_file():
            state.update(f"{name} {path.stat().st_size}\n".encode())
            _hash_file(state, path)
    found = state.hexdigest()[:16]
    if revision is not None and revision != found:
        raise CheckpointError(f"{folder} holds revision {found}, not {revision}; its files have changed")
    return found


def _content(folder: Path) -> list[str]:
    """Return the names of the files that decide a vector, there or not."""
    names = [*CONTENT]
    if _has_modules(folder):
        names += _MODULE_CONTENT
        names += [f"{place}/{name}" for place in _places(folder)[1:] for name in (*CONTENT, TRANSFORMER)]
    configs = [folder / place / "config.json" for place in _places(folder)]
    if any(path.is_file() and remote_code(read_json(path)) for path in configs):
        names += sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py"))
    return names + [name for place in _places(folder) for name in _weight_names(folder, place)]


def _hash_file(state: "hashlib._Hash", path: Path) -> None:
    """Add a file's bytes to a hash, all of them or a sample."""
    n_bytes = path.stat().st_size
    step = _BLOCK if n_bytes <= _HASHED_WHOLE else 16 * _BLOCK
    with path.open("rb") as file:
        for start in range(0, n_bytes, step):
            file.seek(start)
            state.update(file.read(_BLOCK))
