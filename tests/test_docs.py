"""Docs that cannot lie: what the README names is there, and every module is named."""

import re
from pathlib import Path

import pytest

from pipeline.__main__ import main, make_parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_every_module_has_its_line_and_every_line_its_module():
    """The tree in the README is the tree."""
    named = set(re.findall(r"^    (pipeline/\w+\.py) ", README, re.MULTILINE))
    there = {p.relative_to(ROOT).as_posix() for p in (ROOT / "pipeline").glob("*.py")} - {"pipeline/__init__.py"}
    assert named == there


def test_every_command_is_understood(monkeypatch):
    """Each `python -m pipeline` line parses; those on files that ship also run."""
    monkeypatch.chdir(ROOT)
    lines = re.findall(r"^    python -m pipeline ([a-z]+ .*?)(?:\s{2,}#.*)?$", README, re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', line)]
        make_parser().parse_args(words)
        if words[0] in ("inspect", "preview"):
            assert main([*words, "--json"]) == 0


def test_every_make_target_is_there():
    """Each `make` line names a target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ([a-z-]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_help_lists_every_setting(capsys):
    """`run --help` is drawn from the dataclass: each setting with its sentence."""
    from pipeline.schema import TrainConfig, settings

    with pytest.raises(SystemExit):
        main(["run", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for name, wish in settings(TrainConfig).items():
        assert f"--{name.replace('_', '-')}" in shown
        assert wish.help.split()[0] in shown
