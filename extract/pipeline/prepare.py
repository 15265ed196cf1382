"""Everything that a run settles before it reads its first video."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

import av
import torch

from stepcli.cache.schema.padding import is_padded
from stepcli.cache.schema.spec import Dtype, Producer, StoreSpec
from stepcli.cache.store.store import Store
from stepcli.extract.backbones.base import Backbone, ClipBackbone
from stepcli.extract.backbones.load import load_backbone
from stepcli.extract.backbones.token_selection import TokenSelection, parse_tokens
from stepcli.extract.config import ExtractConfig
from stepcli.extract.datasets.registry import code_of
from stepcli.extract.decode.sampling import parse_sampling
from stepcli.extract.decode.torchcodec_video import load_torchcodec
from stepcli.extract.decode.views import ViewPlan, require_crops
from stepcli.extract.pipeline.clip_list import views_of
from stepcli.extract.pipeline.precision import Precision, choose_precision
from stepcli.runtime import threads
from stepcli.runtime.devices import resolve_device
from stepcli.runtime.errors import UsageError


@dataclass(frozen=True, slots=True)
class Resources:
    """How a run uses the machine; nothing here changes a token beyond rounding."""

    device: torch.device
    precision: str
    """Of the forward pass; "auto" until `settled`."""
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
    sampling, views = parse_sampling(config.sampling_rule), views_of(config)
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
        precision=config.precision,
        batch=config.batch or (16 if on_cpu else 256),
        # Metal runs one pass after another.
        passes={"cpu": threads.cores(), "mps": 1}.get(device.type, 2),
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
    name = str(device)
    if device.type == "cuda":
        name = f"{device}: {torch.cuda.get_device_name(device)}"
    packages = ["stepcli", "torch", "transformers", "av", "numpy", "pillow"]
    if config.decoder == "torchcodec":
        packages.append("torchcodec")
    versions = {package: version(package) for package in packages}
    versions |= code_of(config.dataset)
    versions["libavcodec"] = ".".join(map(str, av.library_versions["libavcodec"]))
    versions["python"] = ".".join(map(str, sys.version_info[:3]))
    numerics = resources.precision
    return Producer(
        source=backbone.facts.source,
        device=name,
        numerics=f"{numerics}, compiled" if config.compiled else numerics,
        versions=versions,
    )


def settled(prepared: Prepared, store: Store | None = None) -> tuple[Prepared, Precision]:
    """The same run with its arithmetic chosen, before the backbone moves to its device.

    Args:
        prepared: the run.
        store: that its clips go to; None: one that holds nothing yet.

    Raises:
        UsageError: the device has no such arithmetic.
        TrialOutOfMemory: memory ran out while a half precision was tried.
    """
    config, resources = prepared.config, prepared.resources
    chosen = choose_precision(config.precision, resources.device, prepared.backbone, store)
    resources = replace(resources, precision=chosen.name)
    producer = make_producer(prepared.backbone, resources, config)
    return replace(prepared, resources=resources, producer=producer), chosen
