"""The door: its list of commands, and what it makes of errors that are no defects."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
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


def leaves(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with its words after `stepcli`."""
    for name, command in group.commands.items():
        command = getattr(command, "load", lambda command=command: command)()
        if hasattr(command, "commands"):
            yield from leaves(command, (*path, name))
        else:
            yield (*path, name), command


LEAVES = dict(leaves(typer.main.get_command(app)))
BRACKETS = re.compile(r"stepcli\[[a-z,]+\]")


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_help_shows_brackets_as_they_are(path: tuple[str, ...]) -> None:
    """Rich would take [ray] for a style and leave it out."""
    shown = " ".join(help_of(path).replace("│", " ").split())
    meant = "".join(
        str(getattr(parameter, "help", "") or "").replace("\\", "")
        for parameter in LEAVES[path].params
    )
    for name in BRACKETS.findall(meant):
        assert name in shown
    assert "\\[" not in shown
    if path == ("extract",):
        assert "pip install 'stepcli[ray]'" in shown
        assert "[default: 16]" in shown


def help_of(path: tuple[str, ...]) -> str:
    done = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_the_first_panel_of_options_is_short(path: tuple[str, ...]) -> None:
    """What most users need comes first; the rest has panels with a heading of their own."""
    panels = re.split(r"^╭─ ", help_of(path), flags=re.MULTILINE)
    first = next((panel for panel in panels if panel.startswith("Options")), "")
    flags = re.findall(r"^│ \*? *(--[a-z][\w-]*)", first, re.MULTILINE)
    assert "--help" in flags
    assert len(flags) <= 15, flags


@pytest.mark.parametrize("path", [(), *LEAVES], ids=" ".join)
def test_help_names_the_exit_codes(path: tuple[str, ...]) -> None:
    assert "Exit codes:" in help_of(path)


def test_the_version_is_the_distributions() -> None:
    import stepcli

    assert stepcli.__version__ == version("stepcli")
    assert CliRunner().invoke(app, ["--version"]).output == f"stepcli {stepcli.__version__}\n"


TYPOS = {
    "extarct": "Did you mean 'extract'",
    "store inof": "Did you mean 'info'",
    "probe --metod step": "--method",
    "probe --method stpe": "unknown method 'stpe'; did you mean step",
    "sweep --method linaer": "did you mean linear",
    "methods stpe": "did you mean step",
    "extract --dataset sv2": "did you mean ssv2",
    "datasets show sv2": "did you mean ssv2",
    "probe --method step --task arow": "Did you mean 'arrow'?",
    "extract --dataset csv --short pda": "Did you mean 'pad'?",
    "results --format jsn": "Did you mean 'json'?",
}
TYPE = """
import sys
from stepcli.cli import app
for number, words in enumerate(sys.argv[1:]):
    try:
        app(words.split())
    except SystemExit as ended:
        print(f"=== {number} {ended.code}", file=sys.stderr)
print({"torch", "transformers", "zarr", "av"} & set(sys.modules))
"""


def test_a_typo_is_answered_with_the_nearest_and_without_torch() -> None:
    """In a process of its own: what it has loaded shows whether an answer had to wait for it."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", TYPE, *TYPOS],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "300"},
    )
    answers = re.split(r"^=== \d+ (?=2$)", done.stderr, flags=re.MULTILINE)
    assert len(answers) == len(TYPOS) + 1, done.stderr
    for told, answer in zip(TYPOS.values(), answers, strict=False):
        assert told in answer
        assert "Value error" not in answer
    assert done.stdout == "set()\n"
