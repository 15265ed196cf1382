"""`stepcli probe`, `results` and `methods`: train probes on a store, and read what came out."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

RUNS_VARIABLE = "STEPCLI_RUNS"

StoreOption = Annotated[
    Path | None,
    typer.Option(help="Store to read. Default: the only one below $STEPCLI_STORES (./stores)."),
]
RunsOption = Annotated[
    Path | None, typer.Option(help="Folder of the runs. Default: $STEPCLI_RUNS (./runs).")
]


def _runs_folder(given: Path | None) -> Path:
    return given or Path(os.environ.get(RUNS_VARIABLE) or "runs")


def probe(
    method: Annotated[
        str, typer.Option(help="Method, or several: step,linear. All share one pass over the data.")
    ],
    store: StoreOption = None,
    runs: RunsOption = None,
    task: Annotated[
        Literal["classify", "arrow"],
        typer.Option(help="arrow: each clip forward and backward, telling opposite classes apart."),
    ] = "classify",
    pairs: Annotated[
        Path | None,
        typer.Option(help="CSV with columns label,partner. Default: the store's own pairs."),
    ] = None,
    clip_frames: Annotated[
        int | None, typer.Option(min=1, help="Frames a probe sees of those stored, e.g. 8.")
    ] = None,
    temporal_crop: Annotated[
        bool,
        typer.Option(
            "--temporal-crop",
            help="Train on fresh contiguous crops of --clip-frames, test on first, middle, last.",
        ),
    ] = False,
    train_split: Annotated[str, typer.Option(help="Split to train on.")] = "train",
    test_split: Annotated[str, typer.Option(help="Split to report on.")] = "test",
    seeds: Annotated[int, typer.Option(min=1, help="Probes of each method: seeds 0, 1, ...")] = 1,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training clips.")] = 60,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips a step.")] = 32,
    lr: Annotated[
        float | None, typer.Option(help="Peak learning rate of AdamW. Default: the method's own.")
    ] = None,
    weight_decay: Annotated[float, typer.Option(help="Decoupled, on matrices only.")] = 0.05,
    warmup: Annotated[float, typer.Option(help="Share of steps with a rising rate.")] = 0.1,
    label_smoothing: Annotated[float, typer.Option(help="In [0, 1).")] = 0.0,
    clip_norm: Annotated[float, typer.Option(help="Longest gradient of a probe; 0: off.")] = 0.0,
    data_seed: Annotated[int, typer.Option(min=0, help="Order of clips and crops.")] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Option of a method, e.g. heads=12; see stepcli methods."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
) -> None:
    """Train probes on a store's tokens and write one run a probe and seed."""
    from stepcli.cache.locate import locate_store
    from stepcli.probe.config import Pass, TaskConfig
    from stepcli.probe.expand import checked, parse_settings, run_configs
    from stepcli.probe.pairs import read_pairs
    from stepcli.probe.session import Session

    shared = checked(Pass, epochs=epochs, batch_size=batch_size, data_seed=data_seed)
    recipe = {
        "weight_decay": weight_decay,
        "warmup": warmup,
        "label_smoothing": label_smoothing,
        "clip_norm": clip_norm,
    }
    if lr is not None:
        recipe["lr"] = lr
    task_config = checked(
        TaskConfig,
        name=task,
        clip_frames=clip_frames,
        temporal_crop=temporal_crop,
        pairs=None if pairs is None else read_pairs(pairs),
        train_split=train_split,
        test_split=test_split,
    )
    names = method.split(",")
    configs = []
    for name, options in parse_settings(set_ or [], names).items():
        single = {option: ",".join(values) for option, values in options.items()}
        configs += run_configs(name, [single], recipe, task_config, shared, range(seeds))
    Session(locate_store(store), _runs_folder(runs), device).run(configs)


def results(
    runs: RunsOption = None,
    format_: Annotated[
        Literal["table", "json", "csv", "markdown"],
        typer.Option("--format", help="json, csv: one entry a run, fractions of 1."),
    ] = "table",
) -> None:
    """Show the finished runs: per cent, mean ± deviation over seeds."""
    from stepcli.probe.results import read_runs
    from stepcli.probe.table import render

    typer.echo(render(read_runs(_runs_folder(runs)), format_))


def methods() -> None:
    """List the methods, their options and where they come from."""
    from stepcli.probe.registry import methods as registry

    for name in registry().names():
        info = registry().get(name)
        order = "sees order" if info.order_aware else "order-blind"
        typer.secho(f"{name}  ({order}; {info.source})", bold=True)
        for option, field in info.options.model_fields.items():
            typer.echo(f"    {option}={field.default}  {field.description}")
