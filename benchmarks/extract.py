"""Stage one on real clips: what each stage could do alone, the pipeline, and the usual way.

    python benchmarks/extract.py [--clips 384] [--repeats 2] [--backbone bundled|dinov2-small]
    python benchmarks/extract.py --memory --backbone tiny     # peak memory at 100 and 2,000 clips

Prints rates and ratios:
- decode only: the decoder pool on all cores with nothing behind it, from its first clip on;
- backbone only: the same forward passes on all cores, on frames that are in memory already;
- bound: both stages share the cores, so a clip costs what it costs in each of them, one after the
  other: 1 / (1 / decode rate + 1 / backbone rate) is the most that any pipeline can reach;
- pipeline: `stepcli.extract.pipeline.stages.extract_clips` into a fresh store, the start of the
  decoders and the last part's commit included;
- the usual way: one video at a time, PyAV to RGB, image processor, model, np.save, at each of the
  thread counts (torch's), the fastest of which counts.
Sides are interleaved and medians compared, so that a busy moment does not favour one of them.
"""

import argparse
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
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
from stepcli.extract.pipeline.prepare import (
    Prepared,
    make_producer,
    make_spec,
    resources_of,
)
from stepcli.extract.pipeline.progress import ExtractionProgress
from stepcli.extract.pipeline.stages import extract_clips
from stepcli.runtime.threads import cores, use_one_thread_a_pass

FRAMES = 16
TOKENS = "grid2"


SIZES = {"dinov2-small": (384, 12, 6), "tiny": (32, 1, 2)}
"""Channels, layers, heads."""


def random_dinov2(size: str, folder: Path) -> str:
    """A DINOv2 of this size with random weights, and its usual processor."""
    torch.manual_seed(0)
    channels, layers, heads = SIZES[size]
    config = transformers.Dinov2Config(
        hidden_size=channels,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=518,
        patch_size=14,
    )
    transformers.Dinov2Model(config).save_pretrained(folder)
    transformers.BitImageProcessorPil(
        size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}
    ).save_pretrained(folder)
    return f"hf:{folder}"


def decode_only(clips: list[Clip], backbone: Backbone) -> float:
    """Clips a second of the decoders alone."""
    settings = DecodeSettings(backbone.facts.plan, "uniform", FRAMES)
    with DecodePool(settings, workers=cores(), slots=8 * cores(), clip_seconds=60) as pool:
        results = pool.decode(clips)
        first: Any = next(results)  # the processes' start is not decoding
        first.release()
        started = time.perf_counter()
        for result in results:
            if isinstance(result, Failure):
                raise SystemExit(f"{result.path}: {result.message}")
            result.release()
        return (len(clips) - 1) / (time.perf_counter() - started)


def backbone_only(count: int, backbone: Backbone) -> float:
    """Clips a second of the forward passes alone."""
    selection = parse_tokens(TOKENS, backbone.facts)
    device = torch.device("cpu")
    forward = BackboneRunner(backbone, selection, device=device, dtype=torch.float32, batch=FRAMES)
    plan = backbone.facts.plan
    frames = torch.randint(0, 256, (FRAMES, plan.height, plan.width, 3), dtype=torch.uint8)
    with ThreadPoolExecutor(cores(), initializer=use_one_thread_a_pass) as threads:
        list(threads.map(forward.frames, [frames] * cores()))
        started = time.perf_counter()
        list(threads.map(forward.frames, [frames] * count))
        return count / (time.perf_counter() - started)


def pipeline(clips: list[Clip], backbone: Backbone, folder: Path) -> float:
    """Clips a second of the whole stage, from the first clip asked for to the last committed."""
    selection = parse_tokens(TOKENS, backbone.facts)
    spec = make_spec(backbone, selection, FRAMES, "uniform", "float16")
    store = create_store(folder, spec, dataset="benchmark")
    config = ExtractConfig(dataset="openclose", device="cpu", precision="float32")
    resources = resources_of(config)
    started = time.perf_counter()
    with ExtractionProgress(len(clips), 0) as progress:
        producer = make_producer(backbone, resources, config)
        prepared = Prepared(config, backbone, selection, spec, producer, resources, ViewPlan())
        extract_clips(clips, store, prepared, progress)
    return len(clips) / (time.perf_counter() - started)


