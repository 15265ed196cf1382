"""Backbones whose tokens depend on the whole clip, for comparison with frame-wise ones.

Shuffling, reversing or cutting their stored tokens is not the same as doing so to the video; the
spec records it (`token_scope: clip`), and the probe stage refuses it.
"""

from typing import Any

import torch
import transformers
from torch import Tensor

from stepcli.extract.backbones.base import (
    Backbone,
    BackboneFacts,
    ClipBackbone,
    FrameTokens,
    check_facts,
    digest_weights,
)
from stepcli.extract.backbones.processor import plan_of, require_same_pixels
from stepcli.extract.decode.preprocess import PixelPlan
from stepcli.runtime.errors import UsageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class CrossFrameClip(ClipBackbone):
    """X-CLIP's encoder (ECCV 2022): CLIP whose frames exchange messages, in groups."""

    def __init__(self, facts: BackboneFacts, model: Any, weights_digest: str) -> None:
        super().__init__(facts, model, weights_digest)
        self.call_frames = model.config.num_frames

    def tokens(self, pixels: Tensor) -> FrameTokens:
        """pixels: [clips, frames, 3, height, width] -> tokens of clips * frames steps."""
        sequence = self.model(pixels.flatten(0, 1)).last_hidden_state
        rows, columns = self.facts.grid
        return FrameTokens(
            sequence[:, :1], sequence[:, 1:].reshape(len(sequence), rows, columns, -1)
        )


class TubeletModel(ClipBackbone):
    """VideoMAE and V-JEPA 2: a token spans two frames and one patch; there is no CLS token."""

    def __init__(self, facts: BackboneFacts, model: Any, weights_digest: str) -> None:
        super().__init__(facts, model, weights_digest)
        # VideoMAE's positions are a table for its number of frames; V-JEPA 2's rotate freely.
        self._fixed = model.config.model_type == "videomae"
        self.call_frames = model.config.num_frames if self._fixed else facts.frames_per_token

    def require_frames(self, frames: int) -> None:
        """See `ClipBackbone.require_frames`."""
        super().require_frames(frames)
        if self._fixed and frames != self.call_frames:
            raise UsageError(
                f"backbone {self.facts.name} takes clips of {self.call_frames} frames; "
                f"found --frames {frames}"
            )

    def tokens(self, pixels: Tensor) -> FrameTokens:
        """pixels: [clips, frames, 3, height, width] -> tokens of clips * frames / 2 steps."""
        if self._fixed:
            sequence = self.model(pixels).last_hidden_state
        else:
            sequence = self.model(pixels, skip_predictor=True).last_hidden_state
        rows, columns = self.facts.grid
        steps = len(pixels) * pixels.shape[1] // self.facts.frames_per_token
        patches = sequence.reshape(steps, rows, columns, -1)
        return FrameTokens(patches.new_empty(steps, 0, patches.shape[-1]), patches)


KINDS: dict[str, tuple[str, type[ClipBackbone]]] = {
    "xclip": ("XCLIPModel", CrossFrameClip),
    "xclip_vision_model": ("XCLIPVisionModel", CrossFrameClip),
    "videomae": ("VideoMAEModel", TubeletModel),
    "vjepa2": ("VJEPA2Model", TubeletModel),
}
"""model_type -> class in transformers, class here."""


def build(
    name: str,
    source: str,
    config: Any,
    place: str,
    revision: str | None,
    safetensors: bool | None,
) -> tuple[Any, Any]:
    """Load the model; returns a function from its weights' report to the backbone, and the report.

    Kept apart from the image models because preprocessing is each family's own.
    """
    model_class, kind = KINDS[config.model_type]
    model, report = getattr(transformers, model_class).from_pretrained(
        place,
        revision=revision,
        trust_remote_code=False,
        use_safetensors=safetensors,
        dtype=torch.float32,
        output_loading_info=True,
    )
    if config.model_type == "xclip":
        # The vision class alone does not find its weights in a checkpoint of both towers.
        model = model.vision_model
    vision = model.config
    plan = _plan(config.model_type, vision, place, revision)
    cross_frame = kind is CrossFrameClip
    tubelet = 1 if cross_frame else int(vision.tubelet_size)

    def finish() -> Backbone:
        facts = BackboneFacts(
            name=name,
            source=source,
            plan=plan,
            dim=vision.hidden_size,
            grid=(plan.height // vision.patch_size, plan.width // vision.patch_size),
            prefix=("cls",) if cross_frame else (),
            token_scope="clip",
            frames_per_token=tubelet,
        )
        backbone = kind(facts, model, digest_weights(model))
        check_facts(backbone, backbone.call_frames)
        return backbone

    return finish, report


def _plan(model_type: str, vision: Any, place: str, revision: str | None) -> PixelPlan:
    if model_type == "videomae":
        processor = transformers.AutoImageProcessor.from_pretrained(
            place, revision=revision, trust_remote_code=False, backend="pil"
        )
        plan = plan_of(processor)
        require_same_pixels(plan, processor)
        return plan
    # X-CLIP: its processor's mean and std have changed between releases, so they are set as its
    # authors trained it. V-JEPA 2: its processor needs torchvision, and does just this. Both
    # resize the short side to 256/224 of the crop.
    cross_frame = model_type.startswith("xclip")
    side = int(vision.image_size if cross_frame else vision.crop_size)
    return PixelPlan(
        resize_short=int(side * 256 / 224),
        resize_height=0,
        resize_width=0,
        resample="bicubic" if cross_frame else "bilinear",
        crop_height=side,
        crop_width=side,
        scale=1 / 255,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
