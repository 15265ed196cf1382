"""Options and output that all `stepcli store` commands share."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store",
        help="The store's folder or URL, e.g. stores/ssv2-dinov2-base-16f. Default: the only store "
        "below $STEPCLI_STORES (./stores).",
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")
]
WorkersOption = Annotated[
    int, typer.Option("--workers", min=1, help="Parts checked at the same time.")
]
PartBytesOption = Annotated[
    int, typer.Option("--part-bytes", min=1, help="Bytes of tokens at which a part is full.")
]
PartClipsOption = Annotated[
    int, typer.Option("--part-clips", min=1, help="Clips at which a part is full.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def say(text: str, *, err: bool = False) -> None:
    """Print a line. Ids and labels may come from anybody: what would steer a terminal is shown."""
    typer.echo("".join(c if c.isprintable() or c == "\t" else repr(c)[1:-1] for c in text), err=err)


def would(verb: str, dry_run: bool) -> str:
    """A verb as it is, or for a dry run as what would happen."""
    return f"would {verb}" if dry_run else verb


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    typer.echo(json.dumps(value, indent=1))
