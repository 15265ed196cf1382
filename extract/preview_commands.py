"""`stepcli plan` and `stepcli doctor`: what a run would cost, and whether it can run here."""

from pathlib import Path
from typing import Annotated

import typer

from stepcli.extract.commands import parse_options


def plan(
    dataset: Annotated[str, typer.Option(help="Data set by name (`stepcli datasets list`).")],
    root: Annotated[
        Path | None, typer.Option(help="Its folder or file. Default: STEPCLI_DATA/<name>.")
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="A name (`stepcli backbones`), or hf:<repository|folder>.")
    ] = "dinov2-base",
    frames: Annotated[int, typer.Option(min=1, help="Frames a clip.")] = 16,
    stores: Annotated[
        Path, typer.Option(envvar="STEPCLI_STORES", help="Where the store would lie.")
    ] = Path("stores"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>.")] = "auto",
    probe_clips: Annotated[
        int, typer.Option(min=1, help="Clips to try, to learn how fast this machine is.")
    ] = 16,
    options: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="An option of the data set; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Bytes, hours and break-even read speed of each choice of tokens, before a byte is written.

    Tries a few clips on this machine and multiplies. Exit code 1 when no choice fits the disk.
    """
    import dataclasses
    import json

    from stepcli.extract.plan import PlanRequest, describe, make_plan

    made = make_plan(
        PlanRequest(
            *(
                dataset,
                root,
                parse_options(options or []),
                backbone,
                frames,
                stores,
                device,
                probe_clips,
            )
        )
    )
    if as_json:
        values = {**dataclasses.asdict(made), "hours": made.hours}
        best = made.recommended
        typer.echo(json.dumps({**values, "recommended": best and dataclasses.asdict(best)}))
    else:
        typer.echo(describe(made))
    if not any(cost.fits for cost in made.layouts):
        raise typer.Exit(1)


def doctor(
    stores: Annotated[
        Path, typer.Option(envvar="STEPCLI_STORES", help="Where stores would lie.")
    ] = Path("stores"),
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """What this machine can do: versions, GPU, codecs, disk, limits, hub. Exit code 1 if it lacks
    what extraction cannot do without.
    """
    import dataclasses
    import json

    from stepcli.extract.doctor import examine

    found = []
    for finding in examine(stores):
        found.append(finding)
        if not as_json:
            typer.echo(f"{finding.state:8} {finding.what:16} {finding.text}")
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(finding) for finding in found]))
    if any(finding.state == "MISSING" for finding in found):
        raise typer.Exit(1)
