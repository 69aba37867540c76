"""Docs that cannot lie: what the README names is there, and every module is named."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.__main__ import main, make_parser
from pipeline.methods import METHODS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_every_module_has_its_line_and_every_line_its_module():
    """The tree in the README is the tree."""
    named = set(re.findall(r"^    (pipeline/\w+\.py) ", README, re.MULTILINE))
    there = {p.relative_to(ROOT).as_posix() for p in (ROOT / "pipeline").glob("*.py")} - {"pipeline/__init__.py"}
    assert named == there


def settings_table() -> str:
    """The README's table of settings, as the dataclass has them."""
    from pipeline.schema import TrainConfig, settings

    lines = ["| setting | default | what it does |", "|---|---|---|"]
    for name, wish in settings(TrainConfig).items():
        default = next(field.default for field in dataclasses.fields(TrainConfig) if field.name == name)
        choices = f" ({', '.join(wish.choices)})" if wish.choices else ""
        lines.append(f"| `{name}` | {json.dumps(default)} | {wish.help}{choices} |")
    return "\n".join(lines)


def methods_table() -> str:
    lines = ["| method | what it does | learning rate | can be merged |", "|---|---|---|---|"]
    for name, method in METHODS.items():
        merged = f"no: {method.unmerged}" if method.unmerged else "yes"
        lines.append(f"| `{name}` | {method.sentence} | {method.rate:g} | {merged} |")
    return "\n".join(lines)


def test_the_methods_table_is_drawn_from_the_methods():
    """Every way to train; on a change, print(methods_table()) gives the new one."""
    assert methods_table() in README


def test_the_settings_table_is_drawn_from_the_dataclass():
    """Every setting with its default and help; on a change, print(settings_table()) gives the new one."""
    assert settings_table() in README


def test_every_module_of_the_page_has_its_line():
    """The tree names what is in ui/, too."""
    named = set(re.findall(r"^    (ui/\w+\.\w+) ", README, re.MULTILINE))
    there = {
        p.relative_to(ROOT).as_posix() for p in (ROOT / "ui").iterdir() if p.suffix in {".py", ".css", ".js", ".html"}
    }
    assert named == there - {"ui/__init__.py"}


def test_the_front_matter_is_what_a_space_needs():
    """Gradio's version is the pin; signing in asks for no more than making repositories of one's own."""
    matter = yaml.safe_load(README.split("---")[1])
    pins = (ROOT / "requirements.txt").read_text()
    assert f"gradio[oauth]=={matter['sdk_version']}\n" in pins
    assert (matter["sdk"], matter["app_file"], matter["suggested_hardware"]) == ("gradio", "app.py", "t4-small")
    assert matter["python_version"] == "3.11"
    assert matter["hf_oauth"] is True
    assert matter["hf_oauth_scopes"] == ["contribute-repos"]
    assert matter["license"] == "apache-2.0"
    assert (ROOT / "ui" / "page.png").stat().st_size < 300_000


def test_what_a_space_adds_fits_our_pins(tmp_path):
    """A Space installs gradio[oauth,mcp] and spaces beside requirements.txt: pip finds versions that suit them all."""
    version = re.search(r"^gradio\[oauth\]==(.*)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)[1]
    report = tmp_path / "report.json"
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--report", str(report),
         "-r", str(ROOT / "requirements.txt"), f"gradio[oauth,mcp]=={version}", "spaces"],
        capture_output=True, text=True,
    )  # fmt: skip
    if re.search(
        r"NewConnectionError|Temporary failure in name resolution|No matching distribution found for spaces",
        done.stderr,
    ):
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    added = {entry["metadata"]["name"].lower() for entry in json.loads(report.read_text())["install"]}
    assert {"mcp", "spaces"} <= added
    assert not added & {"torch", "transformers", "trl", "peft", "gradio"}, "a Space would change what we pinned"


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
