"""`stepcli corruptions`: trained probes on corrupted views of their test clips."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from stepcli.probe.cli.analysis import MethodOption, RunsArgument, StoreOption
from stepcli.probe.cli.options import DeviceOption, names_of, require_given, resumable, tune_early
from stepcli.runtime.terminal import say_lines, warn
from stepcli.runtime.words import counted


@resumable()
def corruptions(
    runs: RunsArgument = Path("runs"),
    method: MethodOption = None,
    store: StoreOption = None,
    device: DeviceOption = "auto",
    format_: Annotated[
        Literal["table", "json", "csv", "markdown", "latex"],
        typer.Option("--format", help="json, csv: one entry per method and view, fractions of 1."),
    ] = "table",
    out: Annotated[Path | None, typer.Option(help="File to write to.")] = None,
) -> None:
    """Ask trained probes about corrupted views of their test clips: how far does each fall?

    The store needs such views (stepcli extract --views corrupted). Probes are trained on clean
    views, as always; nothing is trained here.
    """
    tune_early()
    from stepcli.probe.runs.configurations import configurations, without_several
    from stepcli.runtime.errors import UsageError
    from stepcli.runtime.files import disk_errors

    found = configurations(runs, None if method is None else names_of("--method", method))
    for note in without_several(runs):
        warn(f"note: {note}")
    require_given(store)
    from stepcli.probe.analysis.corruption_text import corruption_text
    from stepcli.probe.analysis.corruptions import corruption_scores

    scores, failed = corruption_scores(found, store, device)
    if scores:
        text = corruption_text(scores, format_)
        if out is None:
            say_lines(text)
        else:
            with disk_errors(out):
                out.write_text(f"{text}\n", encoding="utf-8")
    if failed:
        run, reason = next(iter(failed.items()))
        total = sum(len(each.records) for each in found)
        raise UsageError(f"{len(failed)} of {counted(total, 'run')} not asked: {run}: {reason}")
