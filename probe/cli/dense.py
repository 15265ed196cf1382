"""`stepcli dense`: runs of --task dense frame by frame, by the field's measures."""

from pathlib import Path
from typing import TYPE_CHECKING

from stepcli.probe.cli.analysis import JsonOption, MethodOption, RunsArgument, StoreOption
from stepcli.probe.cli.options import DeviceOption, names_of, require_given, resumable, tune_early
from stepcli.runtime.terminal import print_json, say_lines
from stepcli.runtime.words import counted

if TYPE_CHECKING:
    from stepcli.probe.analysis.dense_runs import DenseRow
    from stepcli.probe.runs.stats import PairedDifference


@resumable()
def dense(
    runs: RunsArgument = Path("runs"),
    method: MethodOption = None,
    store: StoreOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Label every frame of the test recordings of --task dense, and score it.

    A frame's probabilities are the mean over the windows around it. How wide, and how short a
    segment may be, is chosen on recordings of train by twins that have not seen them, which are
    trained now.
    """
    tune_early()
    import sys
    from contextlib import redirect_stdout
    from dataclasses import asdict

    from stepcli.probe.runs.configurations import configurations
    from stepcli.runtime.errors import UsageError

    found = configurations(runs, None if method is None else names_of("--method", method))
    require_given(store)
    from stepcli.probe.analysis.dense_runs import dense_rows

    with redirect_stdout(sys.stderr):  # what training says; standard output is for the table
        rows, refused = dense_rows(runs, found, store, device)
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        say_lines(table(rows))
    if refused:
        label, reason = next(iter(refused.items()))
        total = counted(len(rows) + len(refused), "row")
        raise UsageError(f"{len(refused)} of {total} not scored: {label}: {reason}")


def table(rows: "list[DenseRow]") -> str:
    """One line per configuration, per cent, and how each labels frames."""
    from stepcli.probe.runs.table import arranged

    header = ("method", "seeds", "frames", "edit", "F1@10", "F1@25", "F1@50", "mAP", "mAP@0.5")
    cells = [
        (
            row.label,
            str(len(row.seeds)),
            f"{100 * row.mean('frame_accuracy'):.1f}",
            f"{100 * row.mean('edit'):.1f}",
            *(f"{100 * row.mean('f1', key):.1f}" for key in ("10", "25", "50")),
            f"{100 * row.mean('mean_map'):.1f}",
            f"{100 * row.mean('map', '0.5'):.1f}",
        )
        for row in rows
    ]
    lines = [arranged(header, cells, "table"), ""]
    for row in rows:
        first = row.seeds[0]
        how = first.smoothing
        lines.append(
            f"{row.label}: {row.recordings} recordings; edit {_interval(row.edit)}, F1@50 of a "
            f"recording {_interval(row.f1_50)}"
        )
        whole = [one.labels_map for one in row.seeds if one.labels_map is not None]
        if whole:
            mean = sum(whole) / len(whole)
            lines.append(f"  labels of whole recordings: mAP {100 * mean:.1f}")
        lines.append(
            f"  seed 0: windows within {how.reach * first.seconds_per_step:g} s of a frame count, "
            f"segments of at least {how.shortest * first.seconds_per_step:g} s; chosen on "
            f"{first.chosen_on}"
        )
    return "\n".join(lines)


def _interval(found: "PairedDifference") -> str:
    mean = f"{100 * found.mean:.1f}"
    if found.low is None or found.high is None:
        return f"{mean} (fewer than 20 groups: no interval)"
    return f"{mean} [{100 * found.low:.1f}, {100 * found.high:.1f}]"
