"""The page about the command line holds every command, option and setting."""

from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest

from aiki.cli.root import aiki
from aiki.configuration import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")
EXAMPLES = [
    line for block in PAGE.split("```")[1::2] for line in block.splitlines() if "aiki" in line
]


def _commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(_commands(aiki, "aiki"))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_help_and_an_example(name: str) -> None:
    assert COMMANDS[name].help
    assert any(line.startswith(name) for line in EXAMPLES)


@pytest.mark.parametrize("name", COMMANDS)
def test_its_options_are_described(name: str) -> None:
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert f"`{parameter.opts[0]}" in PAGE, parameter.opts


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_what_all_take(name: str) -> None:
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {"--url", "--namespace", "--config", "--json"} <= options


@pytest.mark.parametrize("field", [field.name for field in msgspec.structs.fields(Settings)])
def test_every_setting_is_described(field: str) -> None:
    assert f"`{field}`" in PAGE
