"""Running the command line in this process: what it prints, as JSON or lines, and how it refuses."""

import json

import pytest

from xm.__main__ import main

# What the fixture corpus_file holds.
TEXTS = (
    "The bank lends money at interest to people who buy a house.",
    "The river left its bank and the water stood in the fields.",
    "Plants keep the energy of the sun as sugar and as starch.",
    "A telescope gathers the light of distant stars in a mirror.",
)


def json_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    """Run a command with --json; its standard output is one JSON object and nothing else."""
    facts = json.loads(printed(capsys, *arguments, "--json"))
    assert isinstance(facts, dict)
    return facts


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must work, and return its standard output."""
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must fail: exit code 2, one line on standard error, nothing on standard output."""
    try:
        code = main(list(arguments))
    except SystemExit as leaving:  # what argparse does
        code = leaving.code
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("xm")
    return captured.err
