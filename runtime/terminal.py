"""Everything that a command prints."""

import json
import unicodedata
from typing import Any

import typer

from stepcli.runtime.credentials import redacted


def shown(text: str, keep: str = "") -> str:
    """A text for a terminal or a figure: control, bidi and escape characters as their escapes.

    Ids, labels and paths may come from anybody. Without this they could colour, hide, reorder or
    overwrite what a terminal shows, or add lines of their own. Credentials of URLs are left out.

    Args:
        text: any.
        keep: control characters that are the caller's own: "\\n" of a text of several lines.
    """
    text = redacted(text)
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in keep or unicodedata.category(c) == "Zs" else repr(c)[1:-1]
        for c in text
    )


def say(
    text: str = "", *, err: bool = False, colour: str | None = None, bold: bool = False
) -> None:
    """Print a line; every line of every command goes through here, or `say_lines`."""
    _print(shown(text, keep="\t"), err, fg=colour, bold=bold or None)


def say_lines(text: str, *, err: bool = False, colour: str | None = None) -> None:
    """Print a text whose line breaks are ours: untrusted parts of it went through `shown`."""
    _print(shown(text, keep="\t\n"), err, fg=colour)


def _print(text: str, err: bool, **style: Any) -> None:
    # A text without a style must not end in the sequence that resets one.
    typer.echo(typer.style(text, **style) if any(style.values()) else text, err=err)


def warn(text: str) -> None:
    """Print a note or a warning on standard error, in colour where it is a terminal."""
    say(text, err=True, colour=typer.colors.YELLOW)


def would(verb: str, dry_run: bool) -> str:
    """A verb as it is, or for a dry run as what would happen."""
    return f"would {verb}" if dry_run else verb


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    say_lines(json.dumps(value, indent=1))


def confirm(question: str) -> None:
    """Ask on the terminal; anything but yes ends the command.

    Raises:
        UsageError: no terminal to answer at.
    """
    import sys

    from stepcli.runtime.errors import UsageError

    if not sys.stdin.isatty():
        raise UsageError(f"{question} Nothing was deleted; confirm with --yes")
    typer.confirm(question, abort=True)
