"""The door, called as a user types, in the tests' own process."""

from typing import Any

from typer.testing import CliRunner

from stepcli.cli import app


def invoke(*words: object) -> Any:
    """Run `stepcli WORDS...`: its exit code, what it printed, the error that came out."""
    return CliRunner().invoke(app, [str(word) for word in words])


def call(*words: object, code: int = 0) -> str:
    """What a command prints; where it is to fail with `code`, what it says of that."""
    done = invoke(*words)
    assert done.exit_code == code, done.output or repr(done.exception)
    printed: str = done.stderr if code else done.stdout
    return printed
