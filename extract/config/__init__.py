"""Settings of `stepcli extract`: declared once, for the command line, files and the run itself."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from stepcli.cache.schema.spec import Dtype
from stepcli.cache.schema.windows import parse_windows
from stepcli.extract.config.values import read_layers, read_options, read_place
from stepcli.runtime.errors import UsageError
from stepcli.runtime.settings import FrozenConfig, Setting

VIEWS, PERFORMANCE, STORE = "Frames and views", "Performance", "Store"
TEXT, CHANGES, CLUSTER = "Label embeddings", "Clips that changed", "Several GPUs or machines"

WhenChanged = Literal["refuse", "redo", "keep"]
Decoder = Literal["pyav", "torchcodec"]
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")


class ExtractConfig(FrozenConfig, coerce_numbers_to_str=True):
    """What a run of `stepcli extract` is to do; each field is an option and a key of `--config`."""

    dataset: Annotated[
        str,
        Field(description="Data set: a name (stepcli datasets list), or file.py:NAME."),
        Setting(),
    ]
    root: Annotated[
        Path | None,
        Field(
            description="Folder of the data set; for csv its file or a folder that holds it. "
            "Default: STEPCLI_DATA/<name>."
        ),
        Setting(),
    ] = None
    options: Annotated[
        dict[str, str],
        BeforeValidator(read_options),
        Field(description="Option of the data set; repeatable."),
        Setting(flag="--set", unit="name=value", repeat=True),
    ] = Field(default_factory=dict)
    store: Annotated[
        str | None,
        BeforeValidator(read_place),
        Field(
            description="Folder of the store, or URL in object storage. Default: "
            "STEPCLI_STORES/<dataset>-<backbone>-<frames>f-<tokens>-<root>, or below ./stores."
        ),
        Setting(),
    ] = None
    backbone: Annotated[
        str,
        Field(
            description="Frozen image model: a name (stepcli backbones), a folder, OWNER/NAME on "
            "the hub, or file.py:NAME. Several, a,b: a store each, from one decoding pass."
        ),
        Setting(),
    ] = "dinov2-base"
    frames: Annotated[
        int, Field(ge=1, le=4096, description="Frames stored per clip."), Setting()
    ] = 16
    tokens: Annotated[
        str,
        Field(
            description="Tokens stored per frame: cls, grid<k> (patches averaged to k x k), full; "
            "or several: cls,grid4."
        ),
        Setting(),
    ] = "grid4"
    device: Annotated[
        str, Field(description="auto, cpu, cuda, cuda:<number> or mps."), Setting()
    ] = "auto"
    limit: Annotated[
        int | None,
        Field(ge=1, description="Extract only this many clips, spread evenly over the data set."),
        Setting(),
    ] = None
    retry_failed: Annotated[bool, Field(description="Try quarantined clips again."), Setting()] = (
        False
    )
    dry_run: Annotated[
        bool, Field(description="Only say what would be extracted or pruned."), Setting()
    ] = False

    sampling: Annotated[
        str,
        Field(
            description="Which frames: uniform, midpoint (X-CLIP's), random-seed<n>, "
            "dense<stride>; dense<stride>-<V>views and random-<V>views store V temporal views."
        ),
        Setting(VIEWS),
    ] = "uniform"
    short: Annotated[
        Literal["repeat", "pad"],
        Field(description="Clips of fewer frames: repeat some in between, or pad at the end."),
        Setting(VIEWS),
    ] = "repeat"
    views: Annotated[
        str,
        Field(
            description="Views of every clip: center, three-crops, flip, reversed (the centre "
            "forward and backward), corrupted (the centre plain and with noise, blur, brightness, "
            "jpeg and occlusion of severity 1 to 5; or some, e.g. center,noise3,blur5), or several."
        ),
        Setting(VIEWS),
    ] = "center"
    train_views: Annotated[
        int,
        Field(description="Random resized crops per clip outside val and test: 1, 2, 4 or 8."),
        Setting(VIEWS),
    ] = 0
    crop_seed: Annotated[
        int, Field(ge=0, description="Seed of random crops and corrupted views."), Setting(VIEWS)
    ] = 0
    crop_min_area: Annotated[
        float,
        Field(ge=0.01, le=1, description="Smallest share of a frame in a random crop."),
        Setting(VIEWS),
    ] = 0.3
    mirrors: Annotated[
        Path | None,
        Field(
            description="For flips: CSV (label,mirror) of the classes that a flip swaps, or the "
            "word none. Default: the data set's own."
        ),
        Setting(VIEWS),
    ] = None

    windows: Annotated[
        str | None,
        Field(
            description="Cut whole recordings into windows: 16@4fps (16 frames at 4 per second), "
            "16@4fps/8 (one every 8 frames)."
        ),
        Setting(VIEWS, unit="T@RATEfps[/STRIDE]"),
    ] = None

    layers: Annotated[
        tuple[int, ...],
        BeforeValidator(read_layers),
        Field(description="Layers stored, counted from the end, e.g. -4,-3,-2,-1."),
        Setting(STORE),
    ] = (-1,)
    dtype: Annotated[Dtype, Field(description="Type of stored values."), Setting(STORE)] = "float16"
    format: Annotated[
        Literal["zarr", "hdf5"] | None,
        Field(description="Format of token files. Default: the store's own; zarr for a new one."),
        Setting(STORE),
    ] = None
    part_clips: Annotated[
        int,
        Field(ge=1, description="Clips per part. A killed run loses at most the open part."),
        Setting(STORE),
    ] = 4096
    part_seconds: Annotated[
        float,
        Field(ge=0.1, description="Close a part after this time even with fewer clips."),
        Setting(STORE, unit="seconds"),
    ] = 300.0
    part_megabytes: Annotated[
        int,
        Field(ge=1, description="Close a part at this size even with fewer clips."),
        Setting(STORE, unit="mb"),
    ] = 1024

    batch: Annotated[
        int | None,
        Field(ge=1, description="Frames per forward pass. Default: 16 on a CPU, 256 on a GPU."),
        Setting(PERFORMANCE),
    ] = None
    workers: Annotated[
        int | None,
        Field(ge=1, description="Decoder processes. Default: by the number of cores."),
        Setting(PERFORMANCE),
    ] = None
    precision: Annotated[
        Literal["auto", "float32", "tf32", "bfloat16", "float16"],
        Field(
            description="Arithmetic of the backbone. auto: the store's; bfloat16 or float16 on a "
            "GPU; on a CPU bfloat16 where that is 1.3 times as fast, else float32."
        ),
        Setting(PERFORMANCE),
    ] = "auto"
    preprocess: Annotated[
        Literal["exact", "fast"],
        Field(description="Resize as the model's own processor does, or large frames faster."),
        Setting(PERFORMANCE),
    ] = "exact"
    compiled: Annotated[
        bool,
        Field(description="Compile the backbone first; pays on long runs."),
        Setting(PERFORMANCE, flag="--compile"),
    ] = False
    decoder: Annotated[
        Decoder,
        Field(description="Video decoder; torchcodec has to be installed."),
        Setting(PERFORMANCE),
    ] = "pyav"
    clip_timeout: Annotated[
        float,
        Field(ge=0.1, description="Time limit for decoding one clip, tried twice."),
        Setting(PERFORMANCE, unit="seconds"),
    ] = 120.0

    text: Annotated[
        str | None,
        Field(description="Store embeddings of the class labels by this CLIP or SigLIP model too."),
        Setting(TEXT),
    ] = None
    prompts: Annotated[
        Path | None,
        Field(description="Templates for --text, one per line with {} for the label."),
        Setting(TEXT),
    ] = None
    units: Annotated[
        Path | None,
        Field(description="Semantic units for --text, one per line. Default: the data set's."),
        Setting(TEXT),
    ] = None

    changed: Annotated[
        WhenChanged,
        Field(description="Stored clips whose videos have changed: refuse to run, redo or keep."),
        Setting(CHANGES),
    ] = "refuse"
    check_sources: Annotated[
        bool,
        Field(description="Compare the bytes of stored clips' videos, not only size and time."),
        Setting(CHANGES),
    ] = False
    append: Annotated[
        str,
        Field(description="Add to the store of another root; ids become PREFIX/<id>."),
        Setting(CHANGES, unit="prefix"),
    ] = ""
    prune: Annotated[
        bool,
        Field(description="Take clips that the list no longer names out of training."),
        Setting(CHANGES),
    ] = False

    devices: Annotated[
        str | None,
        Field(description="Several GPUs of this machine, e.g. 0,1: each takes its share."),
        Setting(CLUSTER),
    ] = None
    rank: Annotated[
        int | None,
        Field(ge=0, description="Share of the data set to extract, from 0. Default: SLURM's."),
        Setting(CLUSTER),
    ] = None
    world_size: Annotated[
        int | None,
        Field(ge=1, description="Number of shares, all into one store. Default: SLURM's, else 1."),
        Setting(CLUSTER),
    ] = None
    engine: Annotated[
        Literal["local", "ray"],
        Field(description="This machine alone, or a Ray cluster (pip install 'stepcli[ray]')."),
        Setting(CLUSTER),
    ] = "local"
    address: Annotated[
        str | None,
        Field(description="Ray cluster, e.g. auto. Default: RAY_ADDRESS, else this machine alone."),
        Setting(CLUSTER),
    ] = None
    ray_workers: Annotated[
        int | None,
        Field(ge=1, description="Maximum number of Ray workers. Default: as many as fit."),
        Setting(CLUSTER),
    ] = None
    worker_cpus: Annotated[
        float | None,
        Field(ge=0.1, description="Cores per Ray worker. Default: 4, or a GPU's share of a node."),
        Setting(CLUSTER),
    ] = None
    worker_gpus: Annotated[
        float | None,
        Field(ge=0, description="GPUs per Ray worker. Default: 1 if the cluster has any."),
        Setting(CLUSTER),
    ] = None

    @model_validator(mode="after")
    def _shares_are_given_one_way(self) -> "ExtractConfig":
        if self.devices is not None and (self.rank is not None or self.world_size is not None):
            raise UsageError(
                "--devices divides the data set itself; leave --rank and --world-size out"
            )
        if (self.rank is None) != (self.world_size is None):
            raise UsageError("--rank and --world-size go together; give both or neither")
        if self.rank is not None and self.world_size is not None and self.rank >= self.world_size:
            raise UsageError(
                f"--rank {self.rank}: ranks of --world-size {self.world_size} end at "
                f"{self.world_size - 1}"
            )
        return self

    @model_validator(mode="after")
    def _windows_say_how_many_frames(self) -> "ExtractConfig":
        if self.windows is None:
            return self
        frames, _ = parse_windows(self.windows)
        if "frames" in self.model_fields_set and self.frames != frames:
            raise UsageError(f"--windows {self.windows} has {frames} frames; leave --frames out")
        object.__setattr__(self, "frames", frames)
        return self

    @property
    def backbones(self) -> tuple[str, ...]:
        """Each of several; the name of an existing folder may hold commas."""
        if "," not in self.backbone or Path(self.backbone).exists():
            return (self.backbone,)
        return tuple(dict.fromkeys(name.strip() for name in self.backbone.split(",")))

    @property
    def sampling_rule(self) -> str:
        """Name of the sampling rule, with its suffix if short clips are padded."""
        from stepcli.cache.schema.padding import PAD

        if self.windows is not None:
            return parse_windows(self.windows)[1].name
        return self.sampling + PAD if self.short == "pad" else self.sampling

    @property
    def share(self) -> tuple[int, int]:
        """Rank and number of ranks: as given, else those of the SLURM step of this process."""
        if self.rank is not None and self.world_size is not None:
            return self.rank, self.world_size
        if "SLURM_PROCID" not in os.environ:
            return 0, 1
        return int(os.environ["SLURM_PROCID"]), int(os.environ.get("SLURM_NTASKS", "1"))
