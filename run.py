"""Set up XM Lens and start it, on a machine that has Python 3.11 or newer and nothing else.

    python3 run.py                          the app, on http://127.0.0.1:7860
    python3 run.py --port 8000              the app elsewhere (also --host)
    python3 run.py test                     the tests; further words go to pytest
    python3 run.py search FOLDER QUERY      any command of `xm` (python3 run.py languages, info, ...)

On Windows write `py run.py`. The first call makes .venv beside this file and installs the libraries there; later calls
find the stamp it left and start at once, without network. Standard library only; what to install is said in
requirements.txt, requirements-dev.txt and constraints.txt.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
FILES = {
    "run": ("requirements.txt", "constraints.txt"),
    "test": ("requirements.txt", "requirements-dev.txt", "constraints.txt"),
}


class SetUpError(Exception):
    """Set-up cannot go on; the message says why and what to do."""


def say(text: str) -> None:
    """Write to standard error: standard output belongs to the command (`xm search --json`)."""
    print(f"[run.py] {text}", file=sys.stderr, flush=True)


def check_machine() -> None:
    """Raise SetUpError where the libraries have no version for this Python or computer."""
    if sys.version_info < (3, 11):  # transformers 5.23 needs it
        raise SetUpError(f"This is Python {platform.python_version()}; XM Lens needs 3.11 or newer.")
    if sys.platform == "darwin" and platform.machine() == "x86_64":
        raise SetUpError("torch has no version for Macs with an Intel processor; XM Lens needs Apple silicon here.")


def digest(wanted: str) -> str:
    """Hash the files that say what is installed for `wanted` ("run" or "test")."""
    return hashlib.sha256(b"\0".join((ROOT / name).read_bytes() for name in FILES[wanted])).hexdigest()


def is_set_up(wanted: str) -> bool:
    """Say whether a complete installation of just these files is there."""
    stamp = VENV / f"{wanted}.stamp"
    return PYTHON.exists() and stamp.exists() and stamp.read_text() == digest(wanted)


def call(*command: str | Path) -> int:
    """Run a command to its end, its output on standard error; return its exit code."""
    return subprocess.call([str(part) for part in command], stdout=sys.stderr)


def has_nvidia_driver() -> bool:
    """Look for the driver without starting anything."""
    return bool(shutil.which("nvidia-smi")) or Path("/proc/driver/nvidia").exists()


def make_venv() -> None:
    """Make .venv, unless a usable one is there; a half-made or moved one is replaced."""
    if PYTHON.exists() and call(PYTHON, "-m", "pip", "--version") == 0:
        return
    say(f"Making a virtual environment in {VENV}")
    if call(sys.executable, "-m", "venv", "--clear", VENV) != 0:
        raise SetUpError("No virtual environment could be made. On Debian and Ubuntu: sudo apt install python3-venv")


def install_cpu_torch() -> None:
    """Get the CPU build of torch first: PyPI's for Linux brings gigabytes of CUDA libraries along."""
    pins = (ROOT / "constraints.txt").read_text()
    torch = "torch==" + re.search(r"^torch==([\w.]+)", pins, re.MULTILINE)[1]
    say(f"No NVIDIA driver: looking for the CPU build of {torch} first (about 200 MB)")
    one_try = ("--no-deps", "--retries", "0", "--timeout", "10", "--index-url", CPU_INDEX)
    if call(PYTHON, "-m", "pip", "install", *one_try, torch) != 0:
        say("No CPU build within reach; going on with PyPI's, which is several GB larger and works as well")


def set_up(wanted: str) -> None:
    """Install what `wanted` needs, once; the stamp is written last, so an interrupted installation leaves none."""
    if is_set_up(wanted):
        return
    say("First use: installing the libraries (2 GB on disk). This takes one to ten minutes; later starts take seconds.")
    make_venv()
    for stamp in VENV.glob("*.stamp"):
        stamp.unlink()
    if sys.platform == "linux" and not has_nvidia_driver():
        install_cpu_torch()
    listed = ROOT / ("requirements-dev.txt" if wanted == "test" else "requirements.txt")
    if call(PYTHON, "-m", "pip", "install", "-r", listed, "-c", ROOT / "constraints.txt") != 0:
        raise SetUpError("pip failed; its reason stands above. Check the connection, then run the same command again")
    for done in FILES if wanted == "test" else ("run",):
        (VENV / f"{done}.stamp").write_text(digest(done))
    say("Set-up complete")


def command_for(words: list[str]) -> list[str]:
    """Turn the words after run.py into the command for .venv's Python."""
    if words[:1] == ["test"]:
        return [str(PYTHON), "-m", "pytest", *words[1:]]
    words = words if words and not words[0].startswith("-") else ["app", *words]
    # -P: no folder named xm where the person happens to stand is taken for ours, which PYTHONPATH names.
    return [str(PYTHON), "-P", "-m", "xm", *words]


def hand_over(command: list[str]) -> int:
    """Become the command (on Windows: wait for it), so that its exit code and Ctrl-C are its own."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    if os.name != "nt":
        os.execve(command[0], command, env)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows sends Ctrl-C to both; only the command answers it
    return subprocess.call(command, env=env)


def main(words: list[str]) -> int:
    """Set up, then hand over; return the exit code."""
    if words[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    try:
        check_machine()
        set_up("test" if words[:1] == ["test"] else "run")
    except SetUpError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("Stopped before set-up was complete. Run the same command again: it goes on from there.")
        return 130
    if words[:1] == ["test"]:
        os.chdir(ROOT)
    return hand_over(command_for(words))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
