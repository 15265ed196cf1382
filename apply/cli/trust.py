"""`stepcli trust`: which files of code may be executed where a run or a store names them."""

from pathlib import Path
from typing import Annotated

import typer

from stepcli.runtime.terminal import print_json, say


def trust(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Python files to trust, as they are now.")
    ] = None,
    show: Annotated[
        bool, typer.Option("--list", help="List the trusted files and their digests.")
    ] = False,
    remove: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE|SHA256", help="Trust a file no longer; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="--list for scripts.")] = False,
) -> None:
    """Allow your own code (my_probe.py) to be executed when a run or a store needs it.

    A file is trusted by its SHA-256 digest: a changed file must be trusted again. Code that you
    name yourself, as in --method my_probe.py:MyProbe, needs no trust.
    """
    from dataclasses import asdict

    from stepcli.runtime import trust as trusted
    from stepcli.runtime.errors import UsageError

    if not (files or show or remove):
        raise UsageError("nothing to do: give a file, --list or --remove FILE")
    for entry in [each for given in remove or [] for each in trusted.distrust(given)]:
        say(f"no longer trusted: {entry.path} (sha256 {entry.sha256})")
    for entry in [trusted.trust(file) for file in files or []]:
        say(f"trusted: {entry.path} (sha256 {entry.sha256})")
    if show:
        every = trusted.trusted_files()
        if as_json:
            print_json([asdict(entry) for entry in every])
            return
        for entry in every:
            say(f"{entry.sha256}  {entry.path}")
        if not every:
            say("no file is trusted")
