"""A language adapter as a file of its own: taken from a model, written, read, checked, and put into another model.

The file is safetensors: `layer.N.dense1.weight` and its three siblings for each layer, what it was made for as
metadata, and, if the language has word embeddings of its own, `rows.ids` and `rows.values`. Leaves out: checkpoint
folders (xm.encoder.exchange), and training an adapter (xm.train).
"""

import json
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import XmodConfig, XmodModel
from transformers.models.xmod.modeling_xmod import XmodAdapter

from xm.encoder.weights import read_tensor
from xm.encoder.xmod import check_adapter
from xm.errors import CheckpointError

FORMAT = "xm-adapter-1"
PARTS = ("dense1.weight", "dense1.bias", "dense2.weight", "dense2.bias")
# Of a norm's weights, relatively: the same base in bfloat16 is within 0.004, another base far beyond.
_SAME_NORM = 0.01


@dataclass(frozen=True)
class AdapterFacts:
    """What an adapter fits: base is the checkpoint it was made for (name and revision), told to the reader only.

    The sizes and flags are config.json's. notes: what its maker says of it, such as the text it was trained on.
    """

    code: str
    base: str
    hidden: int
    n_layers: int
    reduction: int
    vocab_size: int
    activation: str
    norms: str  # which norm an adapter reads through, and where its residual starts
    n_rows: int = 0
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class AdapterFile:
    """An adapter outside a model; every tensor is float32.

    tensors: `layer.N.dense1.weight` and so on. norm: (hidden,) the base's embedding norm, which other bases differ in.
    row_ids: (n_rows,) int64, rising, and rows: (n_rows, hidden): word embeddings in place of the base's.
    """

    facts: AdapterFacts
    tensors: dict[str, Tensor]
    norm: Tensor
    row_ids: Tensor
    rows: Tensor


def adapter_of(
    model: XmodModel,
    code: str,
    *,
    base: str,
    rows: tuple[Tensor, Tensor] | None = None,
    notes: dict[str, str] | None = None,
) -> AdapterFile:
    """Take the adapter `code` out of a model in memory.

    Args:
        model: the backbone, which is left as it is.
        code: one of the names in its adapter_modules.
        base: name and revision of the checkpoint the model comes from.
        rows: ids (n_rows,) and values (n_rows, hidden) of word embeddings that belong to this language alone.
        notes: what else is worth knowing, such as the text it was trained on.
    """
    check_adapter(code, model.config.languages)
    tensors = {}
    for depth, layer in enumerate(model.encoder.layer):
        for name, tensor in layer.output.adapter_modules[code].state_dict().items():
            tensors[f"layer.{depth}.{name}"] = tensor.detach().float().cpu().clone()
    norm = model.embeddings.LayerNorm.weight.detach().float().cpu().clone()
    return make_adapter(model.config, code, tensors, norm, base=base, rows=rows, notes=notes)


def write_adapter(adapter: AdapterFile, path: str | Path) -> None:
    """Write an adapter to one safetensors file, in place of a file of that name.

    Raises:
        CheckpointError: the file cannot be written.
    """
    metadata = {"format": FORMAT, "facts": json.dumps(asdict(adapter.facts), ensure_ascii=False)}
    tensors = adapter.tensors | {"base.norm": adapter.norm}
    if adapter.facts.n_rows:
        tensors |= {"rows.ids": adapter.row_ids, "rows.values": adapter.rows}
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=metadata)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be written ({error}); name another file") from error


