"""What a user asked `stepcli extract` for."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stepcli.cache.schema.spec import Dtype
from stepcli.cache.store.locate import stores_folder
from stepcli.extract.backbones.names import PREFIX, stored_name
from stepcli.extract.choices import WhenChanged
from stepcli.extract.decode.views import ViewPlan
from stepcli.extract.decode.worker import Decoder
from stepcli.runtime.code_files import plain_name

LONGEST_FOLDER = 40
"""Characters of a root's name in the name of a store."""
DIGEST_DIGITS = 8


@dataclass(frozen=True, slots=True)
class PartLimits:
    """A part of the store is closed, and safe from a crash, at the first of three limits."""

    clips: int = 4096
    seconds: float = 300.0
    megabytes: int = 1024
    generation: int = 0
    """Of the parts: above those of clips that are extracted again."""


@dataclass(frozen=True, slots=True)
class RayOptions:
    """How a run uses a cluster; None: what suits its nodes."""

    address: str | None = None
    """None: RAY_ADDRESS, else a cluster of this machine alone."""
    workers: int | None = None
    """At most so many."""
    cpus: float | None = None
    gpus: float | None = None


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
    changed: WhenChanged = WhenChanged.refuse
    """What becomes of stored clips whose sources are other ones now."""
    check_sources: bool = False
    """Take the digest of every stored clip's video, not only where size or time differ."""
    append: str = ""
    """Put before the ids, for a data set that shares another one's store."""
    prune: bool = False
    """Take stored clips that the list does not name out of training."""
    dry_run: bool = False
    """Only say what would be done."""
    ray: RayOptions | None = None
    """Run on a Ray cluster instead of in this process."""


def default_store(request: ExtractionRequest, root: Path | None) -> Path:
    """Where the tokens go when the user does not say.

    Args:
        request: what is to be stored.
        root: folder of the data set; None for clips that ship with stepcli, wherever they lie.
    """
    name = unrooted_name(request)
    if root is not None:
        folder = re.sub(r"[^A-Za-z0-9._-]+", "_", root.name)[:LONGEST_FOLDER] or "root"
        digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:DIGEST_DIGITS]
        name += f"-{folder}-{digest}"
    return stores_folder() / name


def unrooted_name(request: ExtractionRequest) -> str:
    """What earlier versions called the store of any root; now the beginning of its name."""
    backbone = plain_name(stored_name(request.backbone))
    if backbone.startswith(PREFIX):
        backbone = "hf-" + backbone.removeprefix(PREFIX).rstrip("/").rpartition("/")[2]
    tokens = request.tokens.replace(",", "+")
    return f"{plain_name(request.dataset)}-{backbone}-{request.frames}f-{tokens}"
