"""The encoder gives its slow twin's floats, whatever the batch, and reads each adapter when it is first used."""

import itertools
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.encoder.conftest import EXACT
from tests.encoder.twin import Twin, twin_score
from tests.tiny import LANGUAGES, SENTENCES, build_checkpoint
from xm.encoder import encoder as encoder_module
from xm.encoder import load_encoder, precision
from xm.encoder.encoder import Encoder
from xm.encoder.packed import batches
from xm.encoder.precision import fast_precision
from xm.errors import CheckpointError, LanguageError, TextError
from xm.maxsim import align, maxsim
from xm.options import EncodeOptions
from xm.types import LanguageGuess

PAIRS = list(zip(SENTENCES[:7], ("en_XX", "en_XX", "de_DE", "ja_XX", "ar_AR", "ru_RU", "hi_IN"), strict=True))


def given(code: str) -> LanguageGuess:
    return LanguageGuess(code, 1.0, "given")


def encode(encoder: Encoder, pairs: list[tuple[str, str]]) -> list:
    return encoder.encode_passages([text for text, _ in pairs], [given(code) for _, code in pairs])


ODD = [("energie?", "de_DE"), ("energy " * 40, "en_XX"), ("typed <mask> and <pad> 😀", "ja_XX")]


@pytest.mark.parametrize(("text", "code"), [*PAIRS, *ODD])
def test_vectors_equal_the_twins(text: str, code: str, encoder: Encoder, twin: Twin) -> None:
    query, slow_query = encoder.encode_query(text, given(code)), twin.query(text, code)
    assert np.abs(query.vectors - slow_query.vectors).max() < 1e-5
    passage, slow_passage = encode(encoder, [(text, code)])[0], twin.passage(text, code)
    assert passage.vectors.shape == slow_passage.vectors.shape
    assert np.abs(passage.vectors - slow_passage.vectors).max() < 1e-5


def test_scores_equal_the_twins_across_languages(encoder: Encoder, twin: Twin) -> None:
    passages = encode(encoder, PAIRS)
    for (query_text, query_code), (index, (text, code)) in itertools.product(PAIRS[1:4], enumerate(PAIRS)):
        query = encoder.encode_query(query_text, given(query_code))
        slow = twin_score(twin.query(query_text, query_code), twin.passage(text, code))
        assert maxsim(query.vectors, passages[index].vectors) == pytest.approx(slow, abs=1e-5)
        alignment = align(query, passages[index])
        assert sum(alignment.contribution.tolist()) == pytest.approx(slow, abs=1e-5)


@pytest.mark.parametrize("attends", [True, False])
@pytest.mark.parametrize("backbone", ["xmod", "bert", "xlm-roberta"])
def test_every_backbone_equals_its_twin(backbone: str, attends: bool, tmp_path: Path) -> None:
    folder = build_checkpoint(tmp_path, backbone=backbone, metadata={"attend_to_mask_tokens": attends})
    encoder, twin = load_encoder(str(folder), options=EXACT), Twin(folder)
    for text, code in PAIRS[:3]:
        query = encoder.encode_query(text, given(code))
        assert np.abs(query.vectors - twin.query(text, code).vectors).max() < 1e-5
        assert np.abs(encode(encoder, [(text, code)])[0].vectors - twin.passage(text, code).vectors).max() < 1e-5


@pytest.mark.parametrize("flags", [(False, False), (False, True), (True, False)])
def test_other_adapter_flags_and_float16_weights_equal_the_twin(flags: tuple[bool, bool], tmp_path: Path) -> None:
    before, reuse = flags  # (False, False) is xm-mini's
    folder = build_checkpoint(
        tmp_path, dtype=torch.float16, ln_before_adapter=before, adapter_reuse_layer_norm=reuse, layer_norm_eps=1e-12
    )
    encoder, twin = load_encoder(str(folder), options=EXACT), Twin(folder)
    for text, code in PAIRS[2:5]:
        assert np.abs(encode(encoder, [(text, code)])[0].vectors - twin.passage(text, code).vectors).max() < 1e-5


@pytest.mark.parametrize("token_budget", [1, 100, 2_048])
def test_a_mixed_batch_equals_one_by_one(token_budget: int, encoder: Encoder, tiny_folder: Path) -> None:
    pairs = [(text, LANGUAGES[place % 4]) for place, text in enumerate((*SENTENCES, "short", "energie", *SENTENCES))]
    batched = load_encoder(str(tiny_folder), options=EncodeOptions(exact=True, token_budget=token_budget))
    for found, pair in zip(encode(batched, pairs), pairs, strict=True):
        alone = encode(encoder, [pair])[0]
        assert found.text == pair[0]
        assert found.tokens == alone.tokens
        assert np.abs(found.vectors - alone.vectors).max() < 1e-5


