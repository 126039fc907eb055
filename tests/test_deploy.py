"""The deployment files start commands that exist, with options that these commands have."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import typer.main

from app.cli import cli

DEPLOY = Path(__file__).parent.parent / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_a_command_with_options_it_has(unit: Path) -> None:
    line = next(line for line in unit.read_text().splitlines() if line.startswith("ExecStart="))
    name, *words = shlex.split(line.removeprefix("ExecStart="))[1:]
    commands = typer.main.get_command(cli).commands  # type: ignore[attr-defined]
    known = {option for parameter in commands[name].params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_what_a_unit_takes_from_its_environment_is_set_there(unit: Path) -> None:
    text = unit.read_text()
    settings = DEPLOY / text.split("EnvironmentFile=/etc/zhengtong/")[1].splitlines()[0]
    names = {line.split("=")[0] for line in settings.read_text().splitlines() if "=" in line}
    used = {part.split("}")[0] for part in text.split("${")[1:]}
    assert used <= names
    folder = next(
        line for line in settings.read_text().splitlines() if line.startswith("ZHENGTONG_DATA=")
    ).split("=")[1]
    assert f"ReadWritePaths={folder}\n" in text
