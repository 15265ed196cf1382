"""`stepcli sweep`: a grid of settings of many methods in as few passes as possible."""

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
    resumable,
    runs_folder,
    slice_minimum,
    tune_early,
)
from stepcli.probe.methods.catalogue import complete_methods, require_known


@resumable()
def sweep(
    file: Annotated[Path | None, typer.Argument(help="YAML file; see docs/sweep.md.")] = None,
    method: Annotated[
        str | None,
        typer.Option(help="Methods in place of a file: a,b.", autocompletion=complete_methods),
    ] = None,
    lr: Annotated[str | None, typer.Option(help="Rates to try: 1e-4,3e-4,1e-3.")] = None,
    weight_decay: Annotated[str | None, typer.Option(help="Decays to try: 0,0.05.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Values of an option to try: heads=6,12.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Of each point. Default: 5.")] = None,
    task: Annotated[Literal["classify", "arrow"] | None, typer.Option(help="As for probe.")] = None,
    pairs: Annotated[Path | None, PAIRS] = None,
    train_split: Annotated[str | None, TRAIN_SPLIT] = None,
    test_split: Annotated[str | None, TEST_SPLIT] = None,
    clip_frames: Annotated[int | None, typer.Option(min=1, help="As for probe.")] = None,
    temporal_crop: Annotated[bool, typer.Option("--temporal-crop", help="As for probe.")] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="As for probe.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="As for probe.")] = None,
    shots: Annotated[int | None, typer.Option(min=1, help="As for probe.")] = None,
    protocol: Annotated[
        Literal["all", "base-to-novel"] | None, typer.Option(help="As for probe.")
    ] = None,
    search: Annotated[
        Literal["grid", "random", "zip", "optuna"] | None,
        typer.Option(help="optuna: adaptive, on held-out slices; --lr 1e-5..1e-2 is a range."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Points to try with --search random or optuna.")
    ] = None,
    recipe_mode: Annotated[
        Literal["same", "own"] | None,
        typer.Option(help="own: each method's authors' recipe, where the sweep gives no value."),
    ] = None,
    select: Annotated[
        bool,
        typer.Option(
            "--select",
            help="Choose on held-out slices of train, refit the chosen on all, test once.",
        ),
    ] = False,
    slice_min: Annotated[
        str | None,
        typer.Option(
            help="Least that --select chooses by: clips=30,groups=5,classes=8 (half of them); "
            "a smaller slice gives way to folds."
        ),
    ] = None,
    folds: Annotated[
        int | None, typer.Option(min=2, help="Folds over groups for that. Default: at most 5.")
    ] = None,
    store: Annotated[
        list[Path] | None, typer.Option(help="Store; several: --store a --store b.")
    ] = None,
    runs: RunsOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print runs, banks, passes and memory; train nothing.")
    ] = False,
    jitter: Annotated[bool, JITTER] = False,
    observed: Annotated[float | None, OBSERVED] = None,
    views: Annotated[int | None, VIEWS] = None,
    split_file: Annotated[Path | None, SPLIT_FILE] = None,
    strict: Annotated[bool, STRICT] = False,
    frame_order: Annotated[Literal["natural", "shuffled"] | None, FRAME_ORDER] = None,
    directions: Annotated[Literal["both", "forward", "backward"] | None, DIRECTIONS] = None,
    mixup: Annotated[float | None, MIXUP] = None,
    token_dropout: Annotated[float | None, TOKEN_DROPOUT] = None,
    accumulate: Annotated[int | None, ACCUMULATE] = None,
    precision: Annotated[Literal["float32", "bfloat16"] | None, PRECISION] = None,
    track: Annotated[str | None, TRACK] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="This machine alone, or a Ray cluster (extra: stepcli[ray])."),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster, e.g. auto. Default: RAY_ADDRESS; else this machine alone."),
    ] = None,
    worker_cpus: Annotated[
        int | None, typer.Option(min=1, help="Cores of a Ray task. Default: a node's, at most 4.")
    ] = None,
) -> None:
    """Train a grid of settings of many methods in as few passes over the store as possible.

    Flags go over what the file says. What is done already is not done again.
    """
    names = None if method is None else method.split(",")
    require_known(names or [])
    tune_early()
    from stepcli.cache.store.locate import locate_store
    from stepcli.probe.runs.pairs import read_pairs
    from stepcli.probe.sweeps.ray_engine import RaySession
    from stepcli.probe.sweeps.run import flags_over, run_sweep
    from stepcli.probe.sweeps.session import Session

    config = flags_over(
        file,
        methods=names,
        settings=set_ or [],
        recipe={"lr": lr, "weight_decay": weight_decay},
        task={
            "name": task,
            "pairs": None if pairs is None else read_pairs(pairs),
            "train_split": train_split,
            "test_split": test_split,
            "clip_frames": clip_frames,
            "temporal_crop": temporal_crop or None,
            "jitter": jitter or None,
            "observed": observed,
            "views": views,
            "split_file": None if split_file is None else str(split_file),
            "frame_order": frame_order,
            "directions": directions,
            "shots": shots,
            "protocol": protocol,
        },
        shared={
            "epochs": epochs,
            "batch_size": batch_size,
            "mixup": mixup,
            "token_dropout": token_dropout,
            "accumulate": accumulate,
            "precision": precision,
        },
        top={
            "seeds": seeds,
            "select": select or None,
            "search": search,
            "trials": trials,
            "recipe_mode": recipe_mode,
            "slice_min": None if slice_min is None else slice_minimum(slice_min),
            "folds": folds,
        },
    )
    trackers = [] if track is None else track.split(",")
    folder = runs_folder(runs)
    for place in store or [locate_store(None)]:
        if engine == "local":
            session = Session(place, folder, device, trackers=trackers, strict=strict)
            run_sweep(session, config, dry_run=dry_run)
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
            run_sweep(session, config, dry_run=dry_run)
