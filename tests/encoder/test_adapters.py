"""An adapter leaves a checkpoint as a file, comes back bit by bit, and is refused where it does not belong."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.encoder.conftest import EXACT
from tests.tiny import LANGUAGES, build_checkpoint, tiny_dpr, tiny_pylate, tiny_sentence_transformers
from xm.__main__ import main
from xm.encoder.adapters import AdapterFile, adapter_of, read_adapter, write_adapter
from xm.encoder.encoder import Encoder
from xm.encoder.exchange import export_adapter, merge_adapter
from xm.encoder.xmod import read_xmod
from xm.errors import CheckpointError, LanguageError
from xm.types import LanguageGuess

OTHERS = tuple(code for code in LANGUAGES if code != "de_DE")
TEXT = "Energie und Pflanzen"
HOME = "0_Transformer"


def loaded(folder: Path) -> Encoder:
    return Encoder(folder, model="m", revision="r", options=EXACT)


def encoded(encoder: Encoder, code: str, text: str = TEXT) -> np.ndarray:
    return encoder.encode_passages([text], [LanguageGuess(code, 1.0, "given")])[0].vectors


def without_german(source: Path, folder: Path, *, home: str = "") -> Path:
    """The same checkpoint with one adapter less; home: the backbone's folder within it."""
    shutil.copytree(source, folder)
    weights, config = folder / home / "model.safetensors", folder / home / "config.json"
    kept = {name: tensor for name, tensor in load_file(weights).items() if ".de_DE." not in name}
    save_file(kept, weights, metadata={"format": "pt"})
    config.write_text(json.dumps(json.loads(config.read_text()) | {"languages": list(OTHERS)}))
    return folder


def nested(folder: Path) -> Path:
    """The same checkpoint with its backbone in a folder of its own, HOME."""
    (folder / HOME).mkdir()
    for path in list(folder.iterdir()):
        if path.is_file() and path.name not in ("modules.json", "config_sentence_transformers.json"):
            path.rename(folder / HOME / path.name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = HOME
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


def with_first_names(folder: Path) -> Path:
    """The same checkpoint with norms named as transformers 5.3 saves them."""
    tensors = load_file(folder / "model.safetensors")
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in tensors.items()
    }
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def with_rows(folder: Path, ids: list[int]) -> AdapterFile:
    """German, with word embeddings of its own for some ids, given in falling order."""
    model, _ = read_xmod(folder, languages=["de_DE"])
    rows = (torch.tensor(ids), torch.randn(len(ids), 48))
    return adapter_of(model, "de_DE", base="tiny", rows=rows, notes={"text": "a.txt"})


