"""The layouts with modules.json: PyLate 1.6, sentence-transformers 6.2 with many vectors, and with a single one.

Facts: late-interaction-facts.md, sections 1.2 and 1.6, and those libraries' own loaders. A module of any other library
is code of its own, and is refused. Leaves out: the Stanford layout, and weights.
"""

import re
import string
from dataclasses import dataclass
from pathlib import Path

from xm.encoder.config import usable_positions
from xm.encoder.files import REQUIRED, Settings, inside, read_list, read_settings, tensor_shapes
from xm.encoder.recipe import (
    MULTI_VECTOR,
    PYLATE,
    SINGLE_VECTOR,
    DenseFacts,
    Expansion,
    Pooling,
    Recipe,
    Side,
    Skiplist,
)
from xm.errors import CheckpointError

MODULES = "modules.json"
SETTINGS = "config_sentence_transformers.json"
TRANSFORMER = "sentence_bert_config.json"
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")
_LIBRARIES = ("sentence_transformers.", "pylate.")
# The orders of modules that can be followed.
_ORDERS = {
    PYLATE: re.compile("Transformer( Dense)+( Normalize)?"),
    MULTI_VECTOR: re.compile("Transformer( Dense)*( MultiVectorMask Normalize| Normalize MultiVectorMask)"),
    SINGLE_VECTOR: re.compile("Transformer Pooling( Dense)*( Normalize)?"),
}
_OLD_POOLING: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
}


@dataclass(frozen=True)
class _Module:
    kind: str
    folder: str


def module_folders(folder: Path) -> tuple[str, ...]:
    """Return the folders that modules.json names, the backbone's first; each lies within the checkpoint."""
    return tuple(module.folder for module in _read_modules(folder))


def read_modules(folder: Path) -> Recipe:
    """Read the recipe of a checkpoint with modules.json.

    Raises:
        CheckpointError: a file is missing or of another type, a path leads out of the folder, or the modules are such
            that cannot be followed.
    """
    modules = _read_modules(folder)
    settings = read_settings(folder / SETTINGS)
    layout = _layout(modules, settings)
    kinds = " ".join(module.kind for module in modules)
    if not _ORDERS[layout].fullmatch(kinds):
        raise CheckpointError(
            f"{folder}/{MODULES} lists {kinds} in the {layout} layout; supported is "
            f"{_ORDERS[layout].pattern.replace('( ', ' (')} (a regular expression)"
        )
    read = {PYLATE: _read_pylate, MULTI_VECTOR: _read_multi_vector, SINGLE_VECTOR: _read_single_vector}[layout]
    return read(folder, modules, settings)


def dense_sizes(folder: Path, recipe: Recipe, *, hidden: int) -> tuple[int, ...]:
    """Return the one dim of the head, whose layers are checked against the headers of their weights.

    Raises:
        CheckpointError: a layer does not take what the one before it gives, or its weights are of another shape.
    """
    n_in = hidden
    for dense in recipe.head:
        if dense.n_in != n_in:
            raise CheckpointError(f"{folder}/{dense.folder} takes {dense.n_in} dimensions, but gets {n_in}")
        wanted = {"linear.weight": (dense.n_out, n_in)}
        wanted |= {"linear.bias": (dense.n_out,)} if dense.bias else {}
        wanted |= {"residual.weight": (dense.n_out, n_in)} if dense.residual and dense.n_out != n_in else {}
        shapes = tensor_shapes(folder / dense.folder)
        for name, shape in wanted.items():
            if shapes.get(name) != shape:
                found = list(shapes[name]) if name in shapes else "missing"
                raise CheckpointError(
                    f"{folder}/{dense.folder}: {name} is {found}; its config.json calls for {list(shape)}"
                )
        n_in = dense.n_out
    return (n_in,)


def _read_modules(folder: Path) -> tuple[_Module, ...]:
    """Read modules.json; a module that is no part of a known library, or lies elsewhere, is refused."""
    modules = []
    for entry in read_list(folder / MODULES):
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("path", "type")):
            raise CheckpointError(f"{folder}/{MODULES}: {entry!r} is no module with a path and a type")
        if not entry["type"].startswith(_LIBRARIES):
            raise CheckpointError(
                f"{folder}/{MODULES} asks for {entry['type']}, which is code of the checkpoint's own and never run"
            )
        inside(folder, entry["path"], named_by=MODULES)
        modules.append(_Module(entry["type"].rpartition(".")[2], entry["path"]))
    return tuple(modules)


