"""`stepcli probe`, `results` and `methods`: train probes on a store, and read what came out."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

RUNS_VARIABLE = "STEPCLI_RUNS"

StoreOption = Annotated[
    Path | None,
    typer.Option(help="Store to read. Default: the only one below $STEPCLI_STORES (./stores)."),
]
RunsOption = Annotated[
    Path | None, typer.Option(help="Folder of the runs. Default: $STEPCLI_RUNS (./runs).")
]


# What `probe` and `sweep` say alike of the data; None in a sweep: as the file says.
JITTER = typer.Option(
    "--jitter", help="Train on a random frame of each of --clip-frames stretches, test on middles."
)
OBSERVED = typer.Option(min=0.01, max=1, help="Share of the stored frames, from the first, seen.")
VIEWS = typer.Option(min=1, help="At most so many stored training views a clip. Default: all.")
SPLIT_FILE = typer.Option(help="CSV with columns clip,split in place of the store's own splits.")
FRAME_ORDER = typer.Option(help="shuffled: train on frames in a fresh random order, test as is.")
DIRECTIONS = typer.Option(help="Of --task arrow: directions to train on; tests show both.")
MIXUP = typer.Option(min=0, help="alpha of mixup between the tokens of two clips; 0: off.")
TOKEN_DROPOUT = typer.Option(min=0, max=0.99, help="Share of tokens zeroed at each step.")
ACCUMULATE = typer.Option(min=1, help="Parts that a batch is worked on in: less memory.")
PRECISION = typer.Option(help="Of products with tokens; all else stays float32.")
TRACK = typer.Option(help="Copy losses and results to tensorboard, wandb, mlflow (a,b).")


def _tune_early() -> None:
    """Let OpenMP threads sleep, not spin, while they wait, and keep freed memory: both before torch
    is imported.

    Where other programs use the cores too, a spinning thread holds up the one it waits for; a step
    was two to four times slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Before libraries start threads: glibc settles then how many places it allocates from.
    from stepcli.cache.malloc import keep_freed_memory

    keep_freed_memory()


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
    frame_order: Annotated[Literal["natural", "shuffled"], FRAME_ORDER] = "natural",
    directions: Annotated[Literal["both", "forward", "backward"], DIRECTIONS] = "both",
    mixup: Annotated[float, MIXUP] = 0.0,
    token_dropout: Annotated[float, TOKEN_DROPOUT] = 0.0,
    accumulate: Annotated[int, ACCUMULATE] = 1,
    precision: Annotated[Literal["float32", "bfloat16"], PRECISION] = "float32",
    track: Annotated[str | None, TRACK] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
) -> None:
    """Train probes on a store's tokens and write one run a probe and seed."""
    _tune_early()
    from stepcli.cache.locate import locate_store
    from stepcli.probe.config import Pass, TaskConfig
    from stepcli.probe.pairs import read_pairs
    from stepcli.probe.sweeps.expand import checked, parse_settings, run_configs
    from stepcli.probe.sweeps.session import Session

    shared = checked(
        Pass,
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
    names = method.split(",")
    configs = []
    for name, options in parse_settings(set_ or [], names).items():
        single = {option: ",".join(values) for option, values in options.items()}
        configs += run_configs(name, [single], recipe, task_config, shared, range(seeds))
    trackers = [] if track is None else track.split(",")
    Session(locate_store(store), _runs_folder(runs), device, trackers=trackers).run(configs)


def sweep(
    file: Annotated[Path | None, typer.Argument(help="YAML file; see docs/sweep.md.")] = None,
    method: Annotated[str | None, typer.Option(help="Methods in place of a file: a,b.")] = None,
    lr: Annotated[str | None, typer.Option(help="Rates to try: 1e-4,3e-4,1e-3.")] = None,
    weight_decay: Annotated[str | None, typer.Option(help="Decays to try: 0,0.05.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Values of an option to try: heads=6,12.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Of each point. Default: 5.")] = None,
    task: Annotated[Literal["classify", "arrow"] | None, typer.Option(help="As for probe.")] = None,
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
    _tune_early()
    from stepcli.cache.locate import locate_store
    from stepcli.probe.sweeps.ray_engine import RaySession
    from stepcli.probe.sweeps.run import flags_over, run_sweep
    from stepcli.probe.sweeps.session import Session

    config = flags_over(
        file,
        methods=None if method is None else method.split(","),
        settings=set_ or [],
        recipe={"lr": lr, "weight_decay": weight_decay},
        task={
            "name": task,
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
        },
    )
    trackers = [] if track is None else track.split(",")
    folder = _runs_folder(runs)
    for place in store or [locate_store(None)]:
        session = (
            Session(place, folder, device, trackers=trackers)
            if engine == "local"
            else RaySession(
                place, folder, device, address=address, cpus=worker_cpus, trackers=trackers
            )
        )
        run_sweep(session, config, dry_run=dry_run)


class _MethodsBySpace(TyperGroup):
    """Takes `--compare step linear` for `--compare step,linear`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join what follows --compare up to the next option."""
        if "--compare" in args:
            start = args.index("--compare") + 1
            rest = (i for i, arg in enumerate(args[start:], start) if arg.startswith("-"))
            stop = next(rest, len(args))
            if stop > start:
                args = [*args[:start], ",".join(args[start:stop]), *args[stop:]]
        return super().parse_args(ctx, args)


results_app = typer.Typer(
    cls=_MethodsBySpace, help="Show the finished runs, compare them, add other people's."
)


@results_app.callback(invoke_without_command=True)
def results(
    context: typer.Context,
    runs: RunsOption = None,
    format_: Annotated[
        Literal["table", "json", "csv", "markdown", "latex", "parquet"],
        typer.Option("--format", help="json, csv, parquet: one entry a run, fractions of 1."),
    ] = "table",
    compare: Annotated[
        str | None,
        typer.Option(help="Methods a b c: each against the first, paired over groups of clips."),
    ] = None,
    slices: Annotated[
        bool, typer.Option("--slices", help="Show also the runs on held-out slices of train.")
    ] = False,
    chosen: Annotated[
        bool,
        typer.Option(
            "--chosen", help="What sweep --select chose: one row a method, intervals over groups."
        ),
    ] = False,
    average_splits: Annotated[
        bool,
        typer.Option("--average-splits", help="Official splits averaged, apart from the seeds."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="File to write to; --format parquet needs one.")
    ] = None,
) -> None:
    """Show the finished runs: per cent, mean ± deviation over seeds."""
    if context.invoked_subcommand is not None:
        return
    from stepcli.probe.analysis.chosen import chosen_table
    from stepcli.probe.results.compare import compare_methods, describe
    from stepcli.probe.results.import_logits import read_imported
    from stepcli.probe.results.runs import read_runs
    from stepcli.probe.results.significance import survivors
    from stepcli.probe.results.table import render, write_parquet

    folder = _runs_folder(runs)
    if chosen:
        typer.echo(chosen_table(folder, format_))
        return
    found = read_runs(folder, slices=slices)
    if compare is None:
        if format_ == "parquet":
            write_parquet(found, out)
            return
        text = render(
            found,
            format_,
            published=read_imported(folder),
            bold=survivors(folder, found) if format_ == "latex" else (),
            average_splits=average_splits,
        )
        if out is None:
            typer.echo(text)
        else:
            out.write_text(text + "\n", encoding="utf-8")
        return
    names = compare.split(",")
    for line in describe(names[0], compare_methods(folder, found, names)):
        typer.echo(line)


@results_app.command("import")
def import_results(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV: clip, then one column of logits a class. Or published numbers: method, "
            "value, params, source, and split, frames, views, backbone, dataset where known."
        ),
    ],
    like: Annotated[
        str | None,
        typer.Option(help="Logits: a run here tested on the same clips, by its folder name."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Logits: how tables call the model, e.g. videomae-lora.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the imported model.")] = 0,
    params: Annotated[int, typer.Option(min=0, help="Its trainable parameters.")] = 0,
    runs: RunsOption = None,
) -> None:
    """Put another model's per-clip logits, or published numbers, into the same tables."""
    from stepcli.cache.errors import UsageError
    from stepcli.probe.results.import_logits import import_logits, import_published, is_published

    if is_published(file):
        count = import_published(file, _runs_folder(runs))
        typer.echo(f"{count} published numbers are shown with these runs, marked as such")
        return
    if like is None or name is None:
        raise UsageError("a file of logits needs --like RUN and --name MODEL; see docs/sweep.md")
    record = import_logits(file, _runs_folder(runs), like, name=name, seed=seed, params=params)
    typer.echo(f"{name} seed {seed}  top-1 {100 * record['top1']:5.1f} %  {record['run']}")


def methods(store: StoreOption = None) -> None:
    """List the methods, their options and where they come from; parameters too with --store."""
    from stepcli.probe.registry import methods as registry
    from stepcli.probe.sweeps.session import parameter_counts

    counts = {} if store is None else parameter_counts(store)
    for name in registry().names():
        info = registry().get(name)
        order = "sees order" if info.order_aware else "order-blind"
        here = f"; {counts[name]}" if counts else ""
        typer.secho(f"{name}  ({order}; {info.source}{here})", bold=True)
        if info.needs:
            typer.echo(f"    needs a store with {', '.join(info.needs)}")
        typer.echo(f"    lr={info.lr:g}  peak learning rate where none is given")
        for option, field in info.options.model_fields.items():
            typer.echo(f"    {option}={field.default}  {field.description}")
