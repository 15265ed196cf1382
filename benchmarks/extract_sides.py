"""Sides of the benchmarks of stage one: its stages alone, the pipeline, and the usual script."""

import platform
import time
from concurrent.futures import ThreadPoolExecutor
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
from stepcli.extract.backbones.token_selection import parse_tokens
from stepcli.extract.config import ExtractConfig
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.decode.pool import DecodePool
from stepcli.extract.decode.process import DecodeSettings
from stepcli.extract.decode.sampling import uniform
from stepcli.extract.decode.views import ViewPlan
from stepcli.extract.pipeline.backbone_runner import BackboneRunner
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
    model: torch.nn.Module = transformers.MobileNetV2Model(config, add_pooling_layer=False)
    values = [value for name, value in state.items() if not name.startswith("classifier.")]
    model.load_state_dict(dict(zip(model.state_dict(), values, strict=True)))
    return model.eval()


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
