"""What a checkpoint is, found out from its small files and the header of its weights.

Leaves out: torch. So the page's model menu and `xm info` answer before anything large is read or downloaded.
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path

from xm.encoder.config import read_languages, read_size, usable_positions
from xm.encoder.files import is_snapshot, read_json, tensor_shapes
from xm.encoder.hub import find_folder, has_weights, weights_size
from xm.encoder.layouts import read_recipe, read_sizes
from xm.encoder.recipe import STANFORD, Recipe
from xm.encoder.tokens import TextTokenizer
from xm.errors import CheckpointError

_FLOAT = 4  # bytes; every tensor becomes float32
_ADAPTERS = ".adapter_modules."


@dataclass(frozen=True)
class CheckpointFacts:
    """What was found in a checkpoint.

    layout: who saved it. dim: of its embeddings; dims: all sizes it has heads for. Lengths are in tokens, markers and
    prompts included. A marker is the string looked up, its id what was found; a prompt is text put before every text;
    "" and None: there is none. `skiplist` holds the pieces not scored in passages. `languages` are the codes of its
    adapters; empty: one model for all languages. `pooling` is mean, max or cls where it gives one vector a text, else
    "". `licence` is what its README states, or "not stated". bytes_on_disk: its weights, there or on the hub.
    bytes_in_memory: the shared weights as float32, all pages touched, and bytes_per_adapter what each language adds;
    0 where the weights are not here to be looked at. `notes` say what is worth knowing before trusting its scores.
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
    query_marker_id: int | None
    passage_marker: str
    passage_marker_id: int | None
    mask_id: int | None
    attends_to_masks: bool
    skiplist: tuple[str, ...]
    languages: tuple[str, ...]
    licence: str
    bytes_on_disk: int
    expands_queries: bool = True
    dims: tuple[int, ...] = ()
    pooling: str = ""
    query_prompt: str = ""
    passage_prompt: str = ""
    remote_code: str = ""
    bytes_in_memory: int = 0
    bytes_per_adapter: int = 0
    notes: tuple[str, ...] = ()


def inspect_checkpoint(model: str, *, revision: str | None = None) -> CheckpointFacts:
    """Find out what a checkpoint is without reading or downloading its weights.

    Args:
        model: "xm-mini", a folder, or a hub name.
        revision: a branch, tag or commit of the hub.

    Raises:
        CheckpointError: it cannot be found, is damaged, or is in a layout that cannot be loaded.
    """
    folder = find_folder(model, revision=revision, with_weights=False)
    return facts_of(folder, TextTokenizer(folder, read_recipe(folder)), model=model, revision=revision)


def facts_of(folder: Path, tokenizer: TextTokenizer, *, model: str, revision: str | None = None) -> CheckpointFacts:
    """Put together the facts of a checkpoint whose tokenizer is read; the head is checked if the weights are here."""
    recipe = tokenizer.recipe
    home = folder / recipe.backbone
    hidden = read_size(home, "hidden_size")
    languages = read_languages(home)
    _check_fit(home, tokenizer)
    is_here = has_weights(folder, recipe) or not is_snapshot(folder)
    dim = recipe.head[-1].n_out if recipe.head else hidden
    dims = read_sizes(folder, recipe, hidden=hidden) if is_here else (dim,)
    shared, adapter = _memory(home, n_adapters=len(languages)) if is_here else (0, 0)
    return CheckpointFacts(
        model=model,
        layout=recipe.layout,
        backbone=str(read_json(home / "config.json").get("model_type")),
        dim=dim,
        hidden=hidden,
        n_layers=read_size(home, "num_hidden_layers"),
        vocab_size=read_size(home, "vocab_size"),
        query_length=recipe.query.length,
        passage_length=recipe.passage.length,
        query_marker=recipe.query.marker,
        query_marker_id=tokenizer.query_marker_id,
        passage_marker=recipe.passage.marker,
        passage_marker_id=tokenizer.passage_marker_id,
        mask_id=tokenizer.mask_id,
        attends_to_masks=bool(recipe.expansion and recipe.expansion.attends),
        skiplist=tuple(tokenizer.piece(token_id) for token_id in tokenizer.skip_ids),
        languages=languages,
        licence=_licence(folder),
        bytes_on_disk=weights_size(model, folder, revision),
        expands_queries=recipe.expansion is not None,
        dims=dims,
        pooling=recipe.pooling or "",
        query_prompt=recipe.query.prompt,
        passage_prompt=recipe.passage.prompt,
        remote_code=recipe.remote_code,
        bytes_in_memory=shared,
        bytes_per_adapter=adapter,
        notes=_notes(recipe, tokenizer, languages),
    )


def _memory(home: Path, *, n_adapters: int) -> tuple[int, int]:
    """Return the bytes of the shared weights and of one adapter, as float32."""
    sizes = {name: _FLOAT * prod(shape) for name, shape in tensor_shapes(home).items()}
    adapters = sum(size for name, size in sizes.items() if _ADAPTERS in name)
    return sum(sizes.values()) - adapters, adapters // n_adapters if n_adapters else 0


def _notes(recipe: Recipe, tokenizer: TextTokenizer, languages: tuple[str, ...]) -> tuple[str, ...]:
    """Say what may surprise somebody who compares scores with another library's."""
    notes = []
    if languages and recipe.layout != STANFORD:
        notes.append(
            "each text runs through the adapter of its own language; PyLate and sentence-transformers run the default "
            "language's adapter for all"
        )
    for side, marker_id in ((recipe.query, tokenizer.query_marker_id), (recipe.passage, tokenizer.passage_marker_id)):
        if marker_id is not None and tokenizer.piece(marker_id) != side.marker and recipe.layout == STANFORD:
            notes.append(f"{side.marker} is not in the vocabulary; the original library reads it as the unknown token")
    if tokenizer.is_clean:
        notes.append("clean_punctuation leaves out other tokens than the checkpoint's skiplist: it changes the model")
    if recipe.remote_code:
        notes.append(f"its code is not the library's: {recipe.remote_code} runs only with --allow-remote-code")
    return tuple(notes)


def _check_fit(home: Path, tokenizer: TextTokenizer) -> None:
    """Check that every token has an embedding and every position too."""
    vocab_size, usable = read_size(home, "vocab_size"), usable_positions(home)
    if tokenizer.n_pieces > vocab_size:
        raise CheckpointError(
            f"{home}: tokenizer.json has {tokenizer.n_pieces} pieces, config.json a vocab_size of {vocab_size}; "
            "the two belong to different checkpoints"
        )
    longest = max(tokenizer.recipe.query.length, tokenizer.recipe.passage.length)
    if longest > usable:
        raise CheckpointError(
            f"{home}: the checkpoint asks for {longest} tokens, config.json has {usable} usable positions"
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
