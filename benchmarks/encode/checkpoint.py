"""Build colbert-xm's shape with random weights: 12 layers, 768 wide, 250,002 words, 81 adapters, Stanford layout.

The vocabulary is xm-mini's, its pieces spread evenly over the 250,002 places, so that a text touches as many pages of
the word embeddings as it would in the original. Leaves out: anything about speed.
"""

import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from xm.encoder.hub import MINI_FOLDER
from xm.languages import LANGUAGES

VOCABULARY, HIDDEN, INNER, N_LAYERS, REDUCTION, DIM = 250_002, 768, 3_072, 12, 2, 128
N_SPECIAL = 4  # <s>, <pad>, </s>, <unk> keep the first places; <mask> has the last


def build_base(cache: Path, dtype: str) -> Path:
    """Return the folder of the checkpoint, built if it is not in `cache`; dtype is float32 or bfloat16, of the file."""
    folder = cache / f"base-{dtype}"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _write_small_files(folder)
        _write_weights(folder / "model.safetensors", dtype)
        (folder / "done").touch()
    return folder


def _write_small_files(folder: Path) -> None:
    """Write configuration, metadata and the stretched tokenizer."""
    for name in ("artifact.metadata", "special_tokens_map.json", "tokenizer_config.json"):
        shutil.copyfile(MINI_FOLDER / name, folder / name)
    changes = {"vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": INNER, "languages": [*LANGUAGES]}
    changes |= {"num_hidden_layers": N_LAYERS, "num_attention_heads": 12, "adapter_reduction_factor": REDUCTION}
    changes |= {"adapter_reuse_layer_norm": True, "ln_before_adapter": True, "layer_norm_eps": 1e-5}
    config = json.loads((MINI_FOLDER / "config.json").read_text(encoding="utf-8")) | changes
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer = json.loads((MINI_FOLDER / "tokenizer.json").read_text(encoding="utf-8"))
    pieces = tokenizer["model"]["vocab"]
    places = np.linspace(N_SPECIAL, VOCABULARY - 2, len(pieces) - N_SPECIAL - 1).astype(int).tolist()
    stretched = [[f"\U000f0000{place}", -99.0] for place in range(VOCABULARY)]  # no text holds this character
    for place, piece in zip([*range(N_SPECIAL), *places, VOCABULARY - 1], pieces, strict=True):
        stretched[place] = piece
    tokenizer["model"]["vocab"] = stretched
    tokenizer["added_tokens"][-1]["id"] = VOCABULARY - 1
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")


def _shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name every tensor of HF_ColBERT over XMOD and say its shape."""

    def dense(name: str, n_out: int, n_in: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.weight", (n_out, n_in)
        yield f"{name}.bias", (n_out,)

    yield "linear.weight", (DIM, HIDDEN)
    for name, n_rows in (("word", VOCABULARY), ("position", 514), ("token_type", 1)):
        yield f"roberta.embeddings.{name}_embeddings.weight", (n_rows, HIDDEN)
    yield from dense("roberta.embeddings.LayerNorm", HIDDEN, 0)
    for depth in range(N_LAYERS):
        layer = f"roberta.encoder.layer.{depth}"
        for name in ("query", "key", "value"):
            yield from dense(f"{layer}.attention.self.{name}", HIDDEN, HIDDEN)
        yield from dense(f"{layer}.attention.output.dense", HIDDEN, HIDDEN)
        yield from dense(f"{layer}.attention.output.LayerNorm", HIDDEN, 0)
        yield from dense(f"{layer}.intermediate.dense", INNER, HIDDEN)
        yield from dense(f"{layer}.output.dense", HIDDEN, INNER)
        yield from dense(f"{layer}.output.LayerNorm", HIDDEN, 0)
        for code in LANGUAGES:
            yield from dense(f"{layer}.output.adapter_modules.{code}.dense1", HIDDEN // REDUCTION, HIDDEN)
            yield from dense(f"{layer}.output.adapter_modules.{code}.dense2", HIDDEN, HIDDEN // REDUCTION)


def _write_weights(path: Path, dtype: str) -> None:
    """Write the safetensors file tensor by tensor, so that 3.4 GB on disk take few in memory."""
    n_bytes = {"float32": 4, "bfloat16": 2}[dtype]
    header, start = {}, 0
    for name, shape in _shapes():
        shape = tuple(size for size in shape if size)  # a norm's weight has one size
        size = int(np.prod(shape)) * n_bytes
        header[name] = {"dtype": {4: "F32", 2: "BF16"}[n_bytes], "shape": shape, "data_offsets": (start, start + size)}
        start += size
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.default_rng(0)
    noise = random.standard_normal(2**22, np.float32) * np.float32(0.05)  # tensors are stretches of it
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, entry in header.items():
            values = np.resize(np.roll(noise, int(random.integers(2**22))), int(np.prod(entry["shape"])))
            if name.endswith("LayerNorm.weight"):
                values = values + 1
            file.write(values.tobytes() if n_bytes == 4 else (values.view(np.uint32) >> 16).astype(np.uint16).tobytes())
