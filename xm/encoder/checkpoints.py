"""What a checkpoint is, found out from its small files and the header of its weights.

Leaves out: torch. So the page's model menu and `xm info` answer before anything large is read or downloaded.
"""

from dataclasses import dataclass
from pathlib import Path

from xm.encoder.hub import WEIGHTS, find_folder, is_snapshot, weights_size
from xm.encoder.layouts import Metadata, check_head, check_layout, read_json, read_metadata
from xm.encoder.tokens import TextTokenizer
from xm.errors import CheckpointError

_SIZES = ("hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings")


@dataclass(frozen=True)
class CheckpointFacts:
    """What was found in a checkpoint.

    Lengths are in tokens, markers included; a marker is the string looked up, its id what was found. `skiplist` holds
    the pieces not scored in passages. `languages` are the codes of its adapters; empty: one model for all languages.
    `licence` is what its README states, or "not stated". bytes_on_disk: its weights, there or on the hub.
    """

    model: str
    layout: str
    backbone: str
    dim: int
    hidden: int
    n_layers: int
    vocab_size: int
    query_length: int
    passage_length: int
    query_marker: str
    query_marker_id: int
    passage_marker: str
    passage_marker_id: int
    mask_id: int
    attends_to_masks: bool
    skiplist: tuple[str, ...]
    languages: tuple[str, ...]
    licence: str
    bytes_on_disk: int


def inspect_checkpoint(model: str, *, revision: str | None = None) -> CheckpointFacts:
    """Find out what a checkpoint is without reading or downloading its weights.

    Args:
        model: "xm-mini", a folder, or a hub name.
        revision: a branch, tag or commit of the hub.

    Raises:
        CheckpointError: it cannot be found, is damaged, or is in a layout that cannot be loaded.
    """
    folder = find_folder(model, revision=revision, with_weights=False)
    metadata = check_folder(folder)
    return facts_of(folder, TextTokenizer(folder, metadata), model=model, revision=revision)


def check_folder(folder: Path) -> Metadata:
    """Check layout and metadata, which comes back."""
    check_layout(folder)
    return read_metadata(folder)


def facts_of(folder: Path, tokenizer: TextTokenizer, *, model: str, revision: str | None = None) -> CheckpointFacts:
    """Put together the facts of a checkpoint whose tokenizer is read; the head is checked if the weights are here."""
    metadata = tokenizer.metadata
    config = read_json(folder / "config.json")
    hidden, n_layers, vocab_size, n_positions = (_size(folder, config, key) for key in _SIZES)
    languages = config.get("languages", []) if config.get("model_type") == "xmod" else []
    if not isinstance(languages, list) or not all(isinstance(code, str) for code in languages):
        raise CheckpointError(f"{folder}/config.json: languages is {languages!r}; expected a list of codes")
    _check_fit(folder, tokenizer, vocab_size=vocab_size, n_positions=n_positions, config=config)
    if (folder / WEIGHTS).is_file() or not is_snapshot(folder):
        check_head(folder, dim=metadata.dim, hidden=hidden)
    return CheckpointFacts(
        model=model,
        layout="Stanford",
        backbone=str(config.get("model_type")),
        dim=metadata.dim,
        hidden=hidden,
        n_layers=n_layers,
        vocab_size=vocab_size,
        query_length=metadata.query_maxlen,
        passage_length=metadata.doc_maxlen,
        query_marker=metadata.query_token_id,
        query_marker_id=tokenizer.query_marker_id,
        passage_marker=metadata.doc_token_id,
        passage_marker_id=tokenizer.passage_marker_id,
        mask_id=tokenizer.mask_id,
        attends_to_masks=metadata.attend_to_mask_tokens,
        skiplist=tuple(tokenizer.piece(token_id) for token_id in tokenizer.skip_ids),
        languages=tuple(languages),
        licence=_licence(folder),
        bytes_on_disk=weights_size(model, folder, revision),
    )


def _size(folder: Path, config: dict, key: str) -> int:
    """Read one positive number of config.json."""
    value = config.get(key)
    if type(value) is not int or value < 1:
        raise CheckpointError(f"{folder}/config.json: {key} is {value!r}; expected a whole number from 1")
    return value


def _check_fit(folder: Path, tokenizer: TextTokenizer, *, vocab_size: int, n_positions: int, config: dict) -> None:
    """Check that every token has an embedding and every position too."""
    if tokenizer.n_pieces > vocab_size:
        raise CheckpointError(
            f"{folder}: tokenizer.json has {tokenizer.n_pieces} pieces, config.json a vocab_size of {vocab_size}; "
            "the two belong to different checkpoints"
        )
    # RoBERTa's family counts positions from the padding id on, so that many and one more are never used.
    usable = n_positions if config.get("model_type") == "bert" else n_positions - tokenizer.pad_id - 1
    longest = max(tokenizer.metadata.query_maxlen, tokenizer.metadata.doc_maxlen)
    if longest > usable:
        raise CheckpointError(
            f"{folder}: artifact.metadata asks for {longest} tokens, config.json has {usable} usable positions"
        )


def _licence(folder: Path) -> str:
    """Read `license:` from the front matter of README.md."""
    path = folder / "README.md"
    if not path.is_file():
        return "not stated"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or lines[0].strip() != "---":
        return "not stated"
    for line in lines[1:]:
        if line.strip() == "---":
            break
        key, _, value = line.partition(":")
        if key.strip() == "license" and value.strip():
            return value.strip().strip("\"'")
    return "not stated"
