"""Stage 1 on a GPU: what each part does alone, the pipeline, and the usual way.

Called by `benchmarks/gpu.py`. Models have random weights of their real sizes, so nothing is
fetched; clips are the bundled ones. With --tiny everything is small enough for a CPU.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
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

from stepcli.extract.backbones.base import Backbone
from stepcli.extract.backbones.load import load_backbone
from stepcli.extract.config import ExtractConfig
from stepcli.extract.datasets.registry import load_dataset
from stepcli.extract.pipeline.clip_list import spread
from stepcli.extract.pipeline.prepare import resources_of
from stepcli.runtime.threads import cores

GRID = 4
PRECISIONS = ("float32", "tf32", "bfloat16")


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
    end: float,
    keep: Callable[[list[Rates]], None],
) -> list[Rates]:
    """Every size in each precision, sides interleaved; prints and keeps a line each.

    After `end` (time.monotonic) no size, precision or repeat is begun.
    """
    found: list[Rates] = []
    many = load_dataset("openclose", None, {}).clips
    chosen = [replace(many[i % len(many)], id=str(i)) for i in range(clips)]
    chosen = list(spread(many, 16)) if tiny else chosen
    resources = resources_of(ExtractConfig(dataset="openclose", device=str(device)))
    some = chosen[: max(4, clips // 8)]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        numbers = iter(range(10_000))
        for size in sizes:
            source = place / size
            name = random_dinov2(size, source)
            for precision in PRECISIONS if device.type == "cuda" else ("float32", "bfloat16"):
                if time.monotonic() > end:
                    return found
                setting = Setting(GRID, replace(resources, precision=precision))
                backbone = load_backbone(name)
                if device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats(device)

                def once(
                    backbone: Backbone = backbone,
                    setting: Setting = setting,
                    source: Path = source,
                ) -> list[float]:
                    sides: list[Callable[[], float]] = [
                        lambda: decode_only(chosen, backbone, setting),
                        lambda: backbone_only(2 if tiny else 16, backbone, setting),
                        lambda: pipeline(chosen, backbone, place / f"s{next(numbers)}", setting),
                        lambda: usual_way(some, source, place, cores(), setting),
                    ]
                    return [side() for side in sides]

                rounds = [once()]
                while len(rounds) < repeats and time.monotonic() < end:
                    rounds.append(once())
                decode, forward, whole, usual = map(statistics.median, zip(*rounds, strict=True))
                peak = (
                    torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0
                )
                rates = Rates(size, precision, decode, forward, whole, usual, peak)
                found.append(rates)
                print(describe(rates), flush=True)
                keep(found)
    return found


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
