"""The README and what it speaks of agree: file map, versions for a Space, commands."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_file_map_names_every_module_and_nothing_else() -> None:
    mapped = set(re.findall(r"^\| `((?:xm|benchmarks)/[^`]+)` \| \S", README, re.MULTILINE))
    there = {
        path.relative_to(ROOT).as_posix() for folder in ("xm", "benchmarks") for path in (ROOT / folder).rglob("*.py")
    }
    assert mapped == there


def test_every_other_file_of_the_map_is_there() -> None:
    mapped = re.findall(r"^\| `([^`]+)` \| \S", README, re.MULTILINE)
    assert not [name for name in mapped if not (ROOT / name).exists()]


def test_a_space_gets_the_pinned_gradio_and_a_python_that_is_new_enough() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert (
        re.search(r"^sdk_version: (.+)$", README, re.MULTILINE)[1]
        == re.search(r"^gradio==(.+)$", pins, re.MULTILINE)[1]
    )
    python = re.search(r'^python_version: "(\d+)\.(\d+)"$', README, re.MULTILINE)
    assert (int(python[1]), int(python[2])) >= (3, 11)  # the Space's own default is 3.10
    assert len(re.search(r"^short_description: (.+)$", README, re.MULTILINE)[1]) <= 60  # the hub refuses longer ones
    assert (ROOT / re.search(r"^app_file: (.+)$", README, re.MULTILINE)[1]).exists()


def test_pictures_and_links_within_the_repository_exist() -> None:
    targets = re.findall(r"\]\(((?!https?://|#)[^)]+)\)", README)
    assert not [target for target in targets if not (ROOT / target).exists()]
