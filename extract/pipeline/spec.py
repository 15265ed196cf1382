"""What determines a run's tokens, and what is only recorded of it."""

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import av
import torch

from stepcli.cache.schema.spec import Dtype, Producer, StoreSpec
from stepcli.extract.backbones.base import Backbone
from stepcli.extract.backbones.token_selection import TokenSelection
from stepcli.extract.decode.views import ViewPlan
from stepcli.extract.pipeline.stages import Resources


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


def make_producer(
    backbone: Backbone, resources: Resources, dataset_code: Mapping[str, str]
) -> Producer:
    """What is recorded beside the tokens, and never a reason to refuse a store.

    Args:
        backbone: What made the tokens.
        resources: What it ran on.
        dataset_code: File or object of a data set from outside -> what identifies its code.
    """
    device = resources.device
    name = f"{device}: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else "cpu"
    packages = ["stepcli", "torch", "transformers", "av", "numpy", "pillow"]
    if resources.decoder == "torchcodec":
        packages.append("torchcodec")
    versions = {package: version(package) for package in packages} | dict(dataset_code)
    versions["libavcodec"] = ".".join(map(str, av.library_versions["libavcodec"]))
    versions["python"] = ".".join(map(str, sys.version_info[:3]))
    numerics = str(resources.dtype).removeprefix("torch.")
    return Producer(
        source=backbone.facts.source,
        device=name,
        numerics=f"{numerics}, compiled" if resources.compiled else numerics,
        versions=versions,
    )