def usual_way(clips: list[Clip], source: Path | None, folder: Path, threads: int) -> float:
    """One video at a time, as most scripts do it."""
    torch.set_num_threads(threads)
    if source is None:
        plain = load_plain_bundled()
        processor: Any = transformers.CLIPImageProcessorPil(
            size={"shortest_edge": 224},
            resample=2,
            image_mean=[0.485, 0.456, 0.406],
            image_std=[0.229, 0.224, 0.225],
        )
    else:
        plain = transformers.AutoModel.from_pretrained(source).eval()
        processor = transformers.AutoImageProcessor.from_pretrained(source, backend="pil")
    started = time.perf_counter()
    for number, clip in enumerate(clips):
        with av.open(str(clip.path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        images = [Image.fromarray(frames[index]) for index in uniform(len(frames), FRAMES)]
        pixels = processor(images=images, return_tensors="pt")
        with torch.inference_mode():
            output = plain(**pixels).last_hidden_state
            if output.ndim == 3:
                side = int((output.shape[1] - 1) ** 0.5)
                output = output[:, 1:].transpose(1, 2).unflatten(2, (side, side))
            tokens = torch.nn.functional.adaptive_avg_pool2d(output, 2)
        np.save(folder / f"{number}.npy", tokens.half().numpy())
    rate = len(clips) / (time.perf_counter() - started)
    use_one_thread_a_pass()
    return rate


def load_plain_bundled() -> torch.nn.Module:
    """The bundled weights in transformers' own class, as it comes."""
    from stepcli.extract.backbones.bundled import weights_path

    state = torch.load(weights_path(), weights_only=True)
    config = transformers.MobileNetV2Config(
        tf_padding=False, hidden_act="relu6", layer_norm_eps=1e-5, finegrained_output=True
    )
    model = transformers.MobileNetV2Model(config, add_pooling_layer=False)
    values = [value for name, value in state.items() if not name.startswith("classifier.")]
    model.load_state_dict(dict(zip(model.state_dict(), values, strict=True)))
    return model.eval()


def median_of(repeats: int, *sides: Callable[[], float]) -> list[float]:
    """Each side's median rate over interleaved runs."""
    rates: list[list[float]] = [[] for _ in sides]
    for _ in range(repeats):
        for side, measured in zip(sides, rates, strict=True):
            measured.append(side())
    return [statistics.median(measured) for measured in rates]


def measure_memory(backbone: Backbone) -> None:
    """Peak resident memory of this process after 100 and after 2,000 clips."""
    clips = load_dataset("openclose", None, {}).clips
    with tempfile.TemporaryDirectory() as place:
        peaks = []
        for count in (100, 2000):
            many = [replace(clips[i % len(clips)], id=str(i)) for i in range(count)]
            pipeline(many, backbone, Path(place) / str(count))
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(
        f"peak memory: {peaks[0]:.0f} MiB after 100 clips, {peaks[1]:.0f} MiB after 2,000 more: "
        f"ratio {peaks[1] / peaks[0]:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=384)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--backbone", choices=["bundled", *SIZES], default="bundled")
    parser.add_argument("--memory", action="store_true")
    given = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    transformers.utils.logging.set_verbosity_error()
    if "MALLOC_ARENA_MAX" not in os.environ:
        # What `stepcli extract` does before its first thread (stepcli.runtime.memory); here
        # libraries have been imported already. The usual way profits from it too.
        kept = {
            "MALLOC_ARENA_MAX": "1",
            "MALLOC_MMAP_MAX_": "0",
            "MALLOC_TRIM_THRESHOLD_": str(2**31),
        }
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | kept)
    use_one_thread_a_pass()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        source = None if given.backbone == "bundled" else place / "model"
        backbone = load_backbone(
            "mobilenet_v2-bundled" if source is None else random_dinov2(given.backbone, source)
        )
        if given.memory:
            measure_memory(backbone)
            return
        clips = list(spread(load_dataset("openclose", None, {}).clips, given.clips))
        numbers = iter(range(10_000))

        def decoding() -> float:
            return decode_only(clips, backbone)

        def passes() -> float:
            return backbone_only(max(8, given.clips // 4), backbone)

        def ours() -> float:
            return pipeline(clips, backbone, place / f"store{next(numbers)}")

        def theirs(threads: int) -> Callable[[], float]:
            return lambda: usual_way(clips, source, place, threads)

        counts = sorted({1, cores()})
        sides = (decoding, passes, ours, *(theirs(count) for count in counts))
        decode_rate, forward_rate, rate, *usual = median_of(given.repeats, *sides)
    bound = 1 / (1 / decode_rate + 1 / forward_rate)
    print(f"{given.backbone}, {len(clips)} clips of {FRAMES} frames, {cores()} cores; " + machine())
    print(f"decode only      {decode_rate:8.2f} clips/s")
    print(f"backbone only    {forward_rate:8.2f} clips/s")
    print(f"bound            {bound:8.2f} clips/s   1 / (1 / decode only + 1 / backbone only)")
    print(f"pipeline         {rate:8.2f} clips/s")
    for count, value in zip(counts, usual, strict=True):
        print(f"the usual way    {value:8.2f} clips/s   at {count} threads")
    print(f"pipeline / bound               {rate / bound:.2f}")
    print(f"pipeline / usual way           {rate / max(usual):.2f}")


def machine() -> str:
    """What a kept result must say."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    names = ("stepcli", "torch", "transformers", "av")
    return ", ".join([cpu, *(f"{name} {version(name)}" for name in names)])


if __name__ == "__main__":
    main()
