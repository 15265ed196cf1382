"""Everything that a run settles before it reads its first video."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import av
import torch

from stepcli.cache.schema.padding import is_padded
from stepcli.cache.schema.spec import Dtype, Producer, StoreSpec
from stepcli.cache.schema.views import is_flip
from stepcli.extract.backbones.base import Backbone, ClipBackbone
from stepcli.extract.backbones.load import load_backbone
from stepcli.extract.backbones.token_selection import TokenSelection, parse_tokens
from stepcli.extract.config import ExtractConfig
from stepcli.extract.datasets.clip import Clip, Dataset
from stepcli.extract.datasets.recordings import recordings_of
from stepcli.extract.datasets.registry import code_of, load_dataset
from stepcli.extract.decode.sampling import parse_sampling
from stepcli.extract.decode.torchcodec_video import load_torchcodec
from stepcli.extract.decode.views import (
    ViewPlan,
    make_view_plan,
    mirror_labels,
    require_crops,
    with_views,
)
from stepcli.extract.sources.place import with_prefix
from stepcli.runtime import threads
from stepcli.runtime.csv_tables import read_csv
from stepcli.runtime.devices import resolve_device
from stepcli.runtime.errors import UsageError

NO_MIRRORS = Path("none")


@dataclass(frozen=True, slots=True)
class Resources:
    """How a run uses the machine; nothing here changes a token beyond rounding."""

    device: torch.device
    dtype: torch.dtype
    """Of the forward pass."""
    batch: int
    """Frames of one forward pass."""
    passes: int
    """Forward passes at once, one torch thread each."""
    workers: int
    """Decoder processes."""


@dataclass(frozen=True)
class Prepared:
    """What a process needs to extract any of a run's clips; made anew in each process."""

    config: ExtractConfig
    backbone: Backbone
    selection: TokenSelection
    spec: StoreSpec
    producer: Producer
    resources: Resources
    views: ViewPlan


def prepare(config: ExtractConfig) -> Prepared:
    """Load the backbone and settle everything that a run's tokens depend on.

    Raises:
        StepcliError: anything that the user can fix.
    """
    sampling, views = parse_sampling(config.sampling_rule), _views_of(config)
    resources = resources_of(config)
    if config.decoder == "torchcodec":
        load_torchcodec()
    backbone = load_backbone(config.backbone)
    if config.preprocess == "fast":
        backbone.preprocess_fast()
    if isinstance(backbone, ClipBackbone):
        backbone.require_frames(config.frames)
        if is_padded(sampling.name):
            raise UsageError(
                f"--short pad: tokens of {backbone.facts.name} depend on the whole clip, padding "
                "included; leave --short out"
            )
    if config.windows is not None:
        _require_windows(config, backbone)
    backbone.require_layers(config.layers)
    require_crops(views, backbone.facts.plan, backbone.facts.name)
    selection = parse_tokens(config.tokens, backbone.facts)
    spec = make_spec(
        backbone,
        selection,
        config.frames,
        sampling.name,
        config.dtype,
        layers=config.layers,
        views=views,
    )
    producer = make_producer(backbone, resources, config)
    return Prepared(config, backbone, selection, spec, producer, resources, views)


def _require_windows(config: ExtractConfig, backbone: Backbone) -> None:
    """Refuse options that have no meaning for windows of recordings.

    Raises:
        UsageError: naming them, or a backbone whose tokens cannot be shared between windows.
    """
    if backbone.facts.token_scope != "frame":
        raise UsageError(
            f"--windows: windows share the tokens of their frames, and tokens of "
            f"{backbone.facts.name} depend on the whole clip; use an image backbone"
        )
    others = {
        "--sampling": config.sampling != "uniform",
        "--short": config.short != "repeat",
        "--views": config.views != "center",
        "--train-views": config.train_views != 0,
        "--decoder": config.decoder != "pyav",
        "--engine": config.engine != "local",
        "--changed redo": config.changed == "redo",
    }
    if given := [flag for flag, is_set in others.items() if is_set]:
        raise UsageError(f"--windows does not go together with {', '.join(given)}; leave it out")


