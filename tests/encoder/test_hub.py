"""Where checkpoints lie; the hub is played by a function, so that nothing leaves this machine."""

import json
import shutil
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file

from tests.tiny import build_checkpoint, tiny_pylate
from xm.encoder import hub, inspect_checkpoint, known_models, load_encoder
from xm.encoder.hub import find_folder, revision_of
from xm.errors import CheckpointError

COMMIT = "960de711799d210957d18df59c14c59a439b608a"


@pytest.fixture
def fake_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[dict]]:
    """A repository on a hub of our own, and the list of what is asked of it."""
    remote = build_checkpoint(tmp_path / "remote")
    (remote / "custom.py").write_text("raise SystemExit")
    (remote / "pytorch_model.bin").write_bytes(b"pickle")
    snapshot = tmp_path / "cache" / "snapshots" / COMMIT
    asked = []

    def download(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append({"name": name, "revision": revision, "patterns": allow_patterns})
        snapshot.mkdir(parents=True, exist_ok=True)
        for path in remote.rglob("*"):
            name = path.relative_to(remote).as_posix()
            if path.is_file() and any(fnmatch(name, pattern) for pattern in allow_patterns):
                (snapshot / name).parent.mkdir(exist_ok=True)
                shutil.copy(path, snapshot / name)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return remote, asked


def test_a_hub_name_loads_with_only_the_files_needed(fake_hub: tuple[Path, list[dict]]) -> None:
    encoder = load_encoder("someone/colbert-tiny", revision="main")
    assert (encoder.model, encoder.revision, encoder.dim) == ("someone/colbert-tiny", COMMIT, 16)
    folder = find_folder("someone/colbert-tiny")
    assert not {"custom.py", "pytorch_model.bin"} & {path.name for path in folder.iterdir()}
    first, second = fake_hub[1][:2]
    assert (first["revision"], second["revision"]) == ("main", COMMIT)  # both of one commit, even if main moves on
    assert "model.safetensors" not in first["patterns"]
    assert "model.safetensors" in second["patterns"]


def test_inspecting_a_hub_name_fetches_no_weights(
    fake_hub: tuple[Path, list[dict]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Answer:
        size = 3_410_000_000

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url: Answer)
    facts = inspect_checkpoint("someone/colbert-tiny")
    assert (facts.dim, facts.bytes_on_disk) == (16, 3_410_000_000)
    assert all("model.safetensors" not in call["patterns"] for call in fake_hub[1])


def test_a_layout_that_cannot_be_used_costs_no_large_download(fake_hub: tuple[Path, list[dict]]) -> None:
    (fake_hub[0] / "artifact.metadata").unlink()
    config = fake_hub[0] / "config.json"
    config.write_text(config.read_text().replace("HF_ColBERT", "XmodModel"))
    with pytest.raises(CheckpointError, match="bare encoder"):
        load_encoder("someone/other")
    assert len(fake_hub[1]) == 1


def test_modules_are_fetched_with_their_weights_after_the_small_files(fake_hub: tuple[Path, list[dict]]) -> None:
    remote, asked = fake_hub
    shutil.rmtree(remote)
    tiny_pylate(remote)
    (remote / "1_Dense" / "pytorch_model.bin").write_bytes(b"pickle")
    encoder = load_encoder("someone/pylate-tiny")
    assert (encoder.facts.layout, encoder.revision, encoder.dim) == ("PyLate", COMMIT, 16)
    folder = find_folder("someone/pylate-tiny", with_weights=False)
    assert not list(folder.rglob("*.bin"))
    assert not any(
        "safetensors" in pattern for call in asked[:2] for pattern in call["patterns"] if "index" not in pattern
    )
    assert {"model.safetensors", "1_Dense/model.safetensors"} <= set(asked[2]["patterns"])


def test_a_module_elsewhere_costs_no_large_download(fake_hub: tuple[Path, list[dict]]) -> None:
    remote, asked = fake_hub
    shutil.rmtree(remote)
    tiny_pylate(remote)
    modules = remote / "modules.json"
    modules.write_text(modules.read_text().replace("1_Dense", "../../../1_Dense"))
    with pytest.raises(CheckpointError, match="lies outside of the checkpoint's folder"):
        load_encoder("someone/climbing")
    assert len(asked) == 1


def test_shards_on_the_hub_are_fetched_and_their_size_is_known_before(fake_hub: tuple[Path, list[dict]]) -> None:
    remote, asked = fake_hub
    shard = "model-00001-of-00001.safetensors"
    (remote / "model.safetensors").rename(remote / shard)
    names = dict.fromkeys(load_file(remote / shard), shard)
    index = {"metadata": {"total_size": 123_456}, "weight_map": names}
    (remote / "model.safetensors.index.json").write_text(json.dumps(index))
    assert inspect_checkpoint("someone/sharded").bytes_on_disk == 123_456
    assert load_encoder("someone/sharded").dim == 16
    assert shard in asked[-1]["patterns"]


def test_remote_code_costs_no_large_download_unless_it_is_allowed(fake_hub: tuple[Path, list[dict]]) -> None:
    remote, asked = fake_hub
    shutil.rmtree(remote)
    config = build_checkpoint(remote, backbone="bert") / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"auto_map": {"AutoModel": "a/b--c.D"}}))
    (remote / "modeling.py").write_text("raise SystemExit")
    with pytest.raises(CheckpointError, match=r"needs remote code \(a/b--c.D\)"):
        load_encoder("someone/remote-code")
    assert len(asked) == 1
    folder = find_folder("someone/remote-code", allow_remote_code=True)
    assert {path.name for path in folder.iterdir()} >= {"modeling.py", "model.safetensors"}


