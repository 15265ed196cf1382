"""What the probe room's commands say alike: their shared options, and the folder of the runs."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stepcli.probe.config.task import CLIPS, TaskConfig
from stepcli.probe.config.trackers import require_trackers
from stepcli.runtime.device_names import require_device_name
from stepcli.runtime.preemption import exit_code, heed_sigterm
from stepcli.runtime.terminal import say

if TYPE_CHECKING:
    from stepcli.probe.runs.filters import RunFilter

RUNS_VARIABLE = "STEPCLI_RUNS"

StoreOption = Annotated[
    Path | None,
    typer.Option(help="Store to read. Default: the only one below $STEPCLI_STORES (./stores)."),
]
RunsOption = Annotated[
    Path | None, typer.Option(help="Folder of the runs. Default: $STEPCLI_RUNS (./runs).")
]


CLUSTER = "Cluster"
WHICH = "Which runs"
TaskFilter = Annotated[
    str | None, typer.Option(help="Only runs on these tasks: a,b.", rich_help_panel=WHICH)
]
MethodFilter = Annotated[
    str | None, typer.Option(help="Only runs of these methods: a,b.", rich_help_panel=WHICH)
]
StoreFilter = Annotated[
    str | None,
    typer.Option(
        help="Only runs on these stores: folders, their names, or beginnings of fingerprints.",
        rich_help_panel=WHICH,
    ),
]
SeedFilter = Annotated[
    str | None, typer.Option(help="Only runs of these seeds: 0,1.", rich_help_panel=WHICH)
]
PairsOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV with columns label,partner. Default: the store's own pairs.",
        rich_help_panel=CLIPS,
    ),
]
StrictOption = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Refuse test clips that share groups with, or are copies of, training clips.",
        rich_help_panel=CLIPS,
    ),
]
TrackOption = Annotated[
    str | None,
    typer.Option(
        help="Copy losses and results to tensorboard, wandb, or both: a,b.",
        callback=require_trackers,
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(help="auto, cpu, cuda, cuda:1 or mps.", callback=require_device_name),
]
SettingFilter = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Only runs with this setting: heads=12; repeatable.", rich_help_panel=WHICH
    ),
]


def tune_early() -> None:
    """Let OpenMP threads sleep, not spin, while they wait, and keep freed memory: both before torch
    is imported.

    Where other programs use the cores too, a spinning thread holds up the one it waits for; a step
    was two to four times slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Before libraries start threads: glibc settles then how many places it allocates from.
    from stepcli.runtime.memory import keep_freed_memory

    keep_freed_memory()


def require_splits(stores: Iterable[Path], tasks: Iterable[TaskConfig]) -> None:
    """Refuse splits that a store does not have, before torch is imported.

    Only where an option names splits: each store's table of clips is read for it.

    Raises:
        UsageError: listing those that it has.
    """
    usual = TaskConfig()
    different = {(task.splits, task.leaves_a_group_out): task for task in tasks}
    asked = [task for task in different.values() if task.splits != usual.splits]
    if not asked:
        return
    from stepcli.cache.store.store import open_store
    from stepcli.probe.data.splits import require_clips

    for place in stores:
        store = open_store(place)
        for task in asked:
            require_clips(store, task)


def require_given(store: Path | None) -> None:
    """Refuse a --store that holds no store, before torch is imported.

    Raises:
        StoreNotFound: it has no manifest.
        DamagedStore: its manifest is not what was written.
    """
    if store is not None:
        from stepcli.cache.schema.manifest import read_manifest
        from stepcli.cache.storage.places import place_of

        read_manifest(place_of(store))


def runs_folder(given: Path | None) -> Path:
    """Where runs are kept."""
    return given or Path(os.environ.get(RUNS_VARIABLE) or "runs")


@contextmanager
def resumable() -> Iterator[None]:
    """End on Ctrl-C and SIGTERM with a line that says what is kept, and the exit code for it."""
    heed_sigterm()
    try:
        yield
    except KeyboardInterrupt as interrupt:
        say(
            "interrupted: finished runs are kept; the same command resumes from the last epoch "
            "that was saved",
            err=True,
        )
        raise typer.Exit(exit_code(interrupt)) from interrupt


def names_of(option: str, text: str, example: str = "step,linear") -> list[str]:
    """The names of an option that takes a list; at least one, since none would mean all.

    Raises:
        UsageError: there is none, as in ",".
    """
    from stepcli.runtime.errors import UsageError
    from stepcli.runtime.words import split_list

    if found := split_list(text):
        return found
    raise UsageError(f"{option} {text!r}: expected one or more names, e.g. {example}")


def run_filter(
    task: str | None,
    method: str | None,
    store: str | None,
    seed: str | None,
    settings: list[str] | None,
) -> "RunFilter":
    """Which runs the options name.

    Raises:
        UsageError: a seed is no number.
    """
    from stepcli.probe.runs.filters import RunFilter
    from stepcli.runtime.errors import UsageError

    seeds = [] if seed is None else names_of("--seed", seed, "0,1")
    if wrong := [text for text in seeds if not text.isdigit()]:
        raise UsageError(f"--seed {wrong[0]}: expected a number of 0 or more")
    methods, tasks = (
        () if text is None else tuple(names_of(option, text))
        for option, text in (("--method", method), ("--task", task))
    )
    # Folders may have blanks in their names.
    stores = tuple(filter(None, map(str.strip, (store or "").split(","))))
    if store is not None and not stores:
        raise UsageError(f"--store {store!r}: expected one or more stores")
    return RunFilter(
        methods, tasks, stores, tuple(int(text) for text in seeds), tuple(settings or ())
    )
