"""`stepcli sweep`: a grid of settings of many methods in as few passes as possible."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from stepcli.probe.cli.options import (
    CLUSTER,
    DeviceOption,
    PairsOption,
    RunsOption,
    StrictOption,
    TrackOption,
    names_of,
    require_splits,
    resumable,
    runs_folder,
    tune_early,
)
from stepcli.probe.config import DataConfig, OptimConfig, SweepConfig, TaskConfig
from stepcli.probe.methods.catalogue import complete_methods, require_known
from stepcli.runtime.config_options import Given, GivenValues, with_config_options
from stepcli.runtime.words import split_list


@with_config_options()
@resumable()
def sweep(
    *,
    file: Annotated[Path | None, typer.Argument(help="YAML file; see docs/sweep.md.")] = None,
    method: Annotated[
        str | None,
        typer.Option(help="Methods in place of a file: a,b.", autocompletion=complete_methods),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Values of an option to try: heads=6,12.")
    ] = None,
    store: Annotated[
        list[Path] | None, typer.Option(help="Store; several: --store a --store b.")
    ] = None,
    runs: RunsOption = None,
    task: Annotated[GivenValues, Given(TaskConfig)],
    data: Annotated[GivenValues, Given(DataConfig)],
    optim: Annotated[dict[str, str], Given(OptimConfig, lists=True)],
    search: Annotated[GivenValues, Given(SweepConfig)],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print runs, banks, passes and memory; train nothing.")
    ] = False,
    pairs: PairsOption = None,
    strict: StrictOption = False,
    track: TrackOption = None,
    device: DeviceOption = "auto",
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(
            help="This machine alone, or a Ray cluster (extra: stepcli[ray]).",
            rich_help_panel=CLUSTER,
        ),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster, e.g. auto. Default: RAY_ADDRESS; else this machine alone.",
            rich_help_panel=CLUSTER,
        ),
    ] = None,
    worker_cpus: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Cores per Ray task. Default: a node's, at most 4.",
            rich_help_panel=CLUSTER,
        ),
    ] = None,
) -> None:
    """Train a grid of settings of many methods in as few passes over the store as possible.

    Options override the file. Finished runs are not trained again. --lr and the options of the
    optimiser take several values with commas: --lr 1e-4,3e-4,1e-3.
    """
    names = None if method is None else names_of("--method", method)
    require_known(names or [])
    tune_early()
    from stepcli.probe.sweeps.options import checked_grids, options_over

    if pairs is not None:
        from stepcli.probe.runs.pairs import read_pairs

        task["pairs"] = read_pairs(pairs)
    config = options_over(
        file, methods=names, settings=set_ or [], optim=optim, task=task, data=data, search=search
    )
    grids = checked_grids(config)
    from stepcli.cache.store.locate import existing_store

    places = [existing_store(place) for place in store or ()] or [existing_store(None)]
    require_splits(places, [run.task for runs in grids.values() for run in runs] or [config.task])
    from stepcli.probe.sweeps.ray_engine import RaySession
    from stepcli.probe.sweeps.run import run_sweep
    from stepcli.probe.sweeps.session import Session

    trackers = split_list(track or "")
    folder = runs_folder(runs)
    for place in places:
        if engine == "local":
            session = Session(place, folder, device, trackers=trackers, strict=strict)
            run_sweep(session, config, grids, dry_run=dry_run)
            continue
        on_cluster = RaySession(
            place,
            folder,
            device,
            address=address,
            cpus=worker_cpus,
            trackers=trackers,
            strict=strict,
        )
        with on_cluster as session:
            run_sweep(session, config, grids, dry_run=dry_run)
