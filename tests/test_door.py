"""The door: its list of commands, and what it makes of errors that are no defects."""

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from stepcli.cli import COMMANDS, _ErrorsAsLines, app


@pytest.mark.parametrize("kind", [SystemError, ImportError])
@pytest.mark.parametrize("interrupted", [True, False])
def test_an_interrupt_while_a_library_loads_is_an_interrupt(
    kind: type[Exception], interrupted: bool
) -> None:
    app = typer.Typer(cls=_ErrorsAsLines)

    @app.callback()
    def several() -> None:
        """A group, as the real one."""

    @app.command()
    def load() -> None:
        try:
            raise KeyboardInterrupt if interrupted else ValueError
        except BaseException as error:
            raise kind("returned a result with an exception set") from error

    done = CliRunner().invoke(app, ["load"])
    if interrupted:
        assert done.exit_code == 130
        assert done.stderr == "interrupted; what was finished is kept\n"
    else:
        assert isinstance(done.exception, kind)  # a defect: its traceback is wanted


@pytest.mark.parametrize("words", [words for _, words, *_ in COMMANDS])
def test_the_list_shows_the_first_line_of_each_help(words: str) -> None:
    name = words.removesuffix(" ...")
    command: Any = typer.main.get_command(app)
    lazy = command.commands[name]
    first = lazy.help.replace("\\[", "[").split("\n\n")[0].replace("\n", " ")
    assert first == lazy.short_help
    assert hasattr(lazy.load(), "commands") == words.endswith(" ...")


def test_help_shows_brackets_as_they_are() -> None:
    """Rich would take [ray] for a style and leave it out."""
    shown = CliRunner().invoke(app, ["extract", "--help"], env={"COLUMNS": "200"}).output
    assert "pip install 'stepcli[ray]'" in shown
    assert "[default: 16]" in shown


def test_a_mistyped_command_is_answered_with_the_nearest() -> None:
    done = CliRunner().invoke(app, ["extarct"])
    assert done.exit_code == 2
    assert "Did you mean 'extract'" in done.output
