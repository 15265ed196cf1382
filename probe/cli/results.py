"""`stepcli results`: read what the runs say, compare methods, bring other people's models in."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stepcli.probe.cli.options import (
    MethodFilter,
    RunsOption,
    SeedFilter,
    SettingFilter,
    StoreFilter,
    TaskFilter,
    names_of,
    run_filter,
    runs_folder,
)
from stepcli.runtime.terminal import say, say_lines, warn

if TYPE_CHECKING:
    from stepcli.probe.runs.filters import RunFilter

results_app = typer.Typer(help="Show the finished runs, compare them, add other people's.")


@results_app.callback(invoke_without_command=True)
def results(
    context: typer.Context,
    runs: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of the runs; several with --across. Default: $STEPCLI_RUNS (./runs)."
        ),
    ] = None,
    task: TaskFilter = None,
    method: MethodFilter = None,
    store: StoreFilter = None,
    seed: SeedFilter = None,
    set_: SettingFilter = None,
    format_: Annotated[
        Literal["table", "json", "csv", "markdown", "latex", "parquet"],
        typer.Option("--format", help="json, csv, parquet: one entry per run, fractions of 1."),
    ] = "table",
    compare: Annotated[
        str | None,
        typer.Option(
            help="Methods a b c: each against the first, paired; over seeds and groups of clips."
        ),
    ] = None,
    slices: Annotated[
        bool, typer.Option("--slices", help="Show also the runs on held-out slices of train.")
    ] = False,
    chosen: Annotated[
        bool,
        typer.Option(
            "--chosen", help="What sweep --select chose: one row per method, with intervals."
        ),
    ] = False,
    average_splits: Annotated[
        bool,
        typer.Option("--average-splits", help="Official splits averaged, apart from the seeds."),
    ] = False,
    order_suite: Annotated[
        bool,
        typer.Option(
            "--order-suite", help="One table of methods by kinds of order, with a conclusion."
        ),
    ] = False,
    across: Annotated[
        bool,
        typer.Option(
            "--across",
            help="Data sets, tasks or folders of runs side by side, with each method's mean rank.",
        ),
    ] = False,
    published: Annotated[
        bool,
        typer.Option(
            "--published",
            help="Show also papers' numbers on the runs' data sets, one table per protocol; "
            "without runs, all that come with stepcli.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="File to write to; --format parquet needs one.")
    ] = None,
) -> None:
    """Show the finished runs: per cent, mean ± deviation over seeds."""
    if context.invoked_subcommand is not None:
        return
    from stepcli.probe.config.task import ORDER_SUITE
    from stepcli.probe.runs.leakage import leakage_notes
    from stepcli.probe.runs.published import read_imported, shipped, shipped_files
    from stepcli.probe.runs.record import read_runs
    from stepcli.probe.runs.table import published_tables, render, terminal_width, write_parquet
    from stepcli.runtime.errors import UsageError
    from stepcli.runtime.files import disk_errors

    keep = run_filter(task, method, store, seed, set_)
    names = [] if compare is None else names_of("--compare", compare, "linear step")
    folders = list(dict.fromkeys(runs or [runs_folder(None)]))
    _require_one_table(
        {
            "--across": across,
            "--chosen": chosen,
            "--order-suite": order_suite,
            "--compare": compare is not None,
        },
        {"--slices": slices, "--average-splits": average_splits, "--published": published},
    )
    if published and format_ in ("json", "csv", "parquet"):
        raise UsageError(
            f"--published are tables of papers' numbers, --format {format_} has one entry per run; "
            "choose --format table, markdown or latex"
        )
    if across:
        _write_or_say(_across_text(folders, format_, keep), out)
        return
    if len(folders) > 1:
        raise UsageError(
            f"several folders of runs ({', '.join(map(str, folders[:3]))}) are shown side by side "
            "with --across; otherwise give one"
        )
    folder = folders[0]
    if published and not folder.is_dir():
        _write_or_say("\n\n".join(published_tables(shipped(shipped_files()), format_)), out)
        return
    if chosen:
        from stepcli.probe.analysis.selection import chosen_table

        table = chosen_table(folder, format_, keep)  # refuses a folder without a choice
        _say_notes(leakage_notes(keep(read_runs(folder))))
        _write_or_say(table, out)
        return
    width = terminal_width() if out is None else None
    if order_suite:
        _write_or_say(_suite_text(folder, format_, width, keep), out)
        return
    found = keep(read_runs(folder, slices=slices))
    _say_notes(leakage_notes(found))
    if compare is not None or format_ == "latex":
        from stepcli.probe.runs.compare import clear_winners, compare_methods
    if compare is None:
        if format_ == "parquet":
            with disk_errors(out or Path()):
                write_parquet(found, out)
            return
        text = render(
            found,
            format_,
            published=[
                *read_imported(folder),
                *(shipped({run.dataset for run in found}) if published else ()),
            ],
            bold=clear_winners(folder, found) if format_ == "latex" else (),
            average_splits=average_splits,
            width=width,
        )
        tasks = {
            (record.fingerprint, record.task) for record in found if record.task in ORDER_SUITE
        }
        if format_ == "table" and len(tasks) > len({fingerprint for fingerprint, _ in tasks}):
            try:
                text = f"{text}\n\n{_suite_text(folder, format_, width, keep)}"
            except UsageError as error:  # the runs are shown even so
                _say_notes([f"order suite: {error}"])
        _write_or_say(text, out)
        if format_ == "table" and next(folder.glob("selection-*.json"), None) is not None:
            _say_notes(
                [
                    "settings were chosen for each seed by sweep --select, and are rows of their "
                    "own here; stepcli results --chosen has one row per method"
                ]
            )
        return
    from stepcli.probe.runs.compare_table import render_comparison

    _write_or_say(render_comparison(names[0], compare_methods(folder, found, names), format_), out)


def _require_one_table(views: Mapping[str, bool], more: Mapping[str, bool]) -> None:
    """Refuse options that would be ignored.

    Args:
        views: Options that are a table each.
        more: Options of the usual table alone.
    """
    from stepcli.runtime.errors import UsageError

    given = [name for name, value in views.items() if value]
    others = given[1:] + [name for name, value in more.items() if value]
    if given and others:
        raise UsageError(f"{given[0]} and {others[0]} are two tables; ask for one at a time")


def _suite_text(folder: Path, form: Any, width: int | None, keep: "RunFilter") -> str:
    """The order suite's tables; imported here because registries of methods need torch."""
    from stepcli.probe.analysis.order_suite import order_suites
    from stepcli.probe.analysis.order_suite_words import suite_texts

    return "\n\n".join(suite_texts(order_suites(folder, keep), form, width))


