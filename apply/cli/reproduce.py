"""`stepcli reproduce`: a published experiment from its data to a table beside the paper's."""

from pathlib import Path
from typing import Annotated

import typer

from stepcli.extract.cli.completion import complete_backbones
from stepcli.probe.cli.options import DeviceOption, resumable
from stepcli.runtime.terminal import say, say_lines, warn


def reproduce(
    name: Annotated[str | None, typer.Argument(help="Recipe; without one they are listed.")] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder of the data set. Default: STEPCLI_DATA/<data set>.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of store, sweep and runs. Default: reproduce/<recipe>."),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Where the recipe's backbone is, e.g. /models/dinov2-base.",
            autocompletion=complete_backbones,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the commands as a script; run nothing.")
    ] = False,
    table: Annotated[
        bool, typer.Option("--table", help="Only compare the runs that are there.")
    ] = False,
    extract_with: Annotated[
        str, typer.Option(help="Options to add to the extraction: '--workers 8 --batch 64'.")
    ] = "",
    sweep_with: Annotated[
        str, typer.Option(help="Options to add to the sweep: '--method step,linear'.")
    ] = "",
    device: DeviceOption = "auto",
) -> None:
    """Repeat a published experiment on your copy of its data, and compare the numbers.

    Checks the data's layout, extracts, sweeps, and prints a table with the published numbers, the
    differences and tolerances. The same command resumes. Says what the paper states of its
    protocol and what was chosen here; numbers of other protocols are shown, not judged.
    """
    from stepcli.apply.reproduction.recipe import read_recipe, recipe_names

    if name is None:
        for each in recipe_names():
            recipe = read_recipe(each)
            say(f"{each:20} {recipe.title} ({recipe.source})")
        return
    import shlex
    from dataclasses import replace

    from stepcli.apply.reproduction.commands import (
        CommandFailed,
        Reproduction,
        described,
        run_alone,
        run_commands,
        script,
    )
    from stepcli.apply.reproduction.layout import check_layout
    from stepcli.runtime.errors import UsageError

    recipe = read_recipe(name)
    plan = Reproduction(
        recipe,
        root or Path(f"data/{recipe.dataset}"),
        out or Path("reproduce") / name,
        backbone or recipe.backbone,
        device,
        tuple(shlex.split(extract_with)),
        tuple(shlex.split(sweep_with)),
    )
    if not table:
        try:
            there, found = check_layout(recipe, root)
        except UsageError as error:
            if not dry_run:
                raise
            say_lines(script(plan))
            first, _, _ = str(error).partition("\n")
            warn(f"note: the data are not here yet: {first}")
            return
        plan = replace(plan, root=there)
        if dry_run:
            say_lines(script(plan))
            return
        say_lines("\n".join(described(recipe)))
        say(f"{there}: {found}")
        with resumable():
            try:
                run_commands(plan, run_alone)
            except CommandFailed as error:
                say(f"error: {error}", err=True, colour=typer.colors.RED)
                raise typer.Exit(error.code) from error
    from stepcli.apply.reproduction.comparison import HEADER, compare, sources
    from stepcli.probe.runs.table import arranged

    rows, notes = compare(recipe, plan.runs, plan.changes)
    say_lines(arranged(HEADER, rows, "table"))
    for note in notes:
        warn(f"note: nothing is judged: {note}")
    for line in sources(recipe):
        say(line)
    say(f"How sure: {recipe.certainty}")
