"""Stage 1 on a GPU: what each part does alone, the pipeline, and the usual way.

Called by `benchmarks/gpu.py`. Models have random weights of their real sizes, so nothing is
fetched; clips are the bundled ones. With --tiny everything is small enough for a CPU.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import transformers
from PIL import Image

from stepcli.cache import create_store
from stepcli.cache.schema.clips import Failure
from stepcli.extract.backbones.base import Backbone
from stepcli.extract.backbones.load import load_backbone
from stepcli.extract.backbones.token_selection import parse_tokens
from stepcli.extract.config import ExtractConfig
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.datasets.registry import load_dataset
from stepcli.extract.decode.pool import DecodePool
from stepcli.extract.decode.process import DecodeSettings
from stepcli.extract.decode.sampling import uniform
from stepcli.extract.decode.views import ViewPlan
from stepcli.extract.pipeline.backbone_runner import BackboneRunner
from stepcli.extract.pipeline.clip_list import spread
from stepcli.extract.pipeline.precision import dtype_of
from stepcli.extract.pipeline.prepare import (
    Prepared,
    Resources,
    make_producer,
    make_spec,
    resources_of,
)
from stepcli.extract.pipeline.progress import ExtractionProgress
from stepcli.extract.pipeline.stages import extract_clips
from stepcli.runtime.devices import use_exact_float32
from stepcli.runtime.threads import cores, use_one_thread_a_pass

FRAMES = 16
TOKENS = "cls,grid4"
SIZES: dict[str, dict[str, int]] = {
    "dinov2-small": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6},
    "dinov2-base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    "dinov2-large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
    "tiny": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
}


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


def random_model(size: str, folder: Path) -> Path:
    """A DINOv2 of this size with random weights, and its usual processor."""
    torch.manual_seed(0)
    config = transformers.Dinov2Config(image_size=518, patch_size=14, **SIZES[size])
    transformers.Dinov2Model(config).save_pretrained(folder)
    transformers.BitImageProcessorPil(
        size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}
    ).save_pretrained(folder)
    return folder


def decode_only(clips: list[Clip], backbone: Backbone, resources: Resources) -> float:
    """Clips a second of the decoders alone, from their first clip on."""
    settings = DecodeSettings(backbone.facts.plan, "uniform", FRAMES)
    slots = 4 * resources.workers
    with DecodePool(settings, workers=resources.workers, slots=slots, clip_seconds=60) as pool:
        results = pool.decode(clips)
        first: Any = next(results)
        first.release()
        started = time.perf_counter()
        for result in results:
            if isinstance(result, Failure):
                raise SystemExit(f"{result.path}: {result.message}")
            result.release()
        return (len(clips) - 1) / (time.perf_counter() - started)


def backbone_only(batches: int, backbone: Backbone, resources: Resources) -> float:
    """Clips a second of forward passes on frames in memory, both copies included."""
    selection = parse_tokens(TOKENS, backbone.facts)
    forward = BackboneRunner(
        backbone,
        selection,
        device=resources.device,
        dtype=dtype_of(resources.precision),
        tf32=resources.precision == "tf32",
        batch=resources.batch,
    )
    plan = backbone.facts.plan
    shape = (resources.batch, plan.height, plan.width, 3)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8)
    with ThreadPoolExecutor(resources.passes, initializer=use_one_thread_a_pass) as threads:
        list(threads.map(forward.frames, [frames] * resources.passes))
        started = time.perf_counter()
        list(threads.map(forward.frames, [frames] * batches))
        seconds = time.perf_counter() - started
    return batches * resources.batch / FRAMES / seconds


def pipeline(clips: list[Clip], backbone: Backbone, folder: Path, resources: Resources) -> float:
    """Clips a second of the whole stage, start of the decoders and last commit included."""
    selection = parse_tokens(TOKENS, backbone.facts)
    spec = make_spec(backbone, selection, FRAMES, "uniform", "float16")
    store = create_store(folder, spec, dataset="benchmark")
    started = time.perf_counter()
    with ExtractionProgress(len(clips), 0) as progress:
        config = ExtractConfig(dataset="openclose")
        producer = make_producer(backbone, resources, config)
        prepared = Prepared(config, backbone, selection, spec, producer, resources, ViewPlan())
        extract_clips(clips, store, prepared, progress)
    return len(clips) / (time.perf_counter() - started)


def usual_way(clips: list[Clip], source: Path, folder: Path, resources: Resources) -> float:
    """One video at a time: PyAV to RGB, image processor, model on the device, np.save."""
    torch.set_num_threads(cores())
    use_exact_float32(tf32=resources.precision == "tf32")
    model = transformers.AutoModel.from_pretrained(source).eval()
    model.to(resources.device, dtype_of(resources.precision))
    processor = transformers.AutoImageProcessor.from_pretrained(source, backend="pil")
    started = time.perf_counter()
    for number, clip in enumerate(clips):
        with av.open(str(clip.path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        images = [Image.fromarray(frames[index]) for index in uniform(len(frames), FRAMES)]
        pixels = processor(images=images, return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            shown = pixels.to(resources.device, dtype_of(resources.precision))
            output = model(shown).last_hidden_state
            patches = output[:, 1:].transpose(1, 2)
            side = int(patches.shape[2] ** 0.5)
            grid = torch.nn.functional.adaptive_avg_pool2d(
                patches.unflatten(2, (side, side)).float(), 4
            )
        np.save(folder / f"{number}.npy", grid.half().cpu().numpy())
    rate = len(clips) / (time.perf_counter() - started)
    use_one_thread_a_pass()
    return rate


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
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        numbers = iter(range(10_000))
        for size in sizes:
            source = random_model(size, place / size)
            for precision in PRECISIONS if device.type == "cuda" else ("float32", "bfloat16"):
                if time.monotonic() > end:
                    return found
                setting = replace(resources, precision=precision)
                backbone = load_backbone(f"hf:{source}")
                if device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats(device)

                def once(
                    backbone: Backbone = backbone,
                    setting: Resources = setting,
                    source: Path = source,
                ) -> list[float]:
                    sides: list[Callable[[], float]] = [
                        lambda: decode_only(chosen, backbone, setting),
                        lambda: backbone_only(2 if tiny else 16, backbone, setting),
                        lambda: pipeline(chosen, backbone, place / f"s{next(numbers)}", setting),
                        lambda: usual_way(chosen[: max(4, clips // 8)], source, place, setting),
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
