"""Options that all `stepcli store` commands share."""

from pathlib import Path
from typing import Annotated

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
