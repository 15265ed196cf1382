"""`stepcli runs`: list the finished runs, show one, delete some."""

from typing import Annotated, Literal

import typer

from stepcli.probe.cli.options import (
    MethodFilter,
    RunsOption,
    SeedFilter,
    SettingFilter,
    StoreFilter,
    TaskFilter,
    run_filter,
    runs_folder,
)
from stepcli.runtime.terminal import confirm, print_json, say, say_lines, would
from stepcli.runtime.words import counted, sized

app = typer.Typer(help="List the finished runs, show one, delete some.")
NAMES = "Names of runs, their beginnings, or folders."


@app.callback(invoke_without_command=True)
def list_runs(
    context: typer.Context,
    runs: RunsOption = None,
    task: TaskFilter = None,
    method: MethodFilter = None,
    store: StoreFilter = None,
    seed: SeedFilter = None,
    set_: SettingFilter = None,
    slices: Annotated[
        bool, typer.Option("--slices", help="Include the runs on held-out slices of train.")
    ] = False,
    format_: Annotated[
        Literal["table", "json", "csv", "markdown"], typer.Option("--format", help="Of the list.")
    ] = "table",
) -> None:
    """List the finished runs: name, top-1 in per cent, store, time."""
    if context.invoked_subcommand is not None:
        return
    from stepcli.probe.runs.listing import run_list
    from stepcli.probe.runs.record import read_runs
    from stepcli.probe.runs.table import terminal_width

    found = read_runs(runs_folder(runs), slices=slices)
    chosen = run_filter(task, method, store, seed, set_)(found)
    say_lines(run_list(chosen, format_, terminal_width()))


app.command("list")(list_runs)


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="Name of a run, its beginning, or its folder.")],
    runs: RunsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="All of its run.json.")] = False,
) -> None:
    """Show one run: settings, results, store, files."""
    from stepcli.probe.runs.find import require_run
    from stepcli.probe.runs.listing import describe_run
    from stepcli.probe.runs.record import FILE, read_run

    folder = require_run(run, runs_folder(runs))
    record = read_run(folder / FILE)
    if as_json:
        print_json(record.model_dump(mode="json", exclude_unset=True))
        return
    for line in describe_run(folder, record):
        say(line)


@app.command()
def rm(
    run: Annotated[list[str] | None, typer.Argument(help=NAMES)] = None,
    runs: RunsOption = None,
    task: TaskFilter = None,
    method: MethodFilter = None,
    store: StoreFilter = None,
    seed: SeedFilter = None,
    set_: SettingFilter = None,
    slices: Annotated[
        bool, typer.Option("--slices", help="With filters: runs on slices of train too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be deleted; delete nothing.")
    ] = False,
) -> None:
    """Delete runs, by name or by filters. Asks first, or needs --yes."""
    from stepcli.probe.runs.find import require_run
    from stepcli.probe.runs.record import read_runs
    from stepcli.probe.runs.remove import removable, remove
    from stepcli.runtime.errors import UsageError

    folder = runs_folder(runs)
    chosen = run_filter(task, method, store, seed, set_)
    if bool(run) == bool(chosen):
        raise UsageError("give the names of runs, or filters (--method, --task, --store, --seed)")
    folders = [require_run(word, folder) for word in run or ()]
    if chosen:
        folders = [folder / each.run for each in chosen(read_runs(folder, slices=slices))]
    found = [removable(each) for each in dict.fromkeys(folders)]
    for each in found:
        say(f"{would('delete', dry_run or not yes)} {each.folder} ({sized(each.bytes)})")
    total = f"{counted(len(found), 'run')}, {sized(sum(each.bytes for each in found))}"
    if dry_run:
        say(f"{total}; nothing was deleted")
        return
    if not yes:
        confirm(f"Delete {total}?")
    for each in found:
        remove(each)
    say(f"Deleted {total}")
