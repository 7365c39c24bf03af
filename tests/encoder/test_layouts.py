"""Each layout is told by its files and encodes as its library does; what cannot be followed is refused."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.encoder.conftest import EXACT
from tests.encoder.module_twin import ModuleTwin
from tests.encoder.test_checkpoints import change, refused
from tests.tiny import (
    LANGUAGES,
    SENTENCES,
    build_checkpoint,
    tiny_dpr,
    tiny_jina_like,
    tiny_modernbert,
    tiny_pylate,
    tiny_sentence_transformers,
)
from xm.encoder import inspect_checkpoint, load_encoder
from xm.encoder.hub import revision_of
from xm.errors import CheckpointError
from xm.maxsim import maxsim
from xm.options import EncodeOptions
from xm.types import LanguageGuess

ODD = ("?!", "  leading  and\tinner\n spaces ", "typed <mask> [MASK] [Q] [PAD] #1", "energy " * 60)
TEXTS = (*SENTENCES[:3], *ODD)
FIXED = {"strategy": "fixed", "attend": True, "token": None, "length": 24}
FLOOR = {"strategy": "min", "attend": False, "token": "[MASK]", "length": 12}


def given(code: str = "de_DE") -> LanguageGuess:
    return LanguageGuess(code, 1.0, "given")


def encoded(folder: Path, text: str, *, is_query: bool, code: str = "de_DE") -> np.ndarray:
    encoder = load_encoder(str(folder), options=EXACT)
    if is_query:
        return encoder.encode_query(text, given(code)).vectors
    return encoder.encode_passages([text], [given(code)])[0].vectors


def equal(found: np.ndarray, wanted: np.ndarray) -> bool:
    return found.shape == wanted.shape and np.abs(found - wanted).max() < 1e-5


@pytest.mark.parametrize(
    ("backbone", "settings"),
    [
        ("bert", {}),
        ("bert", {"attend_to_expansion_tokens": True, "skiplist_words": [".", "the"]}),
        ("xmod", {"do_query_expansion": False}),
        ("xlm-roberta", {"query_length": 12}),
        ("modernbert", {}),
    ],
)
def test_pylate_equals_its_twin(backbone: str, settings: dict, tmp_path: Path) -> None:
    folder = tiny_pylate(tmp_path, backbone=backbone, settings=settings)
    twin = ModuleTwin(folder)
    for text in TEXTS:
        for is_query in (True, False):
            wanted = twin.pylate(text, "de_DE", is_query=is_query)
            assert equal(encoded(folder, text, is_query=is_query), wanted), (text, is_query)


@pytest.mark.parametrize(
    ("backbone", "expansion"),
    [("bert", None), ("bert", FLOOR), ("xmod", FIXED | {"attend": False}), ("modernbert", FIXED)],
)
def test_sentence_transformers_equals_its_twin(backbone: str, expansion: dict | None, tmp_path: Path) -> None:
    folder = tiny_sentence_transformers(tmp_path, backbone=backbone, expansion=expansion)
    twin = ModuleTwin(folder)
    for text in TEXTS:
        for is_query in (True, False):
            wanted = twin.multi_vector(text, "de_DE", is_query=is_query)
            assert equal(encoded(folder, text, is_query=is_query), wanted), (text, is_query)


@pytest.mark.parametrize(("backbone", "mode"), [("xmod", "mean"), ("xlm-roberta", "max"), ("bert", "cls")])
def test_a_single_vector_equals_its_twin_and_scores_by_cosine(backbone: str, mode: str, tmp_path: Path) -> None:
    folder = tiny_dpr(tmp_path, backbone=backbone, mode=mode)
    encoder, twin = load_encoder(str(folder), options=EXACT), ModuleTwin(folder)
    assert (encoder.facts.layout, encoder.facts.pooling) == ("sentence-transformers, single vector", mode)
    assert (encoder.dim, encoder.facts.skiplist, encoder.facts.expands_queries) == (48, (), False)
    passages = encoder.encode_passages(list(TEXTS), [given()] * len(TEXTS))  # one batch, so shorter texts are padded
    query = encoder.encode_query(TEXTS[0], given())
    assert (query.tokens, query.kinds, query.offsets.tolist()) == (("<pooled>",), ("marker",), [[-1, -1]])
    for text, passage in zip(TEXTS, passages, strict=True):
        wanted = twin.single_vector(text, "de_DE", mode=mode)
        assert equal(passage.vectors, wanted)
        assert maxsim(query.vectors, passage.vectors) == pytest.approx(float(query.vectors[0] @ wanted[0]), abs=1e-5)


def test_what_is_found_in_each_layout(tmp_path: Path) -> None:
    folders = {
        "PyLate": tiny_pylate(tmp_path / "pylate"),
        "sentence-transformers": tiny_sentence_transformers(tmp_path / "multi", expansion=FIXED),
        "Stanford": tiny_jina_like(tmp_path / "jina"),
    }
    found = {layout: inspect_checkpoint(str(folder)) for layout, folder in folders.items()}
    assert {layout: facts.layout for layout, facts in found.items()} == {layout: layout for layout in folders}
    pylate, multi, jina = found["PyLate"], found["sentence-transformers"], found["Stanford"]
    assert (pylate.query_marker, pylate.passage_marker, pylate.query_prompt) == ("[Q] ", "[D] ", "")
    assert pylate.passage_marker_id == pylate.query_marker_id + 1 == pylate.vocab_size - 1
    assert (pylate.query_length, pylate.passage_length, pylate.attends_to_masks) == (24, 40, False)
    assert "[UNK]" in pylate.skiplist  # marks without a piece of their own take the unknown token's
    assert (multi.query_marker, multi.query_marker_id, multi.query_prompt) == ("", None, "[Q] ")
    assert (multi.dims, multi.attends_to_masks, multi.skiplist) == ((16,), True, (",", ".", "?"))
    assert (jina.query_marker, jina.passage_marker, jina.licence) == (
        "[QueryMarker]", "[DocumentMarker]", "cc-by-nc-4.0"
    )  # fmt: skip
    assert (jina.mask_id, jina.query_marker_id, jina.passage_marker_id) == tuple(jina.vocab_size - n for n in (3, 2, 1))
    for layout, folder in folders.items():
        weights = sum(path.stat().st_size for path in folder.rglob("model.safetensors"))
        assert found[layout].bytes_on_disk == weights


def test_adapters_are_routed_in_every_layout_and_the_facts_say_that_other_libraries_do_not(tmp_path: Path) -> None:
    for folder in (tiny_pylate(tmp_path / "p", backbone="xmod"), tiny_dpr(tmp_path / "d")):
        facts = inspect_checkpoint(str(folder))
        assert facts.languages == LANGUAGES
        assert any("PyLate and sentence-transformers run the default language's" in note for note in facts.notes)
        german, english = (encoded(folder, "Energie", is_query=True, code=code) for code in ("de_DE", "en_XX"))
        assert np.abs(german - english).max() > 0.05
    assert inspect_checkpoint(str(tiny_pylate(tmp_path / "b"))).notes == ()


def test_spans_are_of_the_text_without_its_prompt(tmp_path: Path) -> None:
    folder = tiny_sentence_transformers(tmp_path / "multi", prompts=("the. ", ""), skiplist=())
    found = load_encoder(str(folder), options=EXACT).encode_query("  plants store", given())
    words = [found.text[slice(*span)] for span in found.offsets.tolist() if span != [-1, -1]]
    assert "".join(words) == "plantsstore"
    n_prompt = found.kinds.index("content") - 1
    assert found.kinds[: n_prompt + 1] == ("marker",) * (n_prompt + 1)
    assert found.tokens[1 : n_prompt + 1] == ("the", ".")
    stripped = tiny_pylate(tmp_path / "pylate", backbone="modernbert")
    found = load_encoder(str(stripped), options=EXACT).encode_passages(["  plants store"], [given()])[0]
    words = [found.text[slice(*span)] for span in found.offsets.tolist() if span != [-1, -1]]
    assert "".join(words) == "plantsstore"


def test_what_is_cut_off_is_counted_without_the_prompt(tmp_path: Path) -> None:
    folder = tiny_sentence_transformers(tmp_path, prompts=("[Q] ", "the passage: "))
    found = load_encoder(str(folder), options=EXACT).encode_passages(["energie " * 50], [given()])[0]
    assert found.n_unseen == 400 - max(end for _, end in found.offsets.tolist()) > 0


def test_a_smaller_head_gives_its_own_vectors(tmp_path: Path) -> None:
    folder = build_checkpoint(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors["linear_8.weight"] = tensors["linear.weight"][8:].clone()
    save_file(tensors, folder / "model.safetensors")
    encoder = load_encoder(str(folder), options=EXACT)
    whole = encoder.encode_query("energie", given()).vectors
    half = encoder.encode_query("energie", given(), dim=8).vectors
    rest = whole[:, 8:] / np.linalg.norm(whole[:, 8:], axis=1, keepdims=True)
    assert np.abs(half - rest).max() < 1e-5


def test_clean_punctuation_scores_no_mark_and_says_that_it_changes_the_model(tmp_path: Path) -> None:
    folder = build_checkpoint(tmp_path)
    clean = load_encoder(str(folder), options=EncodeOptions(exact=True, clean_punctuation=True))
    plain = load_encoder(str(folder), options=EXACT)
    text = "Wie, how ... 植物。 energie?!"
    found, usual = (encoder.encode_passages([text], [given()])[0] for encoder in (clean, plain))
    assert not {",", ".", "。", "?", "!", "▁"} & set(found.tokens)
    assert {",", ".", "?"} <= set(usual.tokens)
    assert [token for token in usual.tokens if token not in (",", ".", "。", "?", "!")] == list(found.tokens)
    assert np.abs(found.vectors[:2] - usual.vectors[:2]).max() < 1e-6  # what is left is read as before
    assert any("changes the model" in note for note in clean.facts.notes)
    assert not any("changes the model" in note for note in plain.facts.notes)
    assert clean.encode_query(text, given()).tokens == plain.encode_query(text, given()).tokens


@pytest.mark.parametrize("build", [build_checkpoint, tiny_modernbert])
def test_shards_load_as_one_file_does(build: object, tmp_path: Path) -> None:
    whole, parted = build(tmp_path / "whole"), build(tmp_path / "parted")
    tensors = load_file(parted / "model.safetensors")
    (parted / "model.safetensors").unlink()
    places = {name: f"model-0000{1 + place % 2}-of-00002.safetensors" for place, name in enumerate(sorted(tensors))}
    for shard in set(places.values()):
        save_file({name: tensor for name, tensor in tensors.items() if places[name] == shard}, parted / shard)
    (parted / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert np.array_equal(encoded(parted, "Energie", is_query=True), encoded(whole, "Energie", is_query=True))
    facts = inspect_checkpoint(str(parted))
    sizes = [path.stat().st_size for path in parted.rglob("*.safetensors")]
    assert facts.bytes_on_disk == sum(sizes)


def test_a_backbone_in_a_folder_of_its_own(tmp_path: Path) -> None:
    flat, deep = tiny_dpr(tmp_path / "flat"), tiny_dpr(tmp_path / "deep")
    (deep / "0_Transformer").mkdir()
    for path in list(deep.iterdir()):
        if path.is_file() and path.name not in ("modules.json", "config_sentence_transformers.json"):
            path.rename(deep / "0_Transformer" / path.name)
    modules = json.loads((deep / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (deep / "modules.json").write_text(json.dumps(modules))
    assert np.array_equal(encoded(deep, "Energie", is_query=True), encoded(flat, "Energie", is_query=True))


def test_the_revision_covers_every_modules_files(tmp_path: Path) -> None:
    folder = tiny_pylate(tmp_path)
    revisions = {load_encoder(str(folder), options=EXACT).revision}
    for name in ("modules.json", "config_sentence_transformers.json", "1_Dense/config.json"):
        (folder / name).write_text((folder / name).read_text() + " ")
        revisions.add(revision_of(folder))
    weights = load_file(folder / "1_Dense" / "model.safetensors")
    save_file({name: tensor * 2 for name, tensor in weights.items()}, folder / "1_Dense" / "model.safetensors")
    revisions.add(revision_of(folder))
    assert len(revisions) == 5


@pytest.mark.parametrize("path", ["../elsewhere", "/etc", "1_Dense/../../elsewhere", "C:\\x", "..\\x", "linked"])
def test_a_module_outside_of_the_folder_is_refused(path: str, tmp_path: Path) -> None:
    folder = tiny_pylate(tmp_path / "model")
    elsewhere = tmp_path / "elsewhere"
    (folder / "1_Dense").rename(elsewhere)
    os.symlink(elsewhere, folder / "linked")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = path
    (folder / "modules.json").write_text(json.dumps(modules))
    refused(folder, "which lies outside of the checkpoint's folder")


@pytest.mark.parametrize(
    ("kinds", "match"),
    [
        (["custom_st.Transformer"], "asks for custom_st.Transformer, which is code of the checkpoint's own"),
        (["sentence_transformers.models.Transformer"], "lists Transformer in the PyLate layout"),
        (["pylate.models.Dense.Dense", "sentence_transformers.models.Transformer"], "lists Dense Transformer in"),
        (["sentence_transformers.models.Transformer", "sentence_transformers.models.LSTM"], "lists Transformer LSTM"),
        ([3], "is no module with a path and a type"),
    ],
)
def test_modules_that_cannot_be_followed(kinds: list, match: str, tmp_path: Path) -> None:
    folder = tiny_pylate(tmp_path)
    modules = [{"idx": 0, "name": "0", "path": "", "type": kind} for kind in kinds]
    (folder / "modules.json").write_text(json.dumps(modules))
    refused(folder, match)


@pytest.mark.parametrize(
    ("name", "values", "match"),
    [
        ("config_sentence_transformers.json", {"query_length": "24"}, "query_length is '24'; expected a int"),
        ("config_sentence_transformers.json", {"do_query_expansion": 1}, "do_query_expansion is 1; expected a bool"),
        ("config_sentence_transformers.json", {"skiplist_words": [1]}, "expected a list of strings"),
        ("config_sentence_transformers.json", {"model_type": "CrossEncoder"}, "model_type is 'CrossEncoder'"),
        ("config_sentence_transformers.json", {"query_prefix": "[X] "}, r"the tokenizer has no marker '\[X\] '"),
        ("config_sentence_transformers.json", {"document_length": 70}, "asks for 70 tokens, config.json has 66"),
        ("1_Dense/config.json", {"in_features": 47}, "takes 47 dimensions, but gets 48"),
        ("1_Dense/config.json", {"out_features": 15}, r"linear\.weight is \[16, 48\]; its config.json calls for"),
        ("1_Dense/config.json", {"bias": True}, r"linear\.bias is missing; its config.json calls for \[16\]"),
        ("1_Dense/config.json", {"in_features": None}, "lacks in_features; a guess"),
        ("1_Dense/config.json", {"activation_function": "os.system"}, "activation_function is 'os.system'"),
        ("1_Dense/config.json", {"activation_function": "torch.nn.modules.x.Exec"}, "supported: Identity, Tanh"),
        ("sentence_bert_config.json", {"processing_kwargs": {"text": {}}}, "asks for processing_kwargs"),
        ("tokenizer_config.json", {"mask_token": None}, "the tokenizer has no mask token"),
    ],
)
def test_settings_that_cannot_be_followed(name: str, values: dict, match: str, tmp_path: Path) -> None:
    folder = tiny_pylate(tmp_path)
    if "mask_token" in values:
        (folder / "special_tokens_map.json").unlink()
    change(folder / name, **values)
    refused(folder, match)


@pytest.mark.parametrize(
    ("name", "values", "match"),
    [
        ("config_sentence_transformers.json", {"similarity_fn_name": "meanmaxsim"}, "not 'maxsim'"),
        ("sentence_bert_config.json", {"query_expansion": {"strategy": "most", "length": 9}}, "are fixed and min"),
        ("sentence_bert_config.json", {"query_expansion": {"strategy": "fixed"}}, "lacks length"),
        ("sentence_bert_config.json", {"query_expansion": FIXED | {"token": "[NO]"}}, r"no '\[NO\]' to expand"),
        ("1_Dense/config.json", {"module_input_name": "sentence_embedding"}, "supported is token_embeddings"),
        ("3_MultiVectorMask/config.json", {"keep_only_token_ids": [1]}, "is for pictures"),
        ("config_sentence_transformers.json", {"prompts": {"query": "the old bank " * 9}}, "leaves none of"),
    ],
)
def test_sentence_transformers_settings_that_cannot_be_followed(
    name: str, values: dict, match: str, tmp_path: Path
) -> None:
    folder = tiny_sentence_transformers(tmp_path)
    change(folder / name, **values)
    with pytest.raises(CheckpointError, match=match):
        load_encoder(str(folder)).encode_query("x", given())


def test_pooling_and_similarity_that_cannot_be_followed(tmp_path: Path) -> None:
    folder = tiny_dpr(tmp_path)
    path = folder / "1_Pooling" / "config.json"
    change(path, pooling_mode_max_tokens=True)
    refused(folder, "pooling is pooling_mode_max_tokens, pooling_mode_mean_tokens; supported, one at a time")
    change(path, pooling_mode="lasttoken")
    refused(folder, "pooling is lasttoken")
    change(path, pooling_mode="mean")
    change(folder / "config_sentence_transformers.json", similarity_fn_name="dot")
    refused(folder, "similarity is 'dot' without Normalize")


def test_bad_dense_weights(tmp_path: Path) -> None:
    folder = tiny_pylate(tmp_path)
    path = folder / "1_Dense" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:40])
    refused(folder, "truncated or damaged")
    path.unlink()
    mark = folder / "executed"
    (folder / "1_Dense" / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR.")
    refused(folder, r"1_Dense has weights only as a pickle \(pytorch_model\.bin\)")
    (folder / "1_Dense" / "config.json").unlink()
    refused(folder, r"1_Dense has no config\.json")
    assert not mark.exists()


def test_remote_code_runs_only_when_it_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "cache"))
    folder = tiny_jina_like(tmp_path / "jina")
    wanted = encoded(folder, "Energie", is_query=True)
    mark = tmp_path / "executed"
    (folder / "modeling.py").write_text(
        "from transformers import XLMRobertaModel\n"
        f"open({str(mark)!r}, 'w').close()\n"
        "class Twice(XLMRobertaModel):\n"
        "    def __init__(self, config):\n"
        "        super().__init__(config, add_pooling_layer=False)\n"
        "    def forward(self, *args, **kwargs):\n"
        "        out = super().forward(*args, **kwargs)\n"
        "        out.last_hidden_state = out.last_hidden_state.flip(-1)\n"
        "        return out\n"
    )
    change(folder / "config.json", auto_map={"AutoModel": "modeling.Twice"})
    refused(folder, "needs remote code", by_inspection=False)
    assert inspect_checkpoint(str(folder)).remote_code == "modeling.Twice"
    assert not mark.exists()
    allowed = load_encoder(str(folder), options=EncodeOptions(exact=True, allow_remote_code=True))
    assert mark.exists()
    assert allowed.facts.remote_code == "modeling.Twice"
    found = allowed.encode_query("Energie", given()).vectors
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() > 0.1  # the folder's own model ran, not the library's
    (folder / "modeling.py").write_text("raise ImportError('broken')\n")
    with pytest.raises(CheckpointError, match="cannot be loaded: broken"):
        load_encoder(str(folder), options=EncodeOptions(allow_remote_code=True, token_budget=9))


def test_float16_dense_weights_become_float32(tmp_path: Path) -> None:
    folder = tiny_pylate(tmp_path)
    path = folder / "1_Dense" / "model.safetensors"
    save_file({name: tensor.to(torch.bfloat16) for name, tensor in load_file(path).items()}, path)
    assert encoded(folder, "Energie", is_query=False).dtype == np.float32
