"""Options and output that all `stepcli store` commands share."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store",
        help="The store's folder, e.g. stores/ssv2-dinov2-base-16f. Default: the only store "
        "below $STEPCLI_STORES (./stores).",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def say(text: str, *, err: bool = False) -> None:
    """Print a line. Ids and labels may come from anybody: what would steer a terminal is shown."""
    typer.echo("".join(c if c.isprintable() or c == "\t" else repr(c)[1:-1] for c in text), err=err)


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    typer.echo(json.dumps(value, indent=1))
