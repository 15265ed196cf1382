"""What a user asked `stepcli extract` for."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stepcli.cache.spec import Dtype
from stepcli.extract.backbones.names import PREFIX, stored_name
from stepcli.extract.decode.views import ViewPlan
from stepcli.extract.decode.worker import Decoder
from stepcli.extract.engines.ray_engine import RayOptions
from stepcli.extract.sink import PartLimits


@dataclass(frozen=True, slots=True)
class ExtractionRequest:
    """What the user asked for; see `stepcli extract --help`."""

    dataset: str
    root: Path | None
    backbone: str
    frames: int
    options: Mapping[str, str] = field(default_factory=dict)
    """Of the data set."""
    store: Path | str | None = None
    """A folder, or the URL of an object store's prefix."""
    tokens: str = "grid4"
    sampling: str = "uniform"
    dtype: Dtype = "float16"
    format: Literal["zarr", "hdf5"] | None = None
    device: str = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    batch: int | None = None
    workers: int | None = None
    clip_seconds: float = 120.0
    limit: int | None = None
    retry_failed: bool = False
    preprocess: Literal["exact", "fast"] = "exact"
    layers: tuple[int, ...] = (-1,)
    views: ViewPlan = field(default_factory=ViewPlan)
    mirrors: Path | None = None
    """Pairs of classes that a flip swaps; a file called "none": it swaps none."""
    decoder: Decoder = "pyav"
    compiled: bool = False
    text: str | None = None
    """Text tower whose embeddings of the labels are stored beside the tokens."""
    prompts: Path | None = None
    units: Path | None = None
    rank: int = 0
    """Which share of the data set this process takes, from 0."""
    world_size: int = 1
    """In how many shares the data set is divided; all write into one store."""
    limits: PartLimits = field(default_factory=PartLimits)
    ray: RayOptions | None = None
    """Run on a Ray cluster instead of in this process."""


def default_store(request: ExtractionRequest) -> Path:
    """Where the tokens go when the user does not say."""
    backbone = stored_name(request.backbone)
    if backbone.startswith(PREFIX):
        backbone = "hf-" + backbone.removeprefix(PREFIX).rpartition("/")[2]
    tokens = request.tokens.replace(",", "+")
    name = f"{request.dataset}-{backbone}-{request.frames}f-{tokens}"
    return Path(os.environ.get("STEPCLI_STORES", "stores")) / name
