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


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    typer.echo(json.dumps(value, indent=1))
