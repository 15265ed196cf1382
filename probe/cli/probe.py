"""`stepcli probe`: train one setting of methods."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from stepcli.probe.cli.options import (
    ACCUMULATE,
    DIRECTIONS,
    FRAME_ORDER,
    JITTER,
    MIXUP,
    OBSERVED,
    PAIRS,
    PRECISION,
    SPLIT_FILE,
    STRICT,
    TEST_SPLIT,
    TOKEN_DROPOUT,
    TRACK,
    TRAIN_SPLIT,
    VIEWS,
    RunsOption,
    StoreOption,
    resumable,
    runs_folder,
    tune_early,
)
from stepcli.probe.methods.catalogue import complete_methods, require_known


@resumable()
def probe(
    method: Annotated[
        str,
        typer.Option(
            help="Method, or several: step,linear. All share one pass over the data.",
            autocompletion=complete_methods,
        ),
    ],
    store: StoreOption = None,
    runs: RunsOption = None,
    task: Annotated[
        Literal["classify", "arrow"],
        typer.Option(help="arrow: each clip forward and backward, telling opposite classes apart."),
    ] = "classify",
    pairs: Annotated[Path | None, PAIRS] = None,
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
    train_split: Annotated[str, TRAIN_SPLIT] = "train",
    test_split: Annotated[str, TEST_SPLIT] = "test",
    shots: Annotated[
        int | None,
        typer.Option(min=1, help="Few-shot: training clips a class, drawn anew for each seed."),
    ] = None,
    protocol: Annotated[
        Literal["all", "base-to-novel"],
        typer.Option(help="base-to-novel: train on half of the classes, test the others by text."),
    ] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="Probes of each method: seeds 0, 1, ...")] = 1,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training clips.")] = 60,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples a step.")] = 64,
    lr: Annotated[
        float | None, typer.Option(help="Peak learning rate of AdamW. Default: the method's own.")
    ] = None,
    weight_decay: Annotated[float, typer.Option(help="Decoupled, on matrices only.")] = 0.05,
    warmup: Annotated[float, typer.Option(help="Share of steps with a rising rate.")] = 0.1,
    label_smoothing: Annotated[float, typer.Option(help="In [0, 1).")] = 0.1,
    clip_norm: Annotated[float, typer.Option(help="Longest gradient of a probe; 0: off.")] = 0.0,
    data_seed: Annotated[int, typer.Option(min=0, help="Order of clips and crops.")] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Option of a method, e.g. heads=12, or of its recipe, e.g. dropout=0.2; see "
            "stepcli methods and docs/sweep.md.",
        ),
    ] = None,
    jitter: Annotated[bool, JITTER] = False,
    observed: Annotated[float, OBSERVED] = 1.0,
    views: Annotated[int | None, VIEWS] = None,
    split_file: Annotated[Path | None, SPLIT_FILE] = None,
    strict: Annotated[bool, STRICT] = False,
    frame_order: Annotated[Literal["natural", "shuffled"], FRAME_ORDER] = "natural",
    directions: Annotated[Literal["both", "forward", "backward"], DIRECTIONS] = "both",
    mixup: Annotated[float, MIXUP] = 0.0,
    token_dropout: Annotated[float, TOKEN_DROPOUT] = 0.0,
    accumulate: Annotated[int, ACCUMULATE] = 1,
    precision: Annotated[Literal["float32", "bfloat16"], PRECISION] = "float32",
    track: Annotated[str | None, TRACK] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
) -> None:
    """Train probes on a store's tokens and write one run per probe and seed."""
    names = method.split(",")
    require_known(names)
    tune_early()
    from stepcli.cache.store.locate import locate_store
    from stepcli.probe.config import DataConfig, TaskConfig
    from stepcli.probe.runs.pairs import read_pairs
    from stepcli.probe.sweeps.expand import checked, parse_settings, run_configs
    from stepcli.probe.sweeps.session import Session

    shared = checked(
        DataConfig,
        epochs=epochs,
        batch_size=batch_size,
        data_seed=data_seed,
        mixup=mixup,
        token_dropout=token_dropout,
        accumulate=accumulate,
        precision=precision,
    )
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
        jitter=jitter,
        observed=observed,
        views=views,
        split_file=None if split_file is None else str(split_file),
        frame_order=frame_order,
        directions=directions,
        pairs=None if pairs is None else read_pairs(pairs),
        train_split=train_split,
        test_split=test_split,
        shots=shots,
        protocol=protocol,
    )
    configs = []
    for name, options in parse_settings(set_ or [], names).items():
        single = {option: ",".join(values) for option, values in options.items()}
        configs += run_configs(name, [single], recipe, task_config, shared, range(seeds))
    trackers = [] if track is None else track.split(",")
    Session(locate_store(store), runs_folder(runs), device, trackers=trackers, strict=strict).run(
        configs
    )
