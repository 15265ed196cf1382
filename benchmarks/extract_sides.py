"""Sides of the benchmarks of stage one: its stages alone, the pipeline, and the usual script."""

import platform
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
from stepcli.runtime.threads import use_one_thread_a_pass

FRAMES = 16
SIZES: dict[str, dict[str, int]] = {
    "dinov2-small": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6},
    "dinov2-base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    "dinov2-large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
    "tiny": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
}


@dataclass(frozen=True, slots=True)
class Setting:
    """What all sides of a comparison share."""

    grid: int
    """Patches are averaged to grid x grid per frame."""
    resources: Resources

    @property
    def tokens(self) -> str:
        """What is stored of each frame."""
        return f"grid{self.grid}"


def on_cpu(grid: int = 2) -> Setting:
    """As many decoders and passes as the machine has cores, in float32."""
    config = ExtractConfig(dataset="openclose", device="cpu", precision="float32")
    return Setting(grid, resources_of(config))


def random_dinov2(size: str, folder: Path) -> str:
    """A DINOv2 of this size with random weights, and its usual processor."""
    torch.manual_seed(0)
    config = transformers.Dinov2Config(image_size=518, patch_size=14, **SIZES[size])
    transformers.Dinov2Model(config).save_pretrained(folder)
    transformers.BitImageProcessorPil(
        size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}
    ).save_pretrained(folder)
    return f"hf:{folder}"


def decode_only(clips: list[Clip], backbone: Backbone, setting: Setting) -> float:
    """Clips a second of the decoders alone, from their first clip on."""
    workers = setting.resources.workers
    settings = DecodeSettings(backbone.facts.plan, "uniform", FRAMES)
    with DecodePool(settings, workers=workers, slots=8 * workers, clip_seconds=60) as pool:
        results = pool.decode(clips)
        first: Any = next(results)  # the processes' start is not decoding
        first.release()
        started = time.perf_counter()
        for result in results:
            if isinstance(result, Failure):
                raise SystemExit(f"{result.path}: {result.message}")
            result.release()
        return (len(clips) - 1) / (time.perf_counter() - started)


def backbone_only(batches: int, backbone: Backbone, setting: Setting) -> float:
    """Clips a second of forward passes on frames in memory, copies to and from a GPU included."""
    resources = setting.resources
    forward = BackboneRunner(
        backbone,
        parse_tokens(setting.tokens, backbone.facts),
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


def pipeline(clips: list[Clip], backbone: Backbone, folder: Path, setting: Setting) -> float:
    """Clips a second of the whole stage, start of the decoders and last commit included."""
    resources = setting.resources
    selection = parse_tokens(setting.tokens, backbone.facts)
    spec = make_spec(backbone, selection, FRAMES, "uniform", "float16")
    store = create_store(folder, spec, dataset="benchmark")
    config = ExtractConfig(dataset="openclose")
    started = time.perf_counter()
    with ExtractionProgress(len(clips), 0) as progress:
        producer = make_producer(backbone, resources, config)
        prepared = Prepared(config, backbone, selection, spec, producer, resources, ViewPlan())
        extract_clips(clips, store, prepared, progress)
    return len(clips) / (time.perf_counter() - started)


def usual_way(
    clips: list[Clip], source: Path | None, folder: Path, threads: int, setting: Setting
) -> float:
    """One video at a time, as most scripts do it: PyAV, image processor, model, np.save.

    Args:
        clips: what to extract.
        source: folder of a transformers model; None: the bundled MobileNetV2 in their class.
        folder: where the tokens go.
        threads: torch's.
        setting: whose device and precision the model has.
    """
    resources = setting.resources
    torch.set_num_threads(threads)
    use_exact_float32(tf32=resources.precision == "tf32")
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
    plain.to(resources.device, dtype_of(resources.precision))
    started = time.perf_counter()
    for number, clip in enumerate(clips):
        with av.open(str(clip.path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        images = [Image.fromarray(frames[index]) for index in uniform(len(frames), FRAMES)]
        pixels = processor(images=images, return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            shown = pixels.to(resources.device, dtype_of(resources.precision))
            output = plain(shown).last_hidden_state
            if output.ndim == 3:
                side = int((output.shape[1] - 1) ** 0.5)
                output = output[:, 1:].transpose(1, 2).unflatten(2, (side, side))
            tokens = torch.nn.functional.adaptive_avg_pool2d(output.float(), setting.grid)
        np.save(folder / f"{number}.npy", tokens.half().cpu().numpy())
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
