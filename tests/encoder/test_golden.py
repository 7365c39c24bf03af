"""xm against numbers that the original libraries produced once (benchmarks/parity): same checkpoint, same texts."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.parity.compare import compare, golden_files, load
from benchmarks.parity.pinned import STORE, build, digest_of, stored
from xm.errors import LanguageError
from xm.types import LanguageGuess

torch.set_num_threads(1)

GOLDEN = golden_files()


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_ids_embeddings_and_scores_are_the_librarys_own(path: Path, tmp_path: Path) -> None:
    found = compare(path.stem, *load(path, tmp_path))
    assert not found.unlike, "\n".join(found.unlike)
    assert found.embedding <= 1e-6
    assert found.score <= 1e-5


def test_every_library_and_every_checkpoint_is_there() -> None:
    libraries = {path.stem.split(".")[0] for path in GOLDEN}
    assert libraries == {"colbert-ai", "pylate", "sentence-transformers"}
    assert {path.stem.split(".")[1] for path in GOLDEN} == set(stored())


def test_a_wrong_weight_is_noticed(tmp_path: Path) -> None:
    path = next(path for path in GOLDEN if path.stem == "colbert-ai.stanford-xmod")
    golden, encoder = load(path, tmp_path)
    piece = golden["texts"][0]["ids"][3]
    with torch.no_grad():
        encoder._backbone.embeddings.word_embeddings.weight[piece] *= 1.01
    assert compare(path.stem, golden, encoder).embedding > 1e-6


def test_the_adapter_matters_in_the_golden_numbers(tmp_path: Path) -> None:
    path = next(path for path in GOLDEN if path.stem == "colbert-ai.stanford-xmod")
    golden, encoder = load(path, tmp_path)
    through_english = json.loads(json.dumps(golden))
    for text in through_english["texts"]:
        text["language"] = "en_XX"
    assert compare(path.stem, through_english, encoder).score > 1e-2
    with pytest.raises(LanguageError):
        encoder.encode_query("why tides?", LanguageGuess("fr_XX", 1.0, "given"))


def test_checkpoints_come_out_as_the_libraries_read_them(tmp_path: Path) -> None:
    name = "stanford-xmod"
    facts = json.loads((STORE / name / "weights.json").read_text(encoding="utf-8"))
    first, second = build(name, tmp_path / "first"), build(name, tmp_path / "second")
    assert digest_of(first) == digest_of(second) == facts["digest"]
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
