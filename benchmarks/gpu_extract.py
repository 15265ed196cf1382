"""Stage 1 on a GPU: what each part does alone, the pipeline, and the usual way.

Called by `benchmarks/gpu.py`. Models have random weights of their real sizes, so nothing is
fetched; clips are the bundled ones. With --tiny everything is small enough for a CPU.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import torch
from extract_sides import (
    Setting,
    backbone_only,
    decode_only,
    pipeline,
    random_dinov2,
    usual_way,
)

from stepcli.extract.backbones.load import load_backbone
from stepcli.extract.config import ExtractConfig
from stepcli.extract.datasets.registry import load_dataset
from stepcli.extract.pipeline.clip_list import spread
from stepcli.extract.pipeline.prepare import resources_of
from stepcli.runtime.threads import cores

GRID = 4
PIPELINE_SECONDS = 10
CUDA, CPU = ("float32", "tf32", "bfloat16"), ("float32", "bfloat16")
"""Precisions of each."""


@dataclass(frozen=True)
class Rates:
    """Clips a second of one model at one precision; medians."""

    model: str
    precision: str
    decode: float
    backbone: float
    pipeline: float
    usual: float
    peak_gpu_mib: float

    @property
    def bound(self) -> float:
        """The stages have devices of their own: the slower one alone is the bound."""
        return min(self.decode, self.backbone)


def measure(
    device: torch.device,
    *,
    tiny: bool,
    repeats: int,
    clips: int,
    sizes: list[str],
    precisions: Sequence[str],
    end: float,
    keep: Callable[[list[Rates]], None],
) -> list[Rates]:
    """Every size in each precision once, then all of them again, sides side by side in each.

    A run that is cut off so loses repeats before it loses models. Prints and keeps a line for each.
    After `end` (time.monotonic) none is begun.
    """
    many = load_dataset("openclose", None, {}).clips
    chosen = [replace(many[i % len(many)], id=str(i)) for i in range(clips)]
    chosen = list(spread(many, 16)) if tiny else chosen
    resources = resources_of(ExtractConfig(dataset="openclose", device=str(device)))
    rounds: dict[tuple[str, str], list[list[float]]] = {}
    peaks: dict[tuple[str, str], float] = {}
    found: list[Rates] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        names = {size: random_dinov2(size, place / size) for size in sizes}
        for repeat, size, precision in product(range(repeats), sizes, precisions):
            if time.monotonic() > end:
                break
            setting = Setting(GRID, replace(resources, precision=precision))
            backbone = load_backbone(names[size])
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            store = place / f"{size}-{precision}-{repeat}"
            cell = size, precision
            decode = decode_only(chosen[: max(4, clips // 2)], backbone, setting)
            forward = backbone_only(2 if tiny else 16, backbone, setting)
            # Long enough that the start of the decoders' processes is a small part of it.
            seconds_worth = int(PIPELINE_SECONDS * min(decode, forward))
            whole = pipeline(chosen[: max(len(many), seconds_worth)], backbone, store, setting)
            usual = usual_way(chosen[: 4 if tiny else 64], place / size, place, cores(), setting)
            rounds.setdefault(cell, []).append([decode, forward, whole, usual])
            if device.type == "cuda":
                peaks[cell] = torch.cuda.max_memory_allocated(device) / 2**20
            found = [median_of(*each, done, peaks.get(each, 0.0)) for each, done in rounds.items()]
            print(describe(median_of(*cell, rounds[cell], peaks.get(cell, 0.0))), flush=True)
            keep(found)
    return found


def median_of(model: str, precision: str, rounds: list[list[float]], peak: float) -> Rates:
    """Of each side over its rounds."""
    decode, backbone, whole, usual = map(statistics.median, zip(*rounds, strict=True))
    return Rates(model, precision, decode, backbone, whole, usual, peak)


def describe(rates: Rates) -> str:
    """One line for people."""
    return (
        f"{rates.model:13} {rates.precision:9} decode {rates.decode:8.1f}  backbone "
        f"{rates.backbone:8.1f}  pipeline {rates.pipeline:8.1f}  usual way {rates.usual:8.1f} "
        f"clips/s;  pipeline / slower stage {rates.pipeline / rates.bound:.2f},  "
        f"/ usual way {rates.pipeline / rates.usual:.2f};  GPU peak {rates.peak_gpu_mib:.0f} MiB"
    )


def as_json(found: list[Rates]) -> str:
    """All of it for scripts."""
    return json.dumps([asdict(rates) for rates in found])