def read_adapter(path: str | Path) -> AdapterFile:
    """Read an adapter file.

    Raises:
        CheckpointError: there is no such file, it is damaged, or it is no adapter file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CheckpointError(f"{path} is no adapter file of format {FORMAT}; `xm adapter export` makes them")
            facts = _read_facts(path, metadata)
            stored = {name: read_tensor(file, name) for name in file.keys()}
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no adapter file {path}") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is truncated or damaged ({error}); export it again") from error
    norm = stored.pop("base.norm", torch.zeros(0))
    row_ids = stored.pop("rows.ids", torch.zeros(0, dtype=torch.int64))
    rows = stored.pop("rows.values", torch.zeros(0, facts.hidden))
    adapter = AdapterFile(facts, stored, norm, row_ids, rows)
    _check_tensors(str(path), adapter)
    return adapter


def check_fit(adapter: AdapterFile, config: XmodConfig, norm: Tensor, what: str) -> None:
    """Check that an adapter can run in a model.

    Args:
        adapter: read from its file.
        config: of the model.
        norm: (hidden,) the model's embedding norm.
        what: the model's name, for the message.

    Raises:
        CheckpointError: a size or flag differs, or the adapter was made for another base.
    """
    here = _facts(config, adapter.facts.code, base=what, n_rows=0, notes={})
    # Only word embeddings depend on the vocabulary, and PyLate adds its markers to it.
    loose = ("code", "base", "n_rows", "notes", *(() if adapter.facts.n_rows else ("vocab_size",)))
    for entry in fields(AdapterFacts):
        made, found = getattr(adapter.facts, entry.name), getattr(here, entry.name)
        if entry.name not in loose and made != found:
            raise CheckpointError(
                f"the adapter {adapter.facts.code} was made for {entry.name} {made} ({adapter.facts.base}); "
                f"{what} has {found}: it cannot run there"
            )
    if not torch.allclose(adapter.norm, norm.float(), rtol=_SAME_NORM, atol=1e-6):
        raise CheckpointError(
            f"the adapter {adapter.facts.code} was made for another base than {what}: {adapter.facts.base}; an adapter "
            "runs in its base and in what was fine-tuned from it with frozen embeddings"
        )


def install(model: XmodModel, adapter: AdapterFile) -> int:
    """Put an adapter that fits into every layer of `model`, in its precision, and return its id."""
    for depth, layer in enumerate(model.encoder.layer):
        with torch.device("meta"):
            module = XmodAdapter(model.config)
        module.load_state_dict({part: adapter.tensors[f"layer.{depth}.{part}"] for part in PARTS}, assign=True)
        layer.output.adapter_modules[adapter.facts.code] = module.to(model.dtype).train(model.training)
    model.config.languages = [*model.config.languages, adapter.facts.code]
    return len(model.config.languages) - 1


def make_adapter(
    config: XmodConfig,
    code: str,
    tensors: dict[str, Tensor],
    norm: Tensor,
    *,
    base: str,
    rows: tuple[Tensor, Tensor] | None = None,
    notes: dict[str, str] | None = None,
) -> AdapterFile:
    """Put an adapter together with the facts of its model; `adapter_of` and `export_adapter` do the whole of it."""
    ids, values = rows if rows else (torch.zeros(0, dtype=torch.int64), torch.zeros(0, config.hidden_size))
    ids, order = ids.long().cpu().sort()
    values = values.detach().float().cpu()[order]
    facts = _facts(config, code, base=base, n_rows=len(ids), notes=notes or {})
    adapter = AdapterFile(facts, tensors, norm, ids, values)
    _check_tensors(f"the adapter {code}", adapter)
    return adapter


def _facts(config: XmodConfig, code: str, *, base: str, n_rows: int, notes: dict[str, str]) -> AdapterFacts:
    """Say what an adapter of this model fits."""
    which = "own norm" if config.adapter_layer_norm else "reused norm" if config.adapter_reuse_layer_norm else "no norm"
    where = "residual behind it" if config.ln_before_adapter else "residual before it"
    return AdapterFacts(
        code=code,
        base=base,
        hidden=config.hidden_size,
        n_layers=config.num_hidden_layers,
        reduction=config.adapter_reduction_factor,
        vocab_size=config.vocab_size,
        activation=str(config.hidden_act),
        norms=f"{which}, {where}",
        n_rows=n_rows,
        notes=notes,
    )


def _read_facts(path: str | Path, metadata: dict[str, str]) -> AdapterFacts:
    """Read the facts, each of its type."""
    try:
        values = json.loads(metadata["facts"])
        facts = AdapterFacts(**values)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its facts cannot be read ({error}); export it again") from error
    for entry in fields(AdapterFacts):
        value, kind = getattr(facts, entry.name), {"notes": dict}.get(entry.name, entry.type)
        if type(value) is not kind:
            raise CheckpointError(f"{path}: {entry.name} is {value!r}; expected a {kind.__name__}; export it again")
    return facts


def _check_tensors(what: str, adapter: AdapterFile) -> None:
    """Check that the tensors are those, and of the shapes, that the facts call for."""
    facts = adapter.facts
    if min(facts.hidden, facts.reduction) < 1 or len(adapter.tensors) != len(PARTS) * facts.n_layers:
        raise CheckpointError(f"{what} lacks tensors: it has {len(adapter.tensors)} for {facts.n_layers} layers")
    inner = facts.hidden // facts.reduction
    shapes: dict[str, tuple[int, ...]] = {"dense1.weight": (inner, facts.hidden), "dense1.bias": (inner,)}
    shapes |= {"dense2.weight": (facts.hidden, inner), "dense2.bias": (facts.hidden,)}
    expected = {f"layer.{depth}.{part}": shapes[part] for depth in range(facts.n_layers) for part in PARTS}
    expected |= {"base.norm": (facts.hidden,), "rows.ids": (facts.n_rows,), "rows.values": (facts.n_rows, facts.hidden)}
    found = adapter.tensors | {"base.norm": adapter.norm, "rows.ids": adapter.row_ids, "rows.values": adapter.rows}
    wrong = sorted(
        name
        for name in expected.keys() | found.keys()
        if name not in found or name not in expected or tuple(found[name].shape) != expected[name]
    )
    if wrong or adapter.row_ids.is_floating_point():
        raise CheckpointError(
            f"{what} lacks tensors, or has others than its facts call for: {', '.join(wrong[:3]) or 'rows.ids'}"
        )
    ids = adapter.row_ids.tolist()
    if ids and not (0 <= ids[0] and ids[-1] < facts.vocab_size and all(a < b for a, b in pairwise(ids))):
        raise CheckpointError(f"{what}: rows.ids are not rising ids of its vocabulary of {facts.vocab_size}")
