"""`stepcli plan` and `stepcli doctor`: what a run would cost, and whether it can run here."""

from pathlib import Path
from typing import Annotated

import typer

from stepcli.extract.cli.completion import COMPLETE, refuse_unknown
from stepcli.extract.config import ExtractConfig
from stepcli.extract.config.values import require_token_names
from stepcli.runtime.config_options import Only, with_config_options
from stepcli.runtime.terminal import say, say_lines

PLANNED = Only(
    *("dataset", "root", "set", "backbone", "frames", "limit", "sampling", "views", "train_views"),
    *("windows", "mirrors", "layers", "preprocess", "device", "precision"),
)
"""The options that costs depend on; tokens are compared."""


@with_config_options(config_file=True, complete=COMPLETE)
def plan(
    config: Annotated[ExtractConfig, PLANNED],
    tokens: Annotated[
        list[str] | None,
        typer.Option(help="Tokens per frame as for extract; repeatable. Default: compare them."),
    ] = None,
    stores: Annotated[
        Path, typer.Option(envvar="STEPCLI_STORES", help="Where the store would lie.")
    ] = Path("stores"),
    probe_clips: Annotated[
        int,
        typer.Option(min=1, help="Clips or recordings to try, to learn how fast this machine is."),
    ] = 16,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Bytes, hours and break-even read speed of each choice of tokens, before a byte is written.

    Tries a few clips, or the first seconds of a few recordings (--windows), on this machine and
    multiplies. Exit code 1 when no choice fits the disk.
    """
    import dataclasses
    import json

    refuse_unknown(config)
    for each in tokens or ():
        require_token_names(each)
    from stepcli.extract.pipeline.plan import describe, make_plan

    made = make_plan(config, stores, probe_clips, tokens or ())
    if as_json:
        values = {**dataclasses.asdict(made), "hours": made.hours}
        best = made.recommended
        say(json.dumps({**values, "recommended": best and dataclasses.asdict(best)}))
    else:
        say_lines(describe(made))
    if not any(cost.fits for cost in made.layouts):
        raise typer.Exit(1)


def doctor(
    stores: Annotated[
        Path, typer.Option(envvar="STEPCLI_STORES", help="Where stores would lie.")
    ] = Path("stores"),
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """What this machine can do: versions, GPU, codecs, disk, limits, hub.

    Exit code 1 if it lacks what extraction cannot do without.
    """
    import dataclasses
    import json

    from stepcli.extract.cli.doctor import examine

    found = []
    for finding in examine(stores):
        found.append(finding)
        if not as_json:
            say(f"{finding.state:8} {finding.what:16} {finding.text}")
    if as_json:
        say(json.dumps([dataclasses.asdict(finding) for finding in found]))
    if any(finding.state == "MISSING" for finding in found):
        raise typer.Exit(1)
