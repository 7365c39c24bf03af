"""The cache gives back what was kept under exactly the same parts, and never anything else."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from xm import cache


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def keep(*parts: str, n: int = 3) -> None:
    cache.write(*parts, arrays={"xy": np.arange(n, dtype=np.float32)}, facts={"n": n})


def test_what_is_kept_comes_back() -> None:
    keep("map", "1", "text")
    entry = cache.read("map", "1", "text")
    assert entry is not None
    np.testing.assert_array_equal(entry.arrays["xy"], [0, 1, 2])
    assert entry.facts == {"n": 3}


@pytest.mark.parametrize("parts", [("map", "1"), ("map", "1text"), ("map", "1", "text", ""), ("index", "1", "text")])
def test_other_parts_find_nothing(parts: tuple[str, ...]) -> None:
    keep("map", "1", "text")
    assert cache.read(*parts) is None


def test_keeping_again_replaces_what_was_there(folder: Path) -> None:
    keep("map", "a", n=2)
    keep("map", "a", n=5)
    assert cache.read("map", "a").facts == {"n": 5}
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("name", ["facts.json", "xy.npy"])
def test_a_damaged_entry_counts_as_absent_and_is_logged(name: str, caplog: pytest.LogCaptureFixture) -> None:
    keep("map", "a")
    path = cache.entry_folder("map", "a") / name
    path.write_bytes(path.read_bytes()[:-4])
    assert cache.read("map", "a") is None
    assert "computed again" in caplog.text
    keep("map", "a")
    assert cache.read("map", "a") is not None


def test_a_pickle_is_never_read() -> None:
    keep("map", "a")
    np.save(cache.entry_folder("map", "a") / "xy.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert cache.read("map", "a") is None


def test_the_entries_used_longest_ago_are_removed_first(folder: Path) -> None:
    for age, name in enumerate(["newest", "middle", "oldest"]):
        keep("map", name, n=1_000)
        os.utime(cache.entry_folder("map", name), (1_000_000 - age, 1_000_000 - age))
    cache.read("map", "oldest")  # used now, so "middle" is next
    cache.trim(max_bytes=9_000)
    assert [cache.read("map", name) is None for name in ("newest", "middle", "oldest")] == [False, True, False]
    cache.trim(max_bytes=0, keep=cache.entry_folder("map", "newest"))
    assert [cache.read("map", name) is None for name in ("newest", "oldest")] == [False, True]


def test_what_lies_in_folders_of_an_entry_counts_too(folder: Path) -> None:
    keep("map", "a")
    inner = cache.entry_folder("map", "a") / "generation"
    inner.mkdir()
    (inner / "vectors.npy").write_bytes(bytes(20_000))
    cache.trim(max_bytes=20_000)
    assert cache.read("map", "a") is None


def test_other_things_in_the_folder_are_left_alone(folder: Path) -> None:
    (folder / "thesis").mkdir(parents=True)
    (folder / "thesis" / "chapter.txt").write_text("years of work", encoding="utf-8")
    keep("map", "a")
    cache.trim(max_bytes=0)
    assert [path.name for path in folder.iterdir()] == ["thesis"]
    assert (folder / "thesis" / "chapter.txt").exists()


def test_writing_trims_to_the_limit_but_keeps_what_was_just_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_BYTES", 10)
    keep("map", "a")
    keep("map", "b")
    assert cache.read("map", "a") is None
    assert cache.read("map", "b") is not None


def test_off_means_nothing_is_kept(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("XM_CACHE", "off")
    keep("map", "a")
    assert cache.cache_root() is None
    assert cache.entry_folder("map", "a") is None
    assert cache.read("map", "a") is None
    cache.trim()
    assert not Path("off").exists()


def test_a_folder_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XM_CACHE", str(tmp_path / "file" / "cache"))
    keep("map", "a")
    assert cache.read("map", "a") is None
    assert "nothing is kept" in caplog.text


def test_without_xm_cache_the_platforms_place_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    for platform, expected in [
        ("linux", tmp_path / "xm-lens"),
        ("darwin", tmp_path / "home" / "Library" / "Caches" / "xm-lens"),
        ("win32", tmp_path / "local" / "xm-lens" / "Cache"),
    ]:
        monkeypatch.setattr("sys.platform", platform)
        assert cache.cache_root() == expected


def test_threads_that_keep_the_same_thing_do_not_disturb_each_other() -> None:
    threads = [threading.Thread(target=keep, args=("map", "same")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.read("map", "same").facts == {"n": 3}
