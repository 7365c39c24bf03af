"""tokenizer.json and the files that name its special tokens. Leaves out: using them (xm.encoder.tokens)."""

from pathlib import Path

from tokenizers import Tokenizer, normalizers

from xm.encoder.files import read_json
from xm.errors import CheckpointError


def read_tokenizer(folder: Path, *, lowercases: bool = False) -> Tokenizer:
    """Read tokenizer.json, without the truncation and padding it may have been saved with.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} has no tokenizer.json, the only form of tokenizer that is read")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - tokenizers raises plain Exception, nothing narrower
        raise CheckpointError(f"{path} is damaged: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if lowercases:
        rest = [tokenizer.normalizer] if tokenizer.normalizer else []
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *rest])
    return tokenizer


def special_names(folder: Path) -> dict[str, str]:
    """Read the special tokens by role; an entry is a string or an object with `content`."""
    names: dict[str, str] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        if not (folder / file).is_file():
            continue
        for role, entry in read_json(folder / file).items():
            token = entry.get("content") if isinstance(entry, dict) else entry
            if role.endswith("_token") and isinstance(token, str):
                names[role] = token
    return names
