"""run.py: what it installs and when, and what it hands over. No test here reaches a network or a real pip."""

import ast
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETUP_FILES = ("requirements.txt", "requirements-dev.txt", "constraints.txt")
posix_only = pytest.mark.skipif(os.name == "nt", reason="signals and exec differ on Windows")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout holding run.py, the files it reads, and a stand-in for xm; its path has a space."""
    folder = tmp_path / "a checkout"
    (folder / "xm").mkdir(parents=True)
    for name in ("run.py", *SETUP_FILES):
        shutil.copy(ROOT / name, folder)
    (folder / "xm" / "__init__.py").touch()
    (folder / "xm" / "__main__.py").write_text("import sys\nprint(sys.argv[1:])\nsys.exit(7)\n")
    return folder


@pytest.fixture
def run(checkout: Path) -> ModuleType:
    """run.py of that checkout, as a module."""
    spec = importlib.util.spec_from_file_location("run_in_checkout", checkout / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Calls:
    """Stands in for run.call: keeps the commands, makes the venv's python when asked to, answers as told."""

    def __init__(self, run: ModuleType, *, failing: str = "", interrupted_at: str = "") -> None:
        self.run, self.failing, self.interrupted_at = run, failing, interrupted_at
        self.commands: list[str] = []

    def __call__(self, *command: str | Path) -> int:
        line = " ".join(str(part) for part in command)
        self.commands.append(line)
        if "-m venv" in line:
            self.run.PYTHON.parent.mkdir(parents=True, exist_ok=True)
            self.run.PYTHON.touch()
        if self.interrupted_at and self.interrupted_at in line:
            raise KeyboardInterrupt
        return int(bool(self.failing) and self.failing in line)


def record(run: ModuleType, monkeypatch: pytest.MonkeyPatch, **how: str) -> Calls:
    calls = Calls(run, **how)
    monkeypatch.setattr(run, "call", calls)
    return calls


def on(monkeypatch: pytest.MonkeyPatch, run: ModuleType, platform: str, *, nvidia: bool) -> None:
    monkeypatch.setattr(run.sys, "platform", platform)
    monkeypatch.setattr(run, "has_nvidia_driver", lambda: nvidia)


def test_run_py_is_short_and_needs_the_standard_library_alone() -> None:
    source = (ROOT / "run.py").read_text(encoding="utf-8")
    nodes = list(ast.walk(ast.parse(source)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= set(sys.stdlib_module_names)
    assert len(source.splitlines()) < 150


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["-P", "-m", "xm", "app"]),
        (["--port", "8000", "--host", "0.0.0.0"], ["-P", "-m", "xm", "app", "--port", "8000", "--host", "0.0.0.0"]),
        (["app", "--port", "8000"], ["-P", "-m", "xm", "app", "--port", "8000"]),
        (["search", "DIR", "why?", "--json"], ["-P", "-m", "xm", "search", "DIR", "why?", "--json"]),
        (["test"], ["-m", "pytest"]),
        (["test", "-k", "maxsim"], ["-m", "pytest", "-k", "maxsim"]),
    ],
)
def test_words_become_the_right_command(run: ModuleType, words: list[str], expected: list[str]) -> None:
    assert run.command_for(words) == [str(run.PYTHON), *expected]


def test_first_use_makes_the_venv_then_installs_under_the_constraints(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, run, "darwin", nvidia=False)
    calls = record(run, monkeypatch)
    run.set_up("run")
    made, installed = calls.commands
    assert "-m venv" in made
    assert f"pip install -r {run.ROOT / 'requirements.txt'} -c {run.ROOT / 'constraints.txt'}" in installed
    assert run.is_set_up("run")
    assert not run.is_set_up("test")