@pytest.mark.parametrize(
    "error", [LocalEntryNotFoundError("Cannot reach the hub.\nMore."), OSError("no route"), ValueError("x")]
)
def test_a_hub_out_of_reach_says_what_to_do(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(
        CheckpointError, match="no folder here and cannot be fetched.*Check the name and the network.*xm-mini"
    ):
        load_encoder("someone/unreachable")


@pytest.mark.parametrize("name", ["colbert", "a/b/c", "../up", "/no/such/folder", "", "a/b\n", "http://x/y", "a/-b"])
def test_a_name_that_is_neither_folder_nor_hub_name_asks_nobody(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(CheckpointError, match=r"known models: xm-mini, antoinelouis/colbert-xm"):
        load_encoder(name) if name else find_folder("  ")


def test_known_models_state_what_the_menu_shows() -> None:
    models = {known.name: known for known in known_models()}
    original = models["antoinelouis/colbert-xm"]
    assert (original.n_bytes, original.licence, original.dim, original.n_languages) == (3_410_000_000, "MIT", 128, 81)
    assert (models["xm-mini"].licence, models["xm-mini"].dim) == ("CC BY-SA 4.0", 128)


def test_xm_mini_is_found_in_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.MINI_FOLDER == Path(__file__).resolve().parents[2] / "assets" / "xm-mini"
    monkeypatch.setattr(hub, "MINI_FOLDER", tmp_path / "xm-mini")
    with pytest.raises(CheckpointError, match="is missing, though it belongs to the repository"):
        find_folder("xm-mini")
    assert known_models()[0].n_bytes == known_models()[0].n_languages == 0
    build_checkpoint(tmp_path / "xm-mini")
    assert find_folder("xm-mini") == tmp_path / "xm-mini"
    assert known_models()[0].n_bytes > 0
    assert known_models()[0].n_languages == 6


def test_the_revision_changes_with_any_file_that_changes_a_vector(tmp_path: Path) -> None:
    folder = build_checkpoint(tmp_path)
    first = revision_of(folder)
    (folder / "README.md").write_text("a card")
    assert revision_of(folder) == first
    for name in ("artifact.metadata", "tokenizer.json", "config.json"):
        path = folder / name
        path.write_text(path.read_text() + " ")
        assert revision_of(folder) != first
        path.write_text(path.read_text()[:-1])
    assert revision_of(folder) == first
    (folder / "modeling.py").write_text("x = 1")
    assert revision_of(folder) == first  # nothing asks for it
    bert = build_checkpoint(tmp_path / "bert", backbone="bert")
    config = bert / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"auto_map": {"AutoModel": "modeling.Own"}}))
    (bert / "modeling.py").write_text("x = 1")
    own = revision_of(bert)
    (bert / "modeling.py").write_text("x = 2")
    assert revision_of(bert) != own
    build_checkpoint(folder, seed=1)
    assert revision_of(folder) != first


def test_the_revision_of_large_weights_is_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build_checkpoint(tmp_path)
    monkeypatch.setattr(hub, "_HASHED_WHOLE", 1_000)
    monkeypatch.setattr(hub, "_BLOCK", 1_000)
    first = revision_of(folder)
    build_checkpoint(folder, seed=1)
    assert revision_of(folder) != first