def test_rows_are_unit_float32_and_every_list_has_their_length(encoder: Encoder) -> None:
    for found in (*encode(encoder, PAIRS), encoder.encode_query("how?", given("en_XX"))):
        assert found.vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-6)
        assert len(found.tokens) == len(found.kinds) == len(found.offsets) == len(found.vectors)
        assert found.offsets.dtype == np.int32


def test_tokens_are_shown_by_role_and_skipped_ones_left_out(encoder: Encoder) -> None:
    query = encoder.encode_query("how", given("en_XX"))
    assert query.tokens[:4] == ("<s>", "[Q]", "▁", "h")
    assert len(query.tokens) == encoder.facts.query_length
    passage = encode(encoder, [("how", "en_XX")])[0]
    assert passage.tokens == ("<s>", "[D]", "h", "o", "w", "</s>")
    assert passage.kinds == ("marker", "marker", "content", "content", "content", "marker")
    assert passage.offsets.tolist() == [[-1, -1], [-1, -1], [0, 1], [1, 2], [2, 3], [-1, -1]]


def test_the_guess_travels_with_the_embeddings(encoder: Encoder) -> None:
    guess = LanguageGuess("de_DE", 0.7, "detected", margin=0.2, runner_up="nl_XX")
    assert encoder.encode_query("Energie", guess).language is guess
    assert encoder.encode_query("Energie", given("de_DE")).language == given("de_DE")
    assert encoder.encode_passages(["Energie"], [guess])[0].language is guess


def test_the_language_changes_the_vectors(encoder: Encoder) -> None:
    german, english = (encoder.encode_query("Energie", given(code)).vectors for code in ("de_DE", "en_XX"))
    assert np.abs(german - english).max() > 0.1