def test_a_second_use_calls_nothing(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = record(run, monkeypatch)
    run.set_up("run")
    calls.commands.clear()
    run.set_up("run")
    assert calls.commands == []


def test_the_tests_need_the_development_libraries_and_then_the_app_needs_no_more(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = record(run, monkeypatch)
    run.set_up("run")
    calls.commands.clear()
    run.set_up("test")
    assert any(f"-r {run.ROOT / 'requirements-dev.txt'}" in line for line in calls.commands)
    assert run.is_set_up("run")
    assert run.is_set_up("test")


@pytest.mark.parametrize("name", ["requirements.txt", "constraints.txt"])
def test_a_changed_file_is_installed_again(run: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    record(run, monkeypatch)
    run.set_up("test")
    with (run.ROOT / name).open("a") as lines:
        lines.write("# changed\n")
    assert not run.is_set_up("run")
    assert not run.is_set_up("test")


@pytest.mark.parametrize("step", ["-m venv", "--index-url", "pip install -r"])
def test_an_interrupted_installation_is_not_stamped(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], step: str
) -> None:
    on(monkeypatch, run, "linux", nvidia=False)
    record(run, monkeypatch, interrupted_at=step)
    assert run.main([]) == 130
    assert not run.is_set_up("run")
    assert "Run the same command again" in capsys.readouterr().err


def test_an_update_cut_short_does_not_leave_the_former_stamp(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    record(run, monkeypatch)
    run.set_up("run")
    former = (run.ROOT / "constraints.txt").read_text()
    (run.ROOT / "constraints.txt").write_text(former + "# changed\n")
    record(run, monkeypatch, interrupted_at="pip install -r")
    with pytest.raises(KeyboardInterrupt):
        run.set_up("run")
    (run.ROOT / "constraints.txt").write_text(former)
    assert not run.is_set_up("run")


def test_a_failing_pip_is_an_error_in_one_line_and_not_stamped(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record(run, monkeypatch, failing="pip install -r")
    assert run.main([]) == 1
    assert not run.is_set_up("run")
    assert "pip failed" in capsys.readouterr().err


def test_linux_without_nvidia_driver_tries_the_cpu_build_of_the_pinned_torch_once(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, run, "linux", nvidia=False)
    calls = record(run, monkeypatch, failing="--index-url")
    run.set_up("run")
    cpu, everything = (line for line in calls.commands if "pip install" in line)
    assert "--no-deps --retries 0 --timeout 10 --index-url" in cpu
    assert cpu.endswith(" torch==2.13.0")
    assert "-r" in everything
    assert run.is_set_up("run")  # an index out of reach is no failure


@pytest.mark.parametrize(("platform", "nvidia"), [("linux", True), ("darwin", False), ("win32", False)])
def test_elsewhere_torch_comes_with_the_rest(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, platform: str, nvidia: bool
) -> None:
    on(monkeypatch, run, platform, nvidia=nvidia)
    calls = record(run, monkeypatch)
    run.set_up("run")
    assert not any("--index-url" in line for line in calls.commands)


def test_a_venv_whose_pip_works_is_kept_and_a_broken_one_is_made_anew(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.PYTHON.parent.mkdir(parents=True)
    run.PYTHON.touch()
    working = record(run, monkeypatch)
    run.make_venv()
    assert not any("-m venv" in line for line in working.commands)
    broken = record(run, monkeypatch, failing="-m pip --version")
    run.make_venv()
    assert any("-m venv --clear" in line for line in broken.commands)


def test_an_old_python_is_told_so(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = record(run, monkeypatch)
    monkeypatch.setattr(run.sys, "version_info", (3, 10, 4))
    assert run.main([]) == 1
    assert "needs 3.11 or newer" in capsys.readouterr().err
    assert calls.commands == []


def test_help_sets_nothing_up(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = record(run, monkeypatch)
    assert run.main(["--help"]) == 0
    assert "run.py test" in capsys.readouterr().out
    assert calls.commands == []


@pytest.fixture
def stamped(checkout: Path, run: ModuleType) -> Path:
    """The checkout with a real, empty .venv (no pip: nothing can be installed) that is stamped as complete."""
    venv.create(run.VENV, with_pip=False)
    (run.VENV / "run.stamp").write_text(run.digest("run"))
    return checkout


def test_a_stamped_checkout_hands_over_words_and_exit_code_from_any_folder(stamped: Path, tmp_path: Path) -> None:
    (tmp_path / "xm").mkdir()  # a folder of that name where the person stands is not taken for ours
    (tmp_path / "xm" / "__main__.py").write_text("raise SystemExit('wrong xm')")
    command = [sys.executable, str(stamped / "run.py"), "search", "a b", "¿qué?", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.stdout == "['search', 'a b', '¿qué?', '--json']\n"
    assert done.stderr == ""
    assert done.returncode == 7


@posix_only
def test_ctrl_c_ends_the_command_and_nothing_is_left_running(stamped: Path) -> None:
    waiting = "import os, time\nprint(os.getpid(), flush=True)\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n"
    (stamped / "xm" / "__main__.py").write_text(waiting + "    raise SystemExit(3)\n")
    process = subprocess.Popen(
        [sys.executable, str(stamped / "run.py")],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    with process:
        inner = int(process.stdout.readline())
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 3
    assert inner == process.pid  # it became the command, so no child can outlive it
