"""Real small inputs: videos whose frames carry their number, and models with random weights."""

import csv
import json
import os
import sys
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
import transformers

from stepcli.extract.config import ExtractConfig
from stepcli.extract.engines.run import run_extract

sys.path.insert(0, str(Path(__file__).parent))  # tests share plain_pixels.py

# Two cores are shared with everything else that runs: more threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)
transformers.utils.logging.set_verbosity_error()
av.logging.set_level(None)

BITS = 15
BLOCK = 16


def numbered_image(number: int, height: int = 64, width: int = 96) -> np.ndarray:
    """[height, width, 3] uint8 whose 16 x 16 blocks spell the number in black and white."""
    image = np.full((height, width, 3), 128, np.uint8)
    for bit in range(BITS):
        row, column = divmod(bit, width // BLOCK)
        value = 235 if number >> bit & 1 else 20
        image[row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK] = value
    return image


def number_of(image: np.ndarray) -> int:
    """The number that an image, compressed or not, spells."""
    number = 0
    for bit in range(BITS):
        row, column = divmod(bit, image.shape[1] // BLOCK)
        block = image[row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK]
        number |= int(block[4:-4, 4:-4].mean() > 128) << bit
    return number


def encode_video(
    path: Path,
    images: Iterable[np.ndarray],
    *,
    codec: str = "libx264",
    rate: int = 25,
    ticks: list[int] | None = None,
    options: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encode images [h, w, 3] uint8; `ticks` are their times in milliseconds, else 1/rate each."""
    settings = dict(options or {})
    if codec == "libx265":
        # Its pool of threads outlives an encoder, and once ended a test process in a segmentation
        # fault.
        params = [settings.get("x265-params", ""), "pools=none", "frame-threads=1", "log-level=1"]
        settings["x265-params"] = ":".join(filter(None, params))
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=settings)
        stream.pix_fmt = pix_fmt
        stream.codec_context.thread_count = 1
        if ticks is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, image in enumerate(images):
            if number == 0:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            if ticks is not None:
                frame.pts, frame.time_base = ticks[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def write_video() -> Callable[..., Path]:
    return encode_video


@pytest.fixture(scope="session")
def write_numbered() -> Callable[..., Path]:
    def write(path: Path, count: int, *, first: int = 0, **settings: Any) -> Path:
        images = (numbered_image(number) for number in range(first, first + count))
        return encode_video(path, images, **settings)

    return write


@pytest.fixture(scope="session")
def read_number() -> Callable[[np.ndarray], int]:
    return number_of


def _wake(model: torch.nn.Module) -> None:
    """Weights under which a deep convolutional net neither dies out nor ignores its input."""
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)


_SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def _letters() -> Any:
    """A CLIP tokenizer that knows nothing but single characters."""
    characters = [chr(code) for code in range(33, 127)]
    words = [*characters, *(f"{c}</w>" for c in characters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=[])


def _clip(t: Any) -> Any:
    tower = {**_SMALL, "intermediate_size": 64, "projection_dim": 16}
    vision = {**tower, "image_size": 64, "patch_size": 16}
    text = {**tower, "vocab_size": 190, "max_position_embeddings": 48, "eos_token_id": 189}
    return t.CLIPModel(t.CLIPConfig(vision_config=vision, text_config=text, projection_dim=16))


def _siglip(t: Any) -> Any:
    tower = {**_SMALL, "intermediate_size": 64}
    vision = {**tower, "image_size": 64, "patch_size": 16}
    text = {**tower, "vocab_size": 99, "max_position_embeddings": 16}
    return t.SiglipModel(t.SiglipConfig(vision_config=vision, text_config=text))


def _xclip(t: Any) -> Any:
    tower = {**_SMALL, "intermediate_size": 64}
    vision = {
        **tower,
        "image_size": 64,
        "patch_size": 16,
        "num_frames": 4,
        "mit_hidden_size": 32,
        "mit_intermediate_size": 64,
        "mit_num_hidden_layers": 1,
        "mit_num_attention_heads": 2,
    }
    text = {**tower, "vocab_size": 99, "max_position_embeddings": 16}
    return t.XCLIPModel(t.XCLIPConfig(vision_config=vision, text_config=text, projection_dim=32))


def _vjepa2(t: Any) -> Any:
    encoder = {"crop_size": 64, "patch_size": 16, "frames_per_clip": 4, "tubelet_size": 2}
    sizes = {"hidden_size": 48, "num_attention_heads": 2, "num_hidden_layers": 2}
    predictor = {"pred_hidden_size": 48, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
    return t.VJEPA2Model(t.VJEPA2Config(**encoder, **sizes, **predictor))


_SHORT = {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}}
_EXACT = {"size": {"height": 64, "width": 64}}
_VIT = {**_SMALL, "intermediate_size": 64, "image_size": 64, "patch_size": 16}
_DINO = {**_SMALL, "image_size": 64, "patch_size": 8}
_CONVNEXT = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
_STAGES = {"embedding_size": 8, **_CONVNEXT}
_PERCENT = {"size": {"shortest_edge": 64}, "crop_pct": 0.875}
_DINOV3_PIXELS = {
    "image_processor_type": "DINOv3ViTImageProcessorFast",
    "do_resize": True,
    "size": {"height": 64, "width": 64},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "do_center_crop": None,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}

SMALL_MODELS: dict[str, tuple[Callable[[Any], Any], str, dict[str, Any]]] = {
    "dinov2": (lambda t: t.Dinov2Model(t.Dinov2Config(**_DINO)), "Bit", _SHORT),
    "dinov2-registers": (
        lambda t: t.Dinov2WithRegistersModel(
            t.Dinov2WithRegistersConfig(**_DINO, num_register_tokens=3)
        ),
        "Bit",
        _SHORT,
    ),
    "clip": (_clip, "CLIP", _SHORT),
    "siglip": (_siglip, "Siglip", _EXACT),
    "vit": (lambda t: t.ViTModel(t.ViTConfig(**_VIT)), "ViT", _EXACT),
    "mae": (lambda t: t.ViTMAEModel(t.ViTMAEConfig(**_VIT)), "ViT", _EXACT),
    "deit": (
        lambda t: t.DeiTModel(t.DeiTConfig(**_VIT)),
        "DeiT",
        {"size": {"height": 72, "width": 72}, "crop_size": {"height": 64, "width": 64}},
    ),
    "dinov3": (
        lambda t: t.DINOv3ViTModel(
            t.DINOv3ViTConfig(**{**_VIT, "num_register_tokens": 4, "intermediate_size": 64})
        ),
        "",
        _DINOV3_PIXELS,
    ),
    "dinov3-convnext": (
        lambda t: t.DINOv3ConvNextModel(t.DINOv3ConvNextConfig(**_CONVNEXT)),
        "",
        _DINOV3_PIXELS,
    ),
    "beit": (lambda t: t.BeitModel(t.BeitConfig(**_VIT)), "Beit", _EXACT),
    "ijepa": (lambda t: t.IJepaModel(t.IJepaConfig(**_VIT)), "ViT", _EXACT),
    "regnet": (
        lambda t: t.RegNetModel(t.RegNetConfig(**_STAGES, groups_width=8)),
        "ConvNext",
        _PERCENT,
    ),
    "convnextv2": (
        lambda t: t.ConvNextV2Model(t.ConvNextV2Config(**_CONVNEXT)),
        "ConvNext",
        _PERCENT,
    ),
    "mobilenet_v1": (
        lambda t: t.MobileNetV1Model(t.MobileNetV1Config(depth_multiplier=0.25)),
        "MobileNetV1",
        _SHORT,
    ),
    "xclip": (_xclip, "VideoMAE", _SHORT),
    "vjepa2": (_vjepa2, "", {}),
    "videomae": (
        lambda t: t.VideoMAEModel(t.VideoMAEConfig(**_VIT, num_frames=4, tubelet_size=2)),
        "VideoMAE",
        _SHORT,
    ),
    "resnet": (
        lambda t: t.ResNetModel(t.ResNetConfig(**_STAGES, layer_type="basic")),
        "ConvNext",
        _PERCENT,
    ),
    "convnext": (
        lambda t: t.ConvNextModel(t.ConvNextConfig(**_CONVNEXT)),
        "ConvNext",
        _PERCENT,
    ),
    "mobilenet_v2": (
        lambda t: t.MobileNetV2Model(t.MobileNetV2Config(depth_multiplier=0.35)),
        "MobileNetV2",
        _SHORT,
    ),
}


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Family -> folder with a small model of random weights and its image processor."""
    home = tmp_path_factory.mktemp("models")

    def build(family: str) -> Path:
        folder = home / f"tiny-{family}"
        if not folder.exists():
            make, processor, settings = SMALL_MODELS[family]
            torch.manual_seed(0)
            model = make(transformers)
            _wake(model)
            model.save_pretrained(folder)
            if family == "clip":
                _letters().save_pretrained(folder)
            if processor:
                kind = getattr(transformers, f"{processor}ImageProcessorPil")
                kind(**settings).save_pretrained(folder)
            elif settings:  # a processor that exists for torchvision alone
                (folder / "preprocessor_config.json").write_text(json.dumps(settings))
        return folder

    return build


@pytest.fixture(scope="session")
def openclose_clips(project: Path) -> list[Path]:
    """A few of the bundled clips, of several classes."""
    clips = sorted((project / "examples" / "openclose" / "clips").glob("*/000.mp4"))
    assert len(clips) == 16
    return clips


@pytest.fixture
def clip_table(tmp_path: Path, openclose_clips: list[Path]) -> Path:
    """Ten of the bundled clips as a user's CSV."""
    table = tmp_path / "clips.csv"
    with table.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["id", "path", "label", "split", "group"])
        for i, path in enumerate(openclose_clips[:10]):
            writer.writerow([f"c{i}", path, path.parent.name, "train" if i < 6 else "test", i])
    return table


@pytest.fixture
def summaries() -> list[dict[str, Any]]:
    """What the runs of `extract` said for scripts, in order."""
    return []


@pytest.fixture
def extract(
    clip_table: Path,
    tmp_path: Path,
    model_folder: Callable[[str], Path],
    summaries: list[dict[str, Any]],
) -> Callable[..., int]:
    """Extract with a tiny model; keywords as of ExtractConfig."""

    def run(family: str = "dinov2", **changes: Any) -> int:
        settings: dict[str, Any] = {
            "dataset": "csv",
            "root": clip_table,
            "options": {},
            "store": tmp_path / "store",
            "backbone": f"hf:{model_folder(family)}",
            "frames": 4,
            "tokens": "grid2",
            "sampling": "uniform",
            "dtype": "float32",
            "format": None,
            "device": "cpu",
            "precision": "float32",
            "batch": None,
            "workers": 1,
            "clip_timeout": 60.0,
            "limit": None,
            "retry_failed": False,
        }
        code, summary = run_extract(ExtractConfig(**{**settings, **changes}))
        summaries.append(summary)
        return code

    return run
