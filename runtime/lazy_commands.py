"""Commands whose modules are imported when they are asked for: a typo or --help answers at once."""

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

try:
    from typer.core import HAS_RICH
except ImportError:  # versions that always have it
    HAS_RICH = True

Prepare = Callable[[Any, str], None]
"""Completes a loaded command, given its words after `stepcli`."""


class _OfLoaded:
    """An attribute of the command that a lazy one loads."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, lazy: Any, kind: type | None = None) -> Any:
        return getattr(lazy.load(), self._name)

    def __set__(self, lazy: Any, value: Any) -> None:
        """Forget what the base class sets: nothing is known before loading."""


class _Lazy:
    """Name and summary of a command or group; the rest comes from its module.

    Args:
        name: word of the command line.
        target: "module:attribute", a function for Typer or a Typer app.
        summary: its line in the list of commands.
        panel: its heading there.
        prepare: completes what was loaded.
    """

    def __init__(
        self, name: str, target: str, summary: str, *, panel: str, prepare: Prepare
    ) -> None:
        settings: Any = {"name": name, "short_help": summary, "rich_help_panel": panel}
        super().__init__(**settings)
        self._place, self._target, self._summary = name, target, summary
        self._prepare, self._loaded = prepare, None

    def load(self) -> Any:
        """The command itself."""
        if self._loaded is None:
            module, _, attribute = self._target.partition(":")
            found = getattr(import_module(module), attribute)
            self._loaded = _made(found, self._place, self._summary)
            self._prepare(self._loaded, self._place)
        return self._loaded

    def make_context(self, *args: Any, **settings: Any) -> Any:
        """Parse the words with the command itself, which then also runs."""
        return self.load().make_context(*args, **settings)

    params = _OfLoaded("params")
    help = _OfLoaded("help")
    epilog = _OfLoaded("epilog")
    callback = _OfLoaded("callback")


class LazyCommand(_Lazy, TyperCommand):
    """A command that is a function; see `_Lazy`."""


class LazyGroup(_Lazy, TyperGroup):
    """A command with commands of its own; see `_Lazy`."""

    commands = _OfLoaded("commands")
    invoke_without_command = _OfLoaded("invoke_without_command")


def _made(found: Any, name: str, summary: str) -> Any:
    app = typer.Typer(add_completion=False)
    if not isinstance(found, typer.Typer):
        app.command(name)(found)
        return typer.main.get_command(app)
    app.add_typer(found, name=name, help=summary)
    group: Any = typer.main.get_command(app)
    return group.commands[name]


def show_as_written(command: Any) -> None:
    """Keep Rich from taking `[ray]` in the help of a command, or of a group's, for a style, and
    from breaking its paragraphs where the docstring does."""
    if not HAS_RICH:
        return
    if command.help:
        paragraphs = command.help.split("\n\n")
        command.help = "\n\n".join(
            text if text.startswith(" ") else text.replace("\n", " ") for text in paragraphs
        )
    for each in (command, *command.params):
        for name in ("help", "short_help", "epilog"):
            if text := getattr(each, name, None):
                setattr(each, name, re.sub(r"(?<!\\)\[(?=[a-z/#@])", r"\\[", text))
    for inner in getattr(command, "commands", {}).values():
        show_as_written(inner)
