"""`stepcli extract`: light until it runs."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from stepcli.extract.choices import (
    Engine,
    Precision,
    Preprocess,
    Short,
    StoreDtype,
    StoreFormat,
    VideoDecoder,
    WhenChanged,
)
from stepcli.extract.cli.options import (
    BackboneOption,
    DatasetOption,
    DeviceOption,
    FramesOption,
    LayersOption,
    PrecisionOption,
    PreprocessOption,
    RootOption,
    SamplingOption,
    SetOption,
    TrainViewsOption,
    ViewsOption,
)
from stepcli.extract.cli.parsers import parse_layers, parse_options, share_of
from stepcli.runtime.preemption import exit_code, heed_sigterm
from stepcli.runtime.terminal import say


def extract(
    dataset: DatasetOption,
    root: RootOption = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="Where the tokens go: a folder, or an object store's URL. Default: "
            "STEPCLI_STORES/<dataset>-<backbone>-<frames>f-<tokens>-<root>; ./stores if unset."
        ),
    ] = None,
    backbone: BackboneOption = "dinov2-base",
    frames: FramesOption = 16,
    tokens: Annotated[
        str,
        typer.Option(
            help="Tokens stored a frame: cls, grid<k> (patches averaged to k x k), full; "
            "several with commas: cls,grid4."
        ),
    ] = "grid4",
    sampling: SamplingOption = "uniform",
    short: Annotated[
        Short,
        typer.Option(help="Clips of fewer frames: repeat some in between, or pad at the end."),
    ] = Short.repeat,
    views: ViewsOption = "center",
    train_views: TrainViewsOption = 0,
    crop_seed: Annotated[int, typer.Option(min=0, help="Of the random crops.")] = 0,
    crop_min_area: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Least share of a frame in a random crop.")
    ] = 0.3,
    mirrors: Annotated[
        Path | None,
        typer.Option(
            help="For flips: CSV (label,mirror) of the classes that they swap, or the word none. "
            "Default: the data set's own."
        ),
    ] = None,
    layers: LayersOption = "-1",
    dtype: Annotated[StoreDtype, typer.Option(help="Type of stored values.")] = StoreDtype.float16,
    store_format: Annotated[
        StoreFormat | None,
        typer.Option("--format", help="Token files: zarr or hdf5. Default: the store's own; zarr."),
    ] = None,
    preprocess: PreprocessOption = Preprocess.exact,
    device: DeviceOption = "auto",
    devices: Annotated[
        str | None,
        typer.Option(help="Several GPUs of this machine, e.g. 0,1: each takes its share."),
    ] = None,
    precision: PrecisionOption = Precision.float32,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the backbone first; pays on long runs.")
    ] = False,
    decoder: Annotated[
        VideoDecoder, typer.Option(help="torchcodec where you have installed it.")
    ] = VideoDecoder.pyav,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Frames of one forward pass. Default: 16 on a CPU, 256 on a GPU."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Decoder processes. Default: by the number of cores.")
    ] = None,
    clip_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds that decoding one clip may take, twice.")
    ] = 120.0,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Only this many clips, spread evenly over the data set."),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(help="Embed the class labels too, with this CLIP or SigLIP, e.g. clip-b16."),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="Templates for --text, one a line with {} for the label; else bare."),
    ] = None,
    units: Annotated[
        Path | None, typer.Option(help="Semantic units for --text, one a line; else the dataset's.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try quarantined clips again.")
    ] = False,
    changed: Annotated[
        WhenChanged,
        typer.Option(help="Stored clips whose videos are other ones now: refuse, redo or keep."),
    ] = WhenChanged.refuse,
    check_sources: Annotated[
        bool,
        typer.Option(
            "--check-sources", help="Compare the bytes of stored clips' videos, not size and time."
        ),
    ] = False,
    append: Annotated[
        str,
        typer.Option(metavar="PREFIX", help="Add to another root's store; ids become PREFIX/<id>."),
    ] = "",
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Take clips that the list no longer names out of training."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be extracted, or pruned.")
    ] = False,
    rank: Annotated[
        int | None,
        typer.Option(min=0, help="Which share of the data set to do, from 0. Default: SLURM's."),
    ] = None,
    world_size: Annotated[
        int | None,
        typer.Option(min=1, help="Number of shares, all into one store. Default: SLURM's, else 1."),
    ] = None,
    part_clips: Annotated[
        int, typer.Option(min=1, help="Clips after which a part of the store is closed; or after")
    ] = 4096,
    part_seconds: Annotated[float, typer.Option(min=0.1, help="this many seconds; or after")] = 300,
    part_megabytes: Annotated[
        int, typer.Option(min=1, help="this much. A killed run loses at most the open part.")
    ] = 1024,
    options: SetOption = None,
    engine: Annotated[
        Engine,
        typer.Option(help="This machine alone, or a Ray cluster (pip install 'stepcli[ray]')."),
    ] = Engine.local,
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster, e.g. auto. Default: RAY_ADDRESS; else this machine alone."),
    ] = None,
    ray_workers: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many Ray workers. Default: as many as fit."),
    ] = None,
    worker_cpus: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="Cores a Ray worker takes. Default: 4; a GPU's share of its node."
        ),
    ] = None,
    worker_gpus: Annotated[
        float | None,
        typer.Option(min=0, help="GPUs of a Ray worker. Default: 1 where the cluster has any."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON on stdout.")
    ] = False,
) -> None:
    """Run a frozen image model over every video once, and store its tokens frame by frame.

    Resumes by itself: the same command goes on where it stopped. A video that cannot be read is
    quarantined with its reason; the exit code is then 3.

    Examples:

      stepcli extract --dataset ssv2 --root /data/ssv2 --backbone dinov2-base --tokens cls,grid4

      stepcli extract --dataset csv --root clips.csv --backbone /models/my-vit --limit 100
    """
    from stepcli.runtime.memory import keep_freed_memory

    keep_freed_memory()  # before PyArrow, torch or anybody else starts a thread
    import json

    from stepcli.cache.schema.padding import PAD
    from stepcli.extract.config import ExtractionRequest, PartLimits, RayOptions
    from stepcli.extract.decode.views import make_view_plan
    from stepcli.extract.engines.run import run_job
    from stepcli.extract.pipeline.stages import passes_still_running

    heed_sigterm()
    if devices is not None:
        _on_several(devices, rank, world_size)
    share, shares = share_of(rank, world_size)
    request = ExtractionRequest(
        dataset=dataset,
        root=root,
        options=parse_options(options or []),
        store=store,
        backbone=backbone,
        frames=frames,
        tokens=tokens,
        sampling=sampling + PAD if short is Short.pad else sampling,
        layers=parse_layers(layers),
        views=make_view_plan(views, train_views, crop_seed, crop_min_area),
        mirrors=mirrors,
        decoder="torchcodec" if decoder is VideoDecoder.torchcodec else "pyav",
        compiled=compiled,
        dtype=dtype.value,
        format=store_format.value if store_format else None,
        device=device,
        precision=precision.value,
        batch=batch,
        workers=workers,
        clip_seconds=clip_timeout,
        limit=limit,
        retry_failed=retry_failed,
        changed=changed,
        check_sources=check_sources,
        append=append,
        prune=prune,
        dry_run=dry_run,
        preprocess=preprocess.value,
        text=text,
        prompts=prompts,
        units=units,
        rank=share,
        world_size=shares,
        limits=PartLimits(part_clips, part_seconds, part_megabytes),
        ray=RayOptions(address, ray_workers, worker_cpus, worker_gpus)
        if engine is Engine.ray
        else None,
    )
    try:
        code, summary = run_job(request)
    except KeyboardInterrupt as interrupt:
        say("interrupted: every finished clip is stored; the same command goes on", err=True)
        if passes_still_running():
            # A large model's pass on a CPU takes longer than a batch system waits.
            os._exit(exit_code(interrupt))
        raise typer.Exit(exit_code(interrupt)) from interrupt
    if as_json:
        say(json.dumps(summary))
    if code:
        raise typer.Exit(code)


def _on_several(devices: str, rank: int | None, world_size: int | None) -> None:
    from stepcli.extract.engines.several_devices import device_names, run_on, without_option
    from stepcli.runtime.errors import UsageError

    if rank is not None or world_size is not None:
        raise UsageError("--devices divides the data set itself; leave --rank and --world-size out")
    words = without_option(sys.argv[1:], "--devices")
    try:
        code = run_on(device_names(devices), words)
    except KeyboardInterrupt as interrupt:  # each process has said how to go on
        raise typer.Exit(exit_code(interrupt)) from interrupt
    raise typer.Exit(code)