def test_a_query_is_encoded_once_and_its_vectors_cannot_be_changed(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = encoder.encode_query("only once", given("en_XX"))
    monkeypatch.setattr(encoder_module, "_ENCODING", None)  # a second encoding would fail on this lock
    again = encoder.encode_query("only once", LanguageGuess("en_XX", 0.5, "detected"))
    assert again.vectors is first.vectors
    with pytest.raises(ValueError, match="read-only"):
        first.vectors[0, 0] = 1


def test_an_adapter_is_read_when_its_language_is_first_used(
    tiny_folder: Path, tmp_path: Path, encoder: Encoder
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_folder, folder)
    lazy = load_encoder(str(folder), options=EXACT)
    assert lazy.languages == LANGUAGES
    assert lazy.loaded_languages == ()
    encode(lazy, [PAIRS[3]])
    assert lazy.loaded_languages == ("ja_XX",)
    build_checkpoint(tmp_path / "other", seed=1)
    os.replace(tmp_path / "other" / "model.safetensors", folder / "model.safetensors")
    late = encode(lazy, [PAIRS[5]])[0]  # from the file that was opened, not from the one put in its place
    assert lazy.loaded_languages == ("ja_XX", "ru_RU")
    assert np.abs(late.vectors - encode(encoder, [PAIRS[5]])[0].vectors).max() < 1e-5


def test_a_language_without_adapter_is_an_error_before_anything_is_encoded(encoder: Encoder) -> None:
    with pytest.raises(LanguageError, match="'sw_KE'; it has 6: en_XX, de_DE, ja_XX, ar_AR, ru_RU, hi_IN"):
        encoder.encode_query("habari", given("sw_KE"))
    with pytest.raises(LanguageError, match="sw_KE"):
        encoder.stream_passages(["one", "habari"], [given("en_XX"), given("sw_KE")])


def test_a_backbone_without_adapters_takes_any_language(tmp_path: Path) -> None:
    encoder = load_encoder(str(build_checkpoint(tmp_path, backbone="xlm-roberta")), options=EXACT)
    assert encoder.languages == ()
    one, other = (encode(encoder, [("energy", code)])[0] for code in ("en_XX", "sw_KE"))
    assert np.array_equal(one.vectors, other.vectors)
    assert other.language.code == "sw_KE"


def test_empty_texts_are_errors_that_say_which(encoder: Encoder) -> None:
    with pytest.raises(TextError, match="the query is empty"):
        encoder.encode_query(" ", given("en_XX"))
    with pytest.raises(TextError, match="passage 1 is empty"):
        encoder.stream_passages(["one", ""], [given("en_XX")] * 2)
    with pytest.raises(ValueError, match="2 texts and 1 languages"):
        encoder.stream_passages(["one", "two"], [given("en_XX")])
    assert encoder.encode_passages([], []) == []


def test_a_closed_stream_encodes_no_further(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_encoder(str(tiny_folder), options=EncodeOptions(exact=True, token_budget=1))
    ran = []
    vectors = Encoder._vectors
    monkeypatch.setattr(Encoder, "_vectors", lambda *arguments: ran.append(1) or vectors(*arguments))
    stream = encoder.stream_passages(list(SENTENCES), [given("en_XX")] * len(SENTENCES))
    next(stream)
    stream.close()
    assert len(ran) == 1
    assert encoder.encode_query("still works", given("en_XX")).vectors.shape == (32, 16)


def test_a_query_can_be_encoded_while_a_stream_is_paused(encoder: Encoder) -> None:
    stream = encoder.stream_passages(list(SENTENCES), [given(LANGUAGES[place % 6]) for place in range(len(SENTENCES))])
    next(stream)
    assert encoder.encode_query("in between", given("en_XX")).vectors.shape == (32, 16)
    assert len(list(stream)) == len(SENTENCES) - 1


def test_threads_that_share_an_encoder_get_their_own_languages(tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "copy")
    shared = load_encoder(str(tmp_path / "copy"), options=EXACT)
    found = {}
    threads = [
        threading.Thread(target=lambda pair=pair: found.setdefault(pair, encode(shared, [pair] * 3))) for pair in PAIRS
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for pair in PAIRS:
        alone = encode(shared, [pair])[0]
        assert all(np.abs(one.vectors - alone.vectors).max() < 1e-5 for one in found[pair])


def test_loading_twice_gives_the_same_encoder(tiny_folder: Path) -> None:
    assert load_encoder(str(tiny_folder), options=EXACT) is load_encoder(str(tiny_folder), options=EXACT)


def test_a_folder_is_held_to_the_revision_asked_for(encoder: Encoder, tiny_folder: Path) -> None:
    assert load_encoder(str(tiny_folder), revision=encoder.revision, options=EXACT).revision == encoder.revision
    with pytest.raises(CheckpointError, match=f"holds revision {encoder.revision}, not 0123"):
        load_encoder(str(tiny_folder), revision="0123", options=EXACT)


def test_precision_is_stated_and_exact_forces_float32(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "fast_precision", lambda: "bfloat16")
    exact = Encoder(tiny_folder, model="m", revision="r", options=EXACT)
    rough = Encoder(tiny_folder, model="m", revision="r", options=EncodeOptions())
    assert (exact.precision, rough.precision) == ("float32", "bfloat16")
    pair = PAIRS[0]
    near, far = encode(exact, [pair])[0], encode(rough, [pair])[0]
    assert far.vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(far.vectors, axis=1), 1, atol=1e-6)
    assert 0 < np.abs(near.vectors - far.vectors).max() < 0.2


def test_the_precision_probe_answers_the_same_each_time() -> None:
    assert fast_precision() == fast_precision() in ("float32", "bfloat16")


def test_batches_worked_by_hand() -> None:
    codes, lengths = ["b", "a", "b", "a", "b"], [4, 9, 6, 2, 6]
    assert list(batches(codes, lengths, token_budget=12)) == [[1], [3], [2, 4], [0]]
    assert list(batches(codes, lengths, token_budget=18)) == [[1, 3], [2, 4, 0]]
    assert list(batches([], [], token_budget=12)) == []


@pytest.mark.parametrize("token_budget", [1, 7, 40, 1_000])
def test_batches_hold_every_position_once_within_the_budget(token_budget: int) -> None:
    rng = np.random.default_rng(token_budget)
    codes = [LANGUAGES[place] for place in rng.integers(0, 6, 60)]
    lengths = rng.integers(4, 30, 60).tolist()
    found = list(batches(codes, lengths, token_budget=token_budget))
    assert sorted(itertools.chain(*found)) == list(range(60))
    for batch in found:
        assert len({codes[position] for position in batch}) == 1
        assert len(batch) == 1 or len(batch) * max(lengths[position] for position in batch) <= token_budget


def test_openmp_is_told_to_wait_passively_unless_set_otherwise() -> None:
    code = "import os, xm.encoder; print(os.environ['OMP_WAIT_POLICY'], os.environ['GOMP_SPINCOUNT'])"
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"} | {
        "GOMP_SPINCOUNT": "7"
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["PASSIVE", "7"]