@pytest.fixture(scope="module")
def fewer(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return without_german(tiny_folder, tmp_path_factory.mktemp("adapters") / "fewer")


@pytest.fixture(scope="module")
def german(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("adapters") / "de.safetensors"
    export_adapter(str(tiny_folder), "de_DE", path)
    return path


def test_a_file_holds_the_adapter_and_what_it_fits(german: Path, tiny_folder: Path) -> None:
    adapter = read_adapter(german)
    assert (adapter.facts.code, adapter.facts.hidden, adapter.facts.n_layers, adapter.facts.reduction) == (
        "de_DE",
        48,
        2,
        6,
    )
    tensors = load_file(tiny_folder / "model.safetensors")
    assert len(adapter.tensors) == 8
    for name, tensor in adapter.tensors.items():
        _, depth, part = name.split(".", 2)
        original = tensors[f"roberta.encoder.layer.{depth}.output.adapter_modules.de_DE.{part}"]
        assert torch.equal(tensor, original)


def test_an_imported_adapter_gives_the_bits_of_the_checkpoint_it_came_from(
    german: Path, fewer: Path, tiny_folder: Path
) -> None:
    encoder = loaded(fewer)
    before = encoded(encoder, "en_XX")
    with pytest.raises(LanguageError, match="de_DE"):
        encoded(encoder, "de_DE")
    assert encoder.import_adapter(german).code == "de_DE"
    assert np.array_equal(encoded(encoder, "de_DE"), encoded(loaded(tiny_folder), "de_DE"))
    assert np.array_equal(encoded(encoder, "en_XX"), before)
    assert encoder.languages == (*OTHERS, "de_DE")
    assert encoder.revision.startswith("r+de_DE-")  # an index built now is not taken for one without the adapter


def test_a_merged_folder_is_a_checkpoint_like_any_other(
    german: Path, fewer: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    merge_adapter(str(fewer), german, tmp_path / "merged")
    merged = loaded(tmp_path / "merged")
    assert merged.languages == (*OTHERS, "de_DE")
    for code in LANGUAGES:
        assert np.array_equal(encoded(merged, code), encoded(loaded(tiny_folder), code))


def test_own_word_embeddings_change_their_language_alone(tiny_folder: Path, fewer: Path, tmp_path: Path) -> None:
    encoder = loaded(fewer)
    ids = sorted({int(token) for token in encoder._tokenizer.passages([TEXT])[0].ids}, reverse=True)[:3]
    adapter = with_rows(tiny_folder, ids)
    assert adapter.row_ids.tolist() == ids[::-1]
    write_adapter(adapter, tmp_path / "de")
    assert read_adapter(tmp_path / "de").facts == adapter.facts
    before = encoded(encoder, "en_XX")
    encoder.import_adapter(tmp_path / "de")
    found = encoded(encoder, "de_DE")
    assert np.abs(found - encoded(loaded(tiny_folder), "de_DE")).max() > 0.01
    assert np.array_equal(encoded(encoder, "en_XX"), before)
    with pytest.raises(CheckpointError, match="3 word embeddings of its own"):
        merge_adapter(str(fewer), tmp_path / "de", tmp_path / "merged")
    merge_adapter(str(fewer), tmp_path / "de", tmp_path / "merged", share_rows=True)
    assert np.array_equal(encoded(loaded(tmp_path / "merged"), "de_DE"), found)
    assert np.abs(encoded(loaded(tmp_path / "merged"), "en_XX") - before).max() > 0.01


def test_an_adapter_runs_in_a_half_precision_copy_of_its_base(german: Path, tmp_path: Path) -> None:
    folder = build_checkpoint(tmp_path / "half", dtype=torch.bfloat16, languages=list(OTHERS))
    loaded(folder).import_adapter(german)


@pytest.mark.parametrize("home", ["", HOME], ids=["flat", "nested"])
@pytest.mark.parametrize("build", [tiny_pylate, tiny_sentence_transformers, tiny_dpr])
def test_other_layouts_keep_their_modules(build: Callable, home: str, tmp_path: Path) -> None:
    source, de, merged = build(tmp_path / "source", backbone="xmod"), tmp_path / "de", tmp_path / "merged"
    if home:
        nested(source)
    export_adapter(str(source), "de_DE", de)
    fewer = without_german(source, tmp_path / "fewer", home=home)
    files = {path.relative_to(fewer) for path in fewer.rglob("*")}
    for name in ("pytorch_model.bin", "model-00001-of-00002.safetensors"):
        (fewer / home / name).write_bytes(b"old")
    merge_adapter(str(fewer), de, merged)
    assert {path.relative_to(merged) for path in merged.rglob("*")} == files  # but for what would now be out of date
    by_import = loaded(fewer)
    by_import.import_adapter(de)
    for code in ("de_DE", "en_XX"):
        whole = encoded(loaded(source), code)
        assert np.array_equal(encoded(loaded(merged), code), whole)
        assert np.array_equal(encoded(by_import, code), whole)


def test_norms_by_their_first_names_are_found(tmp_path: Path) -> None:
    source = tiny_pylate(tmp_path / "source", backbone="xmod")
    whole = encoded(loaded(source), "de_DE")
    export_adapter(str(with_first_names(source)), "de_DE", tmp_path / "de")
    merge_adapter(str(without_german(source, tmp_path / "fewer")), tmp_path / "de", tmp_path / "merged")
    assert np.array_equal(encoded(loaded(tmp_path / "merged"), "de_DE"), whole)


def test_an_adapter_fits_its_base_with_markers_added_to_the_vocabulary(
    german: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    folder = without_german(tiny_pylate(tmp_path / "pylate", backbone="xmod"), tmp_path / "fewer")
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.LayerNorm.weight"] = read_adapter(german).norm
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    merge_adapter(str(folder), german, tmp_path / "merged")
    assert loaded(tmp_path / "merged").languages == (*OTHERS, "de_DE")
    write_adapter(with_rows(tiny_folder, [7]), tmp_path / "rows")  # these are places in the vocabulary
    with pytest.raises(CheckpointError, match="made for vocab_size"):
        merge_adapter(str(folder), tmp_path / "rows", tmp_path / "other", share_rows=True)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"adapter_reduction_factor": 4}, "made for reduction 6 .* has 4"),
        ({"num_hidden_layers": 3}, "made for n_layers 2 .* has 3"),
        ({"ln_before_adapter": False}, "made for norms reused norm, residual behind it"),
        ({"seed": 1}, "made for another base"),
    ],
)
def test_a_misfit_is_refused_by_both_doors(changes: dict, match: str, german: Path, tmp_path: Path) -> None:
    folder = build_checkpoint(tmp_path / "other", languages=["en_XX"], default_language="en_XX", **changes)
    with pytest.raises(CheckpointError, match=match):
        loaded(folder).import_adapter(german)
    with pytest.raises(CheckpointError, match=match):
        merge_adapter(str(folder), german, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_never_replaced(german: Path, tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="an adapter de_DE already"):
        loaded(tiny_folder).import_adapter(german)
    with pytest.raises(CheckpointError, match="an adapter de_DE already"):
        merge_adapter(str(tiny_folder), german, tmp_path / "out")


def test_a_backbone_without_adapters_takes_none(german: Path, tmp_path: Path) -> None:
    folder = build_checkpoint(tmp_path / "bert", backbone="bert")
    with pytest.raises(CheckpointError, match="without language adapters"):
        loaded(folder).import_adapter(german)
    with pytest.raises(CheckpointError, match="which has no language adapters"):
        export_adapter(str(folder), "de_DE", tmp_path / "x")


def test_exporting_what_is_not_there(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(LanguageError, match="'sw_KE'"):
        export_adapter(str(tiny_folder), "sw_KE", tmp_path / "x")
    fewer = without_german(tiny_folder, tmp_path / "fewer")
    shutil.copy(tiny_folder / "config.json", fewer)
    with pytest.raises(CheckpointError, match="lists de_DE in config.json and lacks .*adapter_modules.de_DE"):
        export_adapter(str(fewer), "de_DE", tmp_path / "x")
    with pytest.raises(CheckpointError, match="cannot be written"):
        export_adapter(str(tiny_folder), "de_DE", tmp_path / "no" / "such" / "folder")


def test_files_that_are_no_adapters(german: Path, tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no adapter file .*nowhere"):
        read_adapter(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="no adapter file of format xm-adapter-1"):
        read_adapter(tiny_folder / "model.safetensors")
    (tmp_path / "cut").write_bytes(german.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        read_adapter(tmp_path / "cut")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"n_layers": 3}, "has 8 for 3 layers"),
        ({"n_layers": 10**12}, "has 8 for 10+ layers"),
        ({"reduction": 0}, "lacks tensors"),
        ({"reduction": 4}, "lacks tensors"),
        ({"hidden": "48"}, "hidden is '48'; expected a int"),
        ({"n_rows": 1}, "lacks tensors"),
        ({"colour": "red"}, "facts cannot be read"),
    ],
)
def test_facts_that_do_not_agree_with_the_tensors(change: dict, match: str, german: Path, tmp_path: Path) -> None:
    facts = {**read_adapter(german).facts.__dict__, **change}
    metadata = {"format": "xm-adapter-1", "facts": json.dumps(facts)}
    save_file(load_file(german), tmp_path / "bad", metadata=metadata)
    with pytest.raises(CheckpointError, match=match):
        read_adapter(tmp_path / "bad")


def test_the_command_line_takes_one_out_and_puts_it_in(
    fewer: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = str(tmp_path / "de"), str(tmp_path / "out")
    assert main(["adapter", "export", "de_DE", file, "--model", str(tiny_folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["adapter"]["code"] == "de_DE"
    assert main(["adapter", "import", file, "--out", out, "--model", str(fewer)]) == 0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["languages"] == [*OTHERS, "de_DE"]
    capsys.readouterr()
    assert main(["adapter", "show", file]) == 0
    assert "reduction    6" in capsys.readouterr().out
    assert main(["adapter", "import", file, "--out", out, "--model", str(tiny_folder)]) == 2
    assert "an adapter de_DE already" in capsys.readouterr().err