def _across_text(folders: Sequence[Path], form: Any, keep: Callable[[Any], list[Any]]) -> str:
    from stepcli.probe.analysis.across import across
    from stepcli.probe.analysis.across_text import across_text
    from stepcli.probe.runs.record import read_runs

    records = [(folder, run) for folder in folders for run in read_runs(folder)]
    kept = {id(run) for run in keep([run for _, run in records])}
    found = [(folder, run) for folder, run in records if id(run) in kept]
    return across_text(across(found), form)


def _write_or_say(text: str, out: Path | None) -> None:
    from stepcli.runtime.files import disk_errors

    if out is None:
        say_lines(text)
        return
    with disk_errors(out):
        out.write_text(text + "\n", encoding="utf-8")


def _say_notes(lines: Iterable[str]) -> None:
    for line in lines:
        warn(f"note: {line}")


@results_app.command("import")
def import_results(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True,
            help="CSV: clip, then one column of logits a class. Or published numbers: method, "
            "value, params, source, and split, frames, views, backbone, dataset where known.",
        ),
    ],
    like: Annotated[
        str | None,
        typer.Option(
            help="Logits: a run here tested on the same clips, by its name or the beginning of it."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Logits: how tables call the model, e.g. videomae-lora.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the imported model.")] = 0,
    params: Annotated[int, typer.Option(min=0, help="Its trainable parameters.")] = 0,
    runs: RunsOption = None,
) -> None:
    """Put another model's per-clip logits, or published numbers, into the same tables."""
    from stepcli.probe.runs.find import require_run
    from stepcli.probe.runs.import_logits import import_logits, import_published, is_published
    from stepcli.runtime.errors import UsageError

    if is_published(file):
        count = import_published(file, runs_folder(runs))
        say(f"{count} published numbers are shown with these runs, marked as such")
        return
    if like is None or name is None:
        raise UsageError("a file of logits needs --like RUN and --name MODEL; see docs/sweep.md")
    folder = runs_folder(runs)
    like = require_run(like, folder).name
    record = import_logits(file, folder, like, name=name, seed=seed, params=params)
    say(f"{name} seed {seed}  top-1 {100 * record.top1:5.1f} %  {record.run}")
