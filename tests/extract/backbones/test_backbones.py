"""Tokens equal the plain transformers call, for every family, on real frames."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from stepcli.extract.backbones.base import (
    ClipBackbone,
    digest_weights,
)
from stepcli.extract.backbones.families import FAMILIES
from stepcli.extract.backbones.load import load_backbone
from stepcli.extract.backbones.names import BACKBONES, source_of
from stepcli.extract.backbones.processor import normalise
from stepcli.extract.backbones.token_selection import parse_tokens
from stepcli.extract.decode.orientation import shrunk, upright
from stepcli.extract.pipeline.backbone_runner import BackboneRunner
from stepcli.runtime.errors import UsageError

# Prefix tokens and grid at 64 pixels (the models of conftest.py).
EXPECTED: dict[str, tuple[tuple[str, ...], tuple[int, int]]] = {
    "dinov2": (("cls",), (8, 8)),
    "dinov2-registers": (("cls", "register1", "register2", "register3"), (8, 8)),
    "clip": (("cls",), (4, 4)),
    "siglip": ((), (4, 4)),
    "vit": (("cls",), (4, 4)),
    "mae": (("cls",), (4, 4)),
    "deit": (("cls", "distillation"), (4, 4)),
    "dinov3": (("cls", "register1", "register2", "register3", "register4"), (4, 4)),
    "resnet": ((), (2, 2)),
    "convnext": ((), (2, 2)),
    "mobilenet_v2": ((), (2, 2)),
    "dinov3-convnext": (("cls",), (2, 2)),
    "beit": (("cls",), (4, 4)),
    "ijepa": ((), (4, 4)),
    "regnet": ((), (2, 2)),
    "convnextv2": ((), (2, 2)),
    "mobilenet_v1": ((), (2, 2)),
}
FEATURE_MAPS = {"resnet", "convnext", "mobilenet_v2", "regnet", "convnextv2", "mobilenet_v1"}


@pytest.fixture(scope="module")
def frames(openclose_clips: list[Path]) -> np.ndarray:
    """[6, 224, 224, 3] uint8 from six real clips."""
    images = []
    for path in openclose_clips[:6]:
        with av.open(str(path)) as container:
            images.append(next(container.decode(video=0)).to_ndarray(format="rgb24"))
    return np.stack(images)


def plain_tokens(family: str, folder: Path, frames: np.ndarray) -> torch.Tensor:
    """What transformers gives by itself: AutoImageProcessor on PIL images, then the model."""
    if family.startswith("dinov3"):  # its own processor needs torchvision: the same steps by hand
        processor = transformers.ViTImageProcessorPil(
            size={"height": 64, "width": 64},
            image_mean=[0.485, 0.456, 0.406],
            image_std=[0.229, 0.224, 0.225],
        )
    else:
        processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    pixels = processor([Image.fromarray(frame) for frame in frames], return_tensors="pt")
    kinds = {"clip": "CLIPVisionModel", "siglip": "SiglipVisionModel"}
    kind = getattr(transformers, kinds.get(family, "AutoModel"))
    options: dict[str, Any] = {}
    if family == "mae":
        noise = torch.arange(16.0).expand(len(frames), -1)
        model = kind.from_pretrained(folder, mask_ratio=0.0).eval()
        options = {"noise": noise}
    else:
        model = kind.from_pretrained(folder).eval()
    with torch.inference_mode():
        output: torch.Tensor = model(**pixels, **options).last_hidden_state
    return output.flatten(2).transpose(1, 2) if output.ndim == 4 else output


@pytest.mark.parametrize("family", EXPECTED)
def test_tokens_are_those_of_the_plain_call(
    family: str, model_folder: Callable[[str], Path], frames: np.ndarray
) -> None:
    folder = model_folder(family)
    backbone = load_backbone(f"hf:{folder}")
    assert (backbone.facts.prefix, backbone.facts.grid) == EXPECTED[family]
    plan = backbone.facts.plan
    shaped = torch.from_numpy(np.stack([plan.shape_pixels(frame) for frame in frames]))
    selection = parse_tokens("full", backbone.facts)
    forward = BackboneRunner(
        backbone, selection, device=torch.device("cpu"), dtype=torch.float32, batch=4
    )
    ours = torch.from_numpy(forward.frames(shaped))
    theirs = plain_tokens(family, folder, frames)
    assert ours.shape == theirs.shape
    # Rounding of the normalisation, and of the folded batch norm: 1e-4 of the tokens' RMS.
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.square().mean().sqrt()


SEQUENCES = [family for family in EXPECTED if family not in {*FEATURE_MAPS, "dinov3-convnext"}]


@pytest.mark.parametrize("family", SEQUENCES)
def test_layers_are_the_models_own_hidden_states(
    family: str, model_folder: Callable[[str], Path]
) -> None:
    backbone = load_backbone(f"hf:{model_folder(family)}")
    backbone.require_layers((-2, -1))
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"output_hidden_states": True}
    if family == "mae":
        options["noise"] = torch.arange(16.0).expand(2, -1)
    with torch.inference_mode():
        first, last = backbone.layers(pixels, (-2, -1))
        hidden = backbone.model(pixels, **options).hidden_states
        expected = backbone.tokens(pixels)
    assert len(hidden) == 3  # embeddings and two blocks
    prefix = len(backbone.facts.prefix)
    assert torch.equal(first.prefix, hidden[1][:, :prefix])
    assert torch.equal(first.patches.flatten(1, 2), hidden[1][:, prefix:])
    assert torch.equal(last.patches, expected.patches)
    assert not torch.equal(first.patches, last.patches)


@pytest.fixture(scope="module")
def large_frames(frames: np.ndarray) -> list[av.VideoFrame]:
    """Four of 896 x 1120, as a decoder gives them: real ones side by side, with detail to lose."""
    tiles = np.concatenate([frames, frames[:, :, ::-1], frames[:, ::-1]])  # 18 of 224 x 224
    mosaics = []
    for i in range(4):
        chosen = tiles[np.random.default_rng(i).integers(0, len(tiles), (4, 5))]
        image = chosen.transpose(0, 2, 1, 3, 4).reshape(896, 1120, 3)
        mosaics.append(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p"))
    return mosaics


@pytest.mark.parametrize("family", [*EXPECTED, "xclip", "videomae", "vjepa2"])
def test_fast_preprocessing_gives_nearly_the_same_tokens(
    family: str, model_folder: Callable[[str], Path], large_frames: list[av.VideoFrame]
) -> None:
    backbone = load_backbone(f"hf:{model_folder(family)}")
    plan = backbone.facts.plan
    forward = BackboneRunner(
        backbone,
        parse_tokens("full", backbone.facts),
        device=torch.device("cpu"),
        dtype=torch.float32,
        batch=4,
    )

    def pixels(images: list[np.ndarray]) -> np.ndarray:
        return np.stack([plan.shape_pixels(image) for image in images])

    def tokens(shaped: np.ndarray) -> torch.Tensor:
        frames = torch.from_numpy(shaped)
        clip = backbone.facts.token_scope == "clip"
        found = forward.clips(frames[None]) if clip else forward.frames(frames)
        return torch.from_numpy(found).flatten(end_dim=-2)

    def likeness(other: torch.Tensor) -> float:
        return float(torch.nn.functional.cosine_similarity(exact, other).mean())

    shown = pixels([upright(frame) for frame in large_frames])
    exact = tokens(shown)
    fast = tokens(pixels([shrunk(frame, plan.resized) for frame in large_frames]))
    assert not torch.equal(exact, fast)
    # How much random weights make of little depends on the model and on the pictures, so the
    # measure is noise: pixels off by up to 3 levels of 255.
    noise = np.random.default_rng(0).integers(-3, 4, shown.shape)
    noisy = tokens(np.clip(shown.astype(np.int64) + noise, 0, 255).astype(np.uint8))
    assert likeness(fast) >= likeness(noisy)
    assert likeness(fast) >= 0.95


def clips_of(family: str, pixels: torch.Tensor, folder: Path) -> torch.Tensor:
    """The plain call of a video model on [clips, 4, 3, 64, 64]."""
    if family == "xclip":
        model = transformers.XCLIPModel.from_pretrained(folder).vision_model.eval()
        output: torch.Tensor = model(pixels.flatten(0, 1)).last_hidden_state
        return output
    model = transformers.AutoModel.from_pretrained(folder).eval()
    options = {"skip_predictor": True} if family == "vjepa2" else {}
    output = model(pixels, **options).last_hidden_state
    return output.reshape(2 * len(pixels), -1, output.shape[-1])


@pytest.mark.parametrize(
    ("family", "steps", "prefix"),
    [("xclip", 4, ("cls",)), ("videomae", 2, ()), ("vjepa2", 2, ())],
)
def test_video_backbones_take_whole_clips(
    family: str,
    steps: int,
    prefix: tuple[str, ...],
    model_folder: Callable[[str], Path],
    frames: np.ndarray,
) -> None:
    folder = model_folder(family)
    backbone = load_backbone(f"hf:{folder}")
    facts = backbone.facts
    assert (facts.token_scope, facts.frames_per_token) == ("clip", 4 // steps)
    assert (facts.prefix, facts.grid) == (prefix, (4, 4))
    shaped = np.stack([facts.plan.shape_pixels(frame) for frame in frames])
    clips = torch.from_numpy(np.stack([shaped[:4], shaped[2:]]))
    forward = BackboneRunner(
        backbone,
        parse_tokens("full", facts),
        device=torch.device("cpu"),
        dtype=torch.float32,
        batch=8,
    )
    ours = torch.from_numpy(forward.clips(clips)).flatten(0, 1)
    pixels = torch.from_numpy(
        np.stack([[normalise(frame.numpy(), facts.plan) for frame in clip] for clip in clips])
    )
    with torch.inference_mode():
        theirs = clips_of(family, pixels, folder)
    assert ours.shape == (2 * steps, len(prefix) + 16, facts.dim)
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.square().mean().sqrt()


def test_video_backbones_refuse_frames_that_they_cannot_take(
    model_folder: Callable[[str], Path],
) -> None:
    for family, wrong in (("xclip", 6), ("videomae", 8), ("vjepa2", 5)):
        backbone = load_backbone(f"hf:{model_folder(family)}")
        assert isinstance(backbone, ClipBackbone)
        backbone.require_frames(4)
        with pytest.raises(UsageError, match=f"found --frames {wrong}"):
            backbone.require_frames(wrong)


def test_the_digest_follows_the_weights_alone(model_folder: Callable[[str], Path]) -> None:
    first, second = (load_backbone(f"hf:{model_folder('vit')}") for _ in range(2))
    assert first.weights_digest == second.weights_digest
    next(second.model.parameters()).data.view(-1)[0] += 1e-3
    assert digest_weights(second.model) != first.weights_digest


def test_every_short_name_has_a_source() -> None:
    for name, entry in BACKBONES.items():
        assert entry.source
        assert source_of(name) == entry.repository


def test_every_family_is_a_class_of_transformers() -> None:
    for family in FAMILIES.values():
        assert hasattr(transformers, family.model)
