"""`stepcli probe`: train one setting of methods."""

from typing import Annotated

import typer

from stepcli.probe.cli.options import (
    DeviceOption,
    PairsOption,
    RunsOption,
    StoreOption,
    StrictOption,
    TrackOption,
    names_of,
    require_splits,
    resumable,
    runs_folder,
    tune_early,
)
from stepcli.probe.config import DataConfig, OptimConfig, TaskConfig
from stepcli.probe.methods.catalogue import complete_methods, require_known
from stepcli.runtime.config_options import Given, GivenValues, with_config_options
from stepcli.runtime.words import split_list


@with_config_options(config_file=True)
@resumable()
def probe(
    *,
    method: Annotated[
        str,
        typer.Option(
            help="Method, or several: step,linear. All share one pass over the data.",
            autocompletion=complete_methods,
        ),
    ],
    store: StoreOption = None,
    runs: RunsOption = None,
    task: TaskConfig,
    data: DataConfig,
    optim: Annotated[GivenValues, Given(OptimConfig)],
    seeds: Annotated[int, typer.Option(min=1, help="Probes per method: seeds 0, 1, ...")] = 1,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Option of a method, e.g. heads=12 (stepcli methods NAME); repeatable.",
        ),
    ] = None,
    pairs: PairsOption = None,
    strict: StrictOption = False,
    track: TrackOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Train probes on a store's tokens and write one run per probe and seed."""
    names = names_of("--method", method)
    require_known(names)
    tune_early()
    from stepcli.probe.sweeps.expand import parse_settings, run_configs

    if pairs is not None:
        from stepcli.probe.runs.pairs import read_pairs

        task = task.model_copy(update={"pairs": read_pairs(pairs)})
    configs = []
    for name, options in parse_settings(set_ or [], names).items():
        single = {option: ",".join(values) for option, values in options.items()}
        configs += run_configs(name, [single], optim, task, data, range(seeds))
    from stepcli.cache.store.locate import existing_store

    place = existing_store(store)
    require_splits([place], [task])
    from stepcli.probe.sweeps.session import Session

    trackers = split_list(track or "")
    session = Session(place, runs_folder(runs), device, trackers=trackers, strict=strict)
    session.run(session.for_each_part(configs))