def _layout(modules: tuple[_Module, ...], settings: Settings) -> str:
    """Tell the three apart: by the model_type that newer libraries save, else by the modules themselves."""
    kinds = {module.kind for module in modules}
    known = {"ColBERT": PYLATE, "MultiVectorEncoder": MULTI_VECTOR, "SentenceTransformer": SINGLE_VECTOR}
    named = settings.get("model_type", str, "")
    if named in known:
        return known[named]
    if named:
        raise CheckpointError(f"{settings.path}: model_type is {named!r}; supported: {', '.join(known)}")
    return MULTI_VECTOR if "MultiVectorMask" in kinds else SINGLE_VECTOR if "Pooling" in kinds else PYLATE


def _read_pylate(folder: Path, modules: tuple[_Module, ...], settings: Settings) -> Recipe:
    """PyLate's own settings and, where they are not saved, its defaults; it normalises always."""
    query_length = settings.get("query_length", int, 32)
    expands = settings.get("do_query_expansion", bool, True)
    attends = settings.get("attend_to_expansion_tokens", bool, False)
    prompt = _prompts(settings).get(settings.get("default_prompt_name", str, ""), "")
    words = settings.words("skiplist_words", tuple(string.punctuation))
    return Recipe(
        layout=PYLATE,
        query=Side(settings.get("query_prefix", str, "[Q] "), prompt, query_length),
        passage=Side(settings.get("document_prefix", str, "[D] "), prompt, settings.get("document_length", int, 180)),
        expansion=Expansion(query_length, attends) if expands else None,
        skiplist=Skiplist(words, "own or unknown"),
        head=_head(folder, modules, named=""),
        backbone=modules[0].folder,
        lowercases=_transformer(folder, modules).get("do_lower_case", bool, False),
        strips=True,
    )


def _read_multi_vector(folder: Path, modules: tuple[_Module, ...], settings: Settings) -> Recipe:
    """Settings of sentence-transformers' MultiVectorEncoder, which it keeps with the modules they belong to."""
    if settings.get("similarity_fn_name", str, "maxsim") != "maxsim":
        raise CheckpointError(f"{settings.path}: similarity is {settings.values['similarity_fn_name']!r}, not 'maxsim'")
    transformer = _transformer(folder, modules)
    longest = _longest(transformer)
    query_length = transformer.get("query_length", int, longest)
    expansion = _expansion(transformer)
    if expansion:
        fixed = transformer.values["query_expansion"]["strategy"] == "fixed"
        query_length = expansion.length if fixed else max(query_length, expansion.length)
    prompts = _prompts(settings)
    return Recipe(
        layout=MULTI_VECTOR,
        query=Side("", prompts.get("query", ""), query_length),
        passage=Side("", prompts.get("document", ""), transformer.get("document_length", int, longest)),
        expansion=expansion,
        skiplist=_skiplist(read_settings(folder / _only(modules, "MultiVectorMask").folder / "config.json")),
        head=_head(folder, modules, named="token_embeddings"),
        backbone=modules[0].folder,
        lowercases=transformer.get("do_lower_case", bool, False),
    )


def _read_single_vector(folder: Path, modules: tuple[_Module, ...], settings: Settings) -> Recipe:
    """Settings of a SentenceTransformer, whose one vector a text is compared by cosine."""
    similarity = settings.get("similarity_fn_name", str, "cosine")
    if similarity != "cosine" and "Normalize" not in {module.kind for module in modules}:
        raise CheckpointError(f"{settings.path}: similarity is {similarity!r} without Normalize; supported is cosine")
    transformer = _transformer(folder, modules)
    length = _longest(transformer)
    prompts = _prompts(settings)
    pooling = read_settings(folder / _only(modules, "Pooling").folder / "config.json")
    if not pooling.get("include_prompt", bool, True) and any(prompts.values()):
        raise CheckpointError(f"{pooling.path}: include_prompt is false, and leaving prompts out is not supported")
    return Recipe(
        layout=SINGLE_VECTOR,
        query=Side("", prompts.get("query", ""), length),
        passage=Side("", prompts.get("document", ""), length),
        expansion=None,
        skiplist=Skiplist(),
        head=_head(folder, modules, named="sentence_embedding"),
        pooling=_pooling(pooling),
        backbone=modules[0].folder,
        lowercases=transformer.get("do_lower_case", bool, False),
    )


