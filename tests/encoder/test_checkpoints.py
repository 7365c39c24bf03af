"""Facts of a checkpoint, and the clear error of each bad one; nothing of it is ever executed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny import LANGUAGES, METADATA, build_checkpoint
from xm.encoder import inspect_checkpoint, load_encoder
from xm.errors import CheckpointError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_checkpoint(tmp_path / "model")


def change(path: Path, **values: object) -> None:
    """Change entries of a JSON file; None removes one."""
    merged = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in merged.items() if value is not None}))


def refused(folder: Path, match: str, *, by_inspection: bool = True) -> None:
    """Both doors refuse the folder, for the same reason."""
    with pytest.raises(CheckpointError, match=match):
        load_encoder(str(folder))
    if by_inspection:
        with pytest.raises(CheckpointError, match=match):
            inspect_checkpoint(str(folder))


def test_facts_of_an_xmod_checkpoint(folder: Path) -> None:
    (folder / "README.md").write_text("---\nlanguage: [en]\nlicense: mit\n---\n# Card\nlicense: none\n")
    facts = inspect_checkpoint(str(folder))
    assert (facts.layout, facts.backbone, facts.dim, facts.hidden, facts.n_layers) == ("Stanford", "xmod", 16, 48, 2)
    assert (facts.query_length, facts.passage_length) == (32, 48)
    assert (facts.query_marker, facts.query_marker_id) == ("[unused0]", 3)
    assert (facts.passage_marker, facts.passage_marker_id) == ("[unused1]", 3)
    assert facts.mask_id == facts.vocab_size - 1
    assert facts.attends_to_masks
    assert facts.skiplist == ("▁",)
    assert facts.languages == LANGUAGES
    assert facts.licence == "mit"
    assert facts.bytes_on_disk == (folder / "model.safetensors").stat().st_size


def test_facts_of_a_checkpoint_without_adapters(tmp_path: Path) -> None:
    facts = inspect_checkpoint(str(build_checkpoint(tmp_path, backbone="bert")))
    assert (facts.backbone, facts.languages, facts.licence) == ("bert", (), "not stated")
    assert (facts.query_marker_id, facts.passage_marker_id) == (1, 2)


def test_inspecting_loads_no_torch_and_reads_no_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: 8 + int.from_bytes(content[:8], "little")])  # the header alone
    code = f"import sys, xm.encoder; print(xm.encoder.inspect_checkpoint({str(folder)!r}).dim, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["16", "False"]


def test_unknown_metadata_keys_are_ignored(folder: Path) -> None:
    change(folder / "artifact.metadata", schedule_free=True, marginmse_loss={"a": 1})
    assert load_encoder(str(folder)).dim == 16


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere" / "at" / "all", "neither a folder nor a hub name")
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", "is a file; give the folder")


def test_a_folder_without_config(tmp_path: Path) -> None:
    refused(tmp_path, r"has no config\.json, so it is no checkpoint")


def test_metadata_missing(folder: Path) -> None:
    (folder / "artifact.metadata").unlink()
    refused(folder, r"has no artifact\.metadata")


@pytest.mark.parametrize("key", ["query_token_id", "doc_maxlen", "dim", "mask_punctuation", "attend_to_mask_tokens"])
def test_a_missing_metadata_key_is_named(key: str, folder: Path) -> None:
    change(folder / "artifact.metadata", **{key: None})
    refused(folder, f"lacks {key}; a guess")


def test_several_missing_metadata_keys_are_all_named(folder: Path) -> None:
    (folder / "artifact.metadata").write_text(json.dumps({"dim": 16, "similarity": "cosine"}))
    refused(folder, "query_token_id, doc_token_id, query_maxlen, doc_maxlen, mask_punctuation, attend_to_mask_tokens")


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("dim", "16", "dim is '16'; expected a int"),
        ("dim", True, "dim is True; expected a int"),
        ("query_token_id", 3, "query_token_id is 3; expected a str"),
        ("mask_punctuation", 1, "mask_punctuation is 1; expected a bool"),
        ("similarity", "l2", "only 'cosine' is supported"),
        ("interaction", "flipr", "only 'colbert' is supported"),
        ("query_maxlen", 3, "at least 4 tokens"),
        ("doc_maxlen", 400, "asks for 400 tokens, config.json has 64 usable positions"),
        ("dim", 8, r"linear\.weight is \[16, 48\].*call for \[8, 48\]"),
    ],
)
def test_metadata_that_cannot_be_followed(key: str, value: object, match: str, folder: Path) -> None:
    change(folder / "artifact.metadata", **{key: value})
    refused(folder, match)


@pytest.mark.parametrize("content", ["", "not json", "[1, 2]", '"text"', "[" * 100_000])
@pytest.mark.parametrize("name", ["artifact.metadata", "config.json"])
def test_metadata_of_another_type(name: str, content: str, folder: Path) -> None:
    (folder / name).write_text(content)
    refused(folder, f"{name} (cannot be read as JSON|holds a JSON)")


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"hidden_size": "48"}, "hidden_size is '48'; expected a whole number"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"vocab_size": None}, "vocab_size is None"),
        ({"vocab_size": 100}, "pieces, config.json a vocab_size of 100"),
        ({"languages": "en_XX"}, "languages is 'en_XX'; expected a list"),
    ],
)
def test_a_config_that_cannot_be_followed(values: dict, match: str, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text()) | values
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    refused(folder, match)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2'; supported: xmod, bert, xlm-roberta, modernbert"),
        ({"hidden_act": 7}, "not a readable configuration"),
        ({"num_hidden_layers": 3}, r"lacks \d+ tensors that config\.json calls for: roberta\.encoder\.layer\.2"),
        ({"intermediate_size": 95}, "does not fit config.json"),
    ],
)
def test_a_config_that_does_not_fit_is_refused_when_weights_are_read(values: dict, match: str, folder: Path) -> None:
    change(folder / "config.json", **values)
    refused(folder, match, by_inspection=False)


def test_a_missing_head(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["linear.weight"]
    save_file(tensors, folder / "model.safetensors")
    refused(folder, r"has no linear\.weight, the head that maps 48 to 16")


@pytest.mark.parametrize("n_bytes", [0, 5, 500, -1, -100_000])
def test_truncated_weights(n_bytes: int, folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:n_bytes])
    refused(folder, "truncated or damaged", by_inspection=0 < n_bytes)


def test_weights_of_random_bytes(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    refused(folder, "truncated or damaged")
    (folder / "model.safetensors").write_bytes((4).to_bytes(8, "little") + b"\xff\xfe\x00\x01" * 9)
    refused(folder, "truncated or damaged")


def test_no_weights_at_all(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refused(folder, r"has no model\.safetensors")


def test_shards_that_are_missing_elsewhere_or_no_shards(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"linear.weight": "model-1.safetensors"}}')
    refused(folder, r"lacks weight files that model\.safetensors\.index\.json names: model-1\.safetensors")
    for elsewhere in ("../../etc/passwd", "/etc/passwd"):
        index.write_text(json.dumps({"weight_map": {"linear.weight": elsewhere}}))
        refused(folder, "lies outside of the checkpoint's folder")
    for content in ('{"weight_map": [1]}', '{"weight_map": {"linear.weight": 3}}', "{}"):
        index.write_text(content)
        refused(folder, "weight_map is no object of file names")


def test_a_pickle_is_named_and_never_opened(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    mark = folder / "executed"
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR.")
    refused(folder, r"only as a pickle \(pytorch_model\.bin\), which can run code")
    assert not mark.exists()


def test_custom_code_is_ignored_and_never_executed(folder: Path) -> None:
    mark = folder / "executed"
    (folder / "custom.py").write_text(f"open({str(mark)!r}, 'w')")
    change(folder / "config.json", auto_map={"AutoModel": "custom.Model", "AutoConfig": "custom.Config"})
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["custom.Tokenizer", None]})
    assert load_encoder(str(folder)).dim == 16
    assert not mark.exists()


def test_a_model_that_is_remote_code_is_shown_and_refused(tmp_path: Path) -> None:
    folder = build_checkpoint(tmp_path, backbone="xlm-roberta")
    code = "jinaai/xlm-roberta-flash-implementation--modeling.Model"
    change(folder / "config.json", auto_map={"AutoModel": code})
    refused(folder, r"needs remote code .*never run unasked.*allow_remote_code=True", by_inspection=False)
    facts = inspect_checkpoint(str(folder))
    assert facts.remote_code == code
    assert any(code in note for note in facts.notes)


def test_a_bare_encoder_is_refused_with_the_way_out(folder: Path) -> None:
    (folder / "artifact.metadata").unlink()
    change(folder / "config.json", architectures=["XmodModel"])
    refused(folder, r"bare encoder \(xmod\) without late-interaction head.*fine-tune it first \(xm train finetune\)")


def test_smaller_heads_are_found_and_checked(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    for dim in (4, 8):
        tensors[f"linear_{dim}.weight"] = torch.randn((dim, 48), generator=torch.Generator().manual_seed(dim))
    save_file(tensors, folder / "model.safetensors")
    assert inspect_checkpoint(str(folder)).dims == (16, 8, 4)
    tensors["linear_8.weight"] = tensors["linear_4.weight"].clone()
    save_file(tensors, folder / "model.safetensors")
    refused(folder, r"linear_8\.weight is \[4, 48\].*call for \[8, 48\]")


def test_memory_is_told_for_the_shared_weights_and_for_each_adapter(folder: Path) -> None:
    facts = inspect_checkpoint(str(folder))
    adapter = 2 * (48 * 8 + 8 + 8 * 48 + 48) * 4  # two layers of two matrices with biases, four bytes a number
    assert facts.bytes_per_adapter == adapter
    n_bytes = sum(tensor.numel() * 4 for tensor in load_file(folder / "model.safetensors").values())
    assert facts.bytes_in_memory == n_bytes - len(LANGUAGES) * adapter


def test_the_tiny_checkpoint_stays_in_the_layout_it_stands_for(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert (config["model_type"], config["architectures"]) == ("xmod", ["HF_ColBERT"])
    names = load_file(folder / "model.safetensors")
    assert {name.split(".")[0] for name in names} == {"roberta", "linear"}
    assert names["linear.weight"].shape == torch.Size([METADATA["dim"], 48])
    assert "roberta.encoder.layer.1.output.adapter_modules.de_DE.dense2.bias" in names