def resources_of(config: ExtractConfig) -> Resources:
    """How a run uses this machine: as its config says, else what suits the machine.

    Raises:
        UsageError: the device is not here.
    """
    device = resolve_device(config.device)
    on_cpu = device.type == "cpu"
    return Resources(
        device=device,
        dtype=getattr(torch, config.precision),
        batch=config.batch or (16 if on_cpu else 256),
        passes=threads.cores() if on_cpu else 2,
        # Decoders that are ahead of the backbone sleep, so a core for each costs nothing.
        workers=config.workers or min(32, threads.cores()),
    )


def make_spec(
    backbone: Backbone,
    selection: TokenSelection,
    frames: int,
    sampling: str,
    dtype: Dtype,
    *,
    layers: Sequence[int] = (-1,),
    views: ViewPlan | None = None,
) -> StoreSpec:
    """Everything that determines the tokens of this run."""
    facts = backbone.facts
    return StoreSpec(
        backbone=facts.name,
        weights_digest=backbone.weights_digest,
        code_digest=backbone.code_digest,
        layers=tuple(layers),
        segments=selection.segments,
        dim=facts.dim,
        frames=frames // facts.frames_per_token,
        sampling=sampling,
        token_scope=facts.token_scope,
        frames_per_token=facts.frames_per_token,
        preprocessing=facts.plan.to_spec() | (views or ViewPlan()).to_spec(),
        dtype=dtype,
    )


def make_producer(backbone: Backbone, resources: Resources, config: ExtractConfig) -> Producer:
    """What is recorded beside the tokens, and never a reason to refuse a store."""
    device = resources.device
    name = f"{device}: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else "cpu"
    packages = ["stepcli", "torch", "transformers", "av", "numpy", "pillow"]
    if config.decoder == "torchcodec":
        packages.append("torchcodec")
    versions = {package: version(package) for package in packages}
    versions |= code_of(config.dataset)
    versions["libavcodec"] = ".".join(map(str, av.library_versions["libavcodec"]))
    versions["python"] = ".".join(map(str, sys.version_info[:3]))
    numerics = str(resources.dtype).removeprefix("torch.")
    return Producer(
        source=backbone.facts.source,
        device=name,
        numerics=f"{numerics}, compiled" if config.compiled else numerics,
        versions=versions,
    )


def load_list(
    config: ExtractConfig,
) -> tuple[Dataset, tuple[Clip, ...], dict[str, str]]:
    """The data set; its clips that the run is about, with their views; class -> class of its flip.

    Raises:
        UsageError: pieces are missing, or flips cannot be labelled.
    """
    views = _views_of(config)
    dataset = load_dataset(config.dataset, config.root, config.options)
    if config.windows is not None:
        dataset = recordings_of(dataset)
    dataset = with_prefix(dataset, config.append)
    clips = spread(dataset.clips, config.limit)
    clips = with_views(clips, views, parse_sampling(config.sampling_rule))
    mirror_of: dict[str, str] = {}
    if any(is_flip(view) for clip in clips for view in clip.views):
        mirror_of = mirror_labels(dataset.classes, _mirrors(config.mirrors), dataset.name)
    return dataset, clips, mirror_of


def spread(clips: Sequence[Clip], limit: int | None) -> tuple[Clip, ...]:
    """At most `limit` clips, evenly over the list: every split and class keeps its share."""
    if limit is None or limit >= len(clips):
        return tuple(clips)
    return tuple(clips[i * len(clips) // limit] for i in range(limit))


def _views_of(config: ExtractConfig) -> ViewPlan:
    return make_view_plan(config.views, config.train_views, config.crop_seed, config.crop_min_area)


def _mirrors(file: Path | None) -> list[tuple[str, str]] | None:
    if file is None:
        return None
    if file == NO_MIRRORS:
        return []
    if not file.is_file():
        raise UsageError(f"--mirrors: there is no file {file}; expected a CSV, or the word none")
    return [(row["label"], row["mirror"]) for row in read_csv(file, ("label", "mirror"))]