def _transformer(folder: Path, modules: tuple[_Module, ...]) -> Settings:
    """Read the backbone module's settings; those that ask for pictures, chats or other tokenisation are refused."""
    settings = read_settings(folder / modules[0].folder / TRANSFORMER)
    if settings.get("processing_kwargs", dict, {}) or "message" in settings.get("modality_config", dict, {}):
        raise CheckpointError(f"{settings.path} asks for processing_kwargs or a chat template, which is not supported")
    return settings


def _longest(transformer: Settings) -> int:
    """Return the tokens a text may have where no length is set for queries or passages: what the backbone takes."""
    backbone = transformer.path.parent
    limit = transformer.get("max_seq_length", int, 0) or read_settings(backbone / "tokenizer_config.json").get(
        "model_max_length", int, usable_positions(backbone)
    )
    return min(limit, usable_positions(backbone))


def _prompts(settings: Settings) -> dict[str, str]:
    """Read the prompts by name; null is no prompt."""
    prompts = settings.get("prompts", dict, {})
    if not all(isinstance(prompt, str | None) for prompt in prompts.values()):
        raise CheckpointError(f"{settings.path}: prompts is {prompts!r}; expected strings by name")
    return {name: prompt or "" for name, prompt in prompts.items()}


def _expansion(transformer: Settings) -> Expansion | None:
    """Read query_expansion of sentence-transformers 6."""
    values = Settings(transformer.path, transformer.get("query_expansion", dict, {}))
    if not values.values:
        return None
    if values.get("strategy", str, REQUIRED) not in ("fixed", "min"):
        raise CheckpointError(f"{transformer.path}: query_expansion is {values.values!r}; strategies are fixed and min")
    token = values.get("token", str, "") or None
    return Expansion(values.get("length", int, REQUIRED), values.get("attend", bool, False), token)


def _skiplist(mask: Settings) -> Skiplist:
    """Read the settings of MultiVectorMask."""
    if mask.get("keep_only_token_ids", list, []):
        raise CheckpointError(f"{mask.path}: keep_only_token_ids is for pictures, which are not supported")
    tasks = mask.words("skiplist_tasks", ("document",))
    return Skiplist(mask.words("skiplist_words", ()), "own", "query" in tasks, "document" in tasks)


def _head(folder: Path, modules: tuple[_Module, ...], *, named: str) -> tuple[DenseFacts, ...]:
    """Read the Dense modules; `named` is the feature they must work on, "" if they always work on tokens."""
    head = []
    for module in modules:
        if module.kind != "Dense":
            continue
        path = folder / module.folder / "config.json"
        settings = read_settings(path, needed=True)
        for key in ("module_input_name", "module_output_name"):
            if named and settings.get(key, str, named) != named:
                raise CheckpointError(f"{path}: {key} is {settings.values[key]!r}; supported is {named}")
        name = settings.get("activation_function", str, "torch.nn.modules.activation.Tanh")
        activation = name.rpartition(".")[2]
        if not name.startswith("torch.nn.modules.") or activation not in ACTIVATIONS:
            raise CheckpointError(f"{path}: activation_function is {name!r}; supported: {', '.join(ACTIVATIONS)}")
        sizes = [settings.get(key, int, REQUIRED) for key in ("in_features", "out_features")]
        bias, residual = settings.get("bias", bool, True), settings.get("use_residual", bool, False)
        head.append(DenseFacts(module.folder, sizes[0], sizes[1], bias, activation, residual))
    return tuple(head)


def _pooling(settings: Settings) -> Pooling:
    """Read how tokens become one vector: pooling_mode, or the older flags, of which exactly one is set."""
    supported = tuple(_OLD_POOLING.values())
    flags = {key for key, value in settings.values.items() if key.startswith("pooling_mode_") and value is True}
    mode = settings.values.get("pooling_mode") or (_OLD_POOLING.get(*flags, None) if len(flags) == 1 else None)
    if mode not in supported:
        found = settings.values.get("pooling_mode") or ", ".join(sorted(flags)) or "not stated"
        raise CheckpointError(f"{settings.path}: pooling is {found}; supported, one at a time: {', '.join(supported)}")
    return mode


def _only(modules: tuple[_Module, ...], kind: str) -> _Module:
    return next(module for module in modules if module.kind == kind)
