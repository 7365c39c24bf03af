"""The import rules of the design, section 2, and the house style's rules that a parser can check.

One library has one home; imports go one way; `import xm` loads numpy alone; modules stay short; no assert, print or
catch-all in the core; ruff finds nothing.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "xm").rglob("*.py"))
COMMAND_LINE = {"__main__", "commands", "adapter_commands", "info_command", "index_commands", "search_commands"}

# Which parts of xm may import a library. A library that is not here may not be imported at all.
HOMES = {
    "torch": {"encoder", "train"},
    "transformers": {"encoder", "train"},
    "tokenizers": {"encoder", "train"},
    "safetensors": {"encoder", "train"},
    "huggingface_hub": {"encoder"},
    "sentencepiece": {"train"},
    "scipy": {"encoder", "train"},
    "sklearn": {"train"},
    "faiss": {"index"},
    "threadpoolctl": {"index"},
    "numba": {"index"},
    "umap": {"token_map"},
    "langdetect": {"languages"},
    "bm25s": {"lexical"},
    "ir_measures": {"evaluation"},
    "plotly": {"figures"},
    "gradio": {"ui"},
}
DISTRIBUTIONS = {"faiss": "faiss-cpu", "umap": "umap-learn", "sklearn": "scikit-learn"}

_BASE = {"errors", "types", "options", "maxsim", "corpus", "languages"}
_READING = {"decoding", "splitting", "readers"}  # the parts of corpus
_MIDDLE = _BASE | {"cache", "folders"}
_TOP = _MIDDLE | {"encoder", "index", "lexical", "fusion", "token_map", "building", "compression", "search"}
# Which parts each part may see, beside itself.
MAY_SEE = {
    "errors": set(),
    "types": {"errors"},
    "options": {"errors", "types"},
    "maxsim": {"errors", "types", "options"},
    "scripts": {"errors", "types", "options"},
    "languages": {"errors", "types", "options", "scripts"},
    "decoding": {"errors", "types", "options"},
    "splitting": {"errors", "types", "options"},
    "readers": {"errors", "types", "options", "decoding"},
    "corpus": {"errors", "types", "options", "languages", *_READING},
    "folders": {"errors", "types", "options"},
    "cache": {"errors", "types", "options", "folders"},
    "encoder": _MIDDLE,
    "index": _MIDDLE,
    "lexical": _MIDDLE,
    "fusion": _MIDDLE,
    "token_map": _MIDDLE | {"index"},
    "building": _MIDDLE | {"encoder", "index"},
    "compression": _MIDDLE | {"encoder", "index"},
    "search": _TOP - {"search"},
    "figures": {"errors", "types"},
    "train": _TOP,
    "evaluation": _TOP,
    "ui": _TOP | {"figures"},
}
# Alignment.show() and .to_html() draw; the import stands inside them, so that the values themselves stay light.
# `xm train` is part of the command line, kept where training is.
_TRAIN_COMMANDS = ("xm/train/arguments.py", "xm/train/commands.py", "xm/train/retrieval_commands.py")
EXCEPTIONS = {("xm/types.py", "figures"), ("xm/train/commands.py", "figures")}
EXCEPTIONS |= {(name, "commands") for name in _TRAIN_COMMANDS}
# The tokenizers library raises plain Exception for a damaged file; there is nothing narrower to catch.
BROAD_EXCEPTS = {"xm/encoder/tokenizer_files.py": 1}


def name_of(source: Path) -> str:
    return source.relative_to(ROOT).as_posix()


def part_of(source: Path) -> str:
    """The first name under xm: `index` for xm/index/flat.py, `search` for xm/search.py."""
    return source.relative_to(ROOT / "xm").parts[0].removesuffix(".py")


def tree_of(source: Path) -> ast.Module:
    return ast.parse(source.read_text(encoding="utf-8"), str(source))


def imports_of(source: Path) -> Iterator[str]:
    """Full dotted names, those inside functions and under TYPE_CHECKING included."""
    for node in ast.walk(tree_of(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(source)}:{node.lineno} is a relative import; write it out"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def libraries_of(source: Path) -> set[str]:
    tops = {name.split(".")[0] for name in imports_of(source)}
    return tops - set(sys.stdlib_module_names) - {"xm", "numpy"}


def parts_seen_by(source: Path) -> set[str]:
    names = (name.split(".") for name in imports_of(source))
    return {name[1] for name in names if name[0] == "xm" and len(name) > 1} - {part_of(source)}


@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_each_library_is_imported_in_its_home_alone(source: Path) -> None:
    strangers = {library for library in libraries_of(source) if part_of(source) not in HOMES.get(library, set())}
    assert not strangers


@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_imports_go_one_way(source: Path) -> None:
    if part_of(source) in COMMAND_LINE | {"__init__"}:
        return  # the command line and the lazy verbs of `import xm` may see everything
    assert part_of(source) in MAY_SEE, "a new part: say in MAY_SEE what it may import"
    seen = {part for part in parts_seen_by(source) if (name_of(source), part) not in EXCEPTIONS}
    assert seen <= MAY_SEE[part_of(source)]


def test_the_parts_can_be_put_in_an_order() -> None:
    left = dict(MAY_SEE)
    while left:
        ready = [part for part, seen in left.items() if not (seen - {part}) & set(left)]
        assert ready, f"these import each other: {sorted(left)}"
        for part in ready:
            del left[part]


def test_the_one_exception_stands_inside_a_function() -> None:
    top_level = [node for node in tree_of(ROOT / "xm/types.py").body if isinstance(node, ast.ImportFrom | ast.Import)]
    assert not any("figures" in ast.dump(node) for node in top_level)


def test_tabs_do_not_import_each_other() -> None:
    for source in (ROOT / "xm" / "ui" / "tabs").glob("*.py"):
        others = {name for name in imports_of(source) if name.startswith("xm.ui.tabs.")}
        assert source.stem == "__init__" or not others, f"{name_of(source)} imports {others}"


def test_app_py_imports_the_page_and_the_standard_library_alone() -> None:
    libraries = libraries_of(ROOT / "app.py")
    assert libraries <= {"gradio"}
    assert {name.split(".")[1] for name in imports_of(ROOT / "app.py") if name.startswith("xm.")} <= {"ui"}


def test_every_library_is_listed_in_requirements_and_every_listed_one_is_used() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = {re.match(r"[\w.-]+", line)[0].lower() for line in lines if line and not line.startswith("#")}
    assert listed == {DISTRIBUTIONS.get(library, library) for library in HOMES} | {"numpy"}


def test_constraints_pin_every_listed_library_to_a_version_anyone_can_get() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = {name.lower().replace("_", "-") for name in re.findall(r"^([\w.-]+)==", pins, re.MULTILINE)}
    listed = {DISTRIBUTIONS.get(library, library).replace("_", "-") for library in HOMES}
    assert listed <= pinned
    assert "+" not in pins  # torch's +cpu is not a version PyPI has
    assert "://" not in pins


def test_import_xm_loads_numpy_alone() -> None:
    code = (
        "import sys; before = set(sys.modules); import xm; "
        "new = {name.split('.')[0] for name in set(sys.modules) - before}; "
        "print(*sorted(new - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() in (["xm"], ["numpy", "xm"])


@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_modules_stay_short(source: Path) -> None:
    assert len(source.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_functions_stay_short(source: Path) -> None:
    functions = (node for node in ast.walk(tree_of(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    too_long = {
        node.name: node.end_lineno - node.lineno + 1 for node in functions if node.end_lineno - node.lineno >= 50
    }
    assert not too_long


@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_the_core_asserts_prints_and_catches_nothing_broadly(source: Path) -> None:
    if part_of(source) in COMMAND_LINE:
        return
    found = [f"line {node.lineno}" for node in ast.walk(tree_of(source)) if _is_out_of_place(node)]
    assert len(found) <= BROAD_EXCEPTS.get(name_of(source), 0), found


def _is_out_of_place(node: ast.AST) -> bool:
    """An assert, a call of print, or an except that names nothing, Exception or BaseException."""
    if isinstance(node, ast.ExceptHandler):
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        return any(one is None or getattr(one, "id", "") in ("Exception", "BaseException") for one in caught)
    is_print = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    return is_print or isinstance(node, ast.Assert)


@pytest.mark.parametrize(
    "code", ["assert x", "print(1)", "try: x\nexcept: y", "try: x\nexcept (ValueError, Exception): y"]
)
def test_the_check_itself_sees_what_it_should(code: str) -> None:
    assert any(_is_out_of_place(node) for node in ast.walk(ast.parse(code)))
    allowed = "try: x\nexcept (ValueError, xm.errors.XmError): log.info('print')"
    assert not any(_is_out_of_place(node) for node in ast.walk(ast.parse(allowed)))


@pytest.mark.parametrize("arguments", [("check",), ("format", "--check")], ids=" ".join)
def test_ruff_finds_nothing(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "ruff", *arguments, "--no-cache", str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
