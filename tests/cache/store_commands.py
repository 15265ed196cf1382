"""Run `stepcli store` commands in this process and read their JSON."""

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from stepcli.apply.cli.store import app
from stepcli.runtime.errors import StepcliError


def run(*words: object, fails: type[StepcliError] | None = None) -> Any:
    """Run a command with --json; what it printed."""
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    if fails is not None:
        assert isinstance(done.exception, fails), done.exception
    elif done.exception is not None:
        raise done.exception
    return json.loads(done.stdout)


def files_of(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
