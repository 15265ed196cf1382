"""Any vision model that transformers knows, from the hub or from a folder; never remote code."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformers
from torch import Tensor

from stepcli.extract.backbones import video_models
from stepcli.extract.backbones.base import (
    Backbone,
    BackboneError,
    BackboneFacts,
    FeatureMapBackbone,
    FrameTokens,
    check_facts,
    digest_weights,
)
from stepcli.extract.backbones.failures import TIMM, loading_errors
from stepcli.extract.backbones.families import FAMILIES
from stepcli.extract.backbones.hub import require_cached_or_reachable
from stepcli.extract.backbones.processor import plan_of, require_same_pixels
from stepcli.extract.decode.preprocess import PixelPlan

_DINOV3_DEFAULTS = {
    "do_resize": True,
    "size": {"height": 224, "width": 224},
    "resample": 2,
    "do_center_crop": False,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": (0.485, 0.456, 0.406),
    "image_std": (0.229, 0.224, 0.225),
}


class SequenceBackbone(Backbone):
    """A model whose output is a sequence: prefix tokens, then the patches row by row."""

    def tokens(self, pixels: Tensor) -> FrameTokens:
        """See `Backbone.tokens`."""
        return self._apart(self.run(pixels).last_hidden_state)

    def layers(self, pixels: Tensor, layers: Sequence[int]) -> list[FrameTokens]:
        """See `Backbone.layers`."""
        if tuple(layers) == (-1,):
            return [self.tokens(pixels)]
        output = self.run(pixels, output_hidden_states=True)
        # hidden_states begins with the embeddings; its last entry lacks the final normalisation.
        return [
            self._apart(output.last_hidden_state if layer == -1 else output.hidden_states[layer])
            for layer in layers
        ]

    def run(self, pixels: Tensor, **options: Any) -> Any:
        """The model's output for [n, 3, height, width]: a sequence of P + rows * columns."""
        return self.model(pixels, **options)

    def _apart(self, sequence: Tensor) -> FrameTokens:
        prefix = len(self.facts.prefix)
        rows, columns = self.facts.grid
        patches = sequence[:, prefix:].reshape(len(sequence), rows, columns, -1)
        return FrameTokens(sequence[:, :prefix], patches)


class MaskedAutoencoder(SequenceBackbone):
    """MAE masks and shuffles by noise; rising noise keeps every patch at its place."""

    def run(self, pixels: Tensor, **options: Any) -> Any:
        """See `SequenceBackbone.run`."""
        rows, columns = self.facts.grid
        noise = torch.arange(rows * columns, device=pixels.device, dtype=torch.float32)
        return self.model(pixels, noise=noise.expand(len(pixels), -1), **options)


def load_hf(name: str, source: str, *, pickled: bool = False) -> Backbone:
    """Load a model and its image processor.

    Args:
        name: how the spec is to call it.
        source: folder, or repository on the hub, perhaps with "@revision".
        pickled: whether weights may be read from a .bin file (by torch's unpickler for tensors
            alone) where there is no safetensors file.

    Raises:
        BackboneError: missing, gated, offline, incomplete weights, unknown family; a configuration,
            image processor or weights that do not fit each other.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    place, revision = split_source(source)
    with loading_errors(f"backbone {name}", place):
        require_cached_or_reachable(place, revision)
        config = transformers.AutoConfig.from_pretrained(
            place, revision=revision, trust_remote_code=False
        )
        require_plain_rgb(config)
        commit = getattr(config, "_commit_hash", None)
        origin = f"{place}@{commit}" if commit else place
        builder = video_models.build if config.model_type in video_models.KINDS else _build
        finish, report = builder(name, origin, config, place, revision, None if pickled else True)
        if report["missing_keys"]:
            missing = sorted(report["missing_keys"])
            raise BackboneError(
                f"backbone {name}: {place} lacks {len(missing)} of the model's weights "
                f"(e.g. {missing[0]}); give a complete checkpoint"
            )
        backbone: Backbone = finish()
        return backbone


def require_plain_rgb(config: Any) -> None:
    """Refuse what a configuration asks for and stepcli does not do.

    Raises:
        BackboneError: a timm model, other images than RGB, or code for its attention.
    """
    vision = getattr(config, "vision_config", config)
    if config.model_type == "timm_wrapper":
        raise BackboneError(TIMM)
    channels = getattr(vision, "num_channels", 3)
    if channels != 3:
        raise BackboneError(f"its config has num_channels {channels}; expected 3, RGB images")
    attention = getattr(config, "_attn_implementation", None)
    if attention is not None and "/" in str(attention):
        raise BackboneError(
            f"its configuration names code for attention ({attention}), which is not executed; "
            "remove attn_implementation from config.json"
        )


def _build(
    name: str,
    origin: str,
    config: Any,
    place: str,
    revision: str | None,
    safetensors: bool | None,
) -> tuple[Callable[[], Backbone], Any]:
    """Load an image model; returns what makes the backbone of it, and the report on its weights."""
    family = FAMILIES.get(config.model_type)
    if family is None:
        known = ", ".join((*FAMILIES, *video_models.KINDS))
        raise BackboneError(
            f"backbone {name}: models of type {config.model_type!r} are not known here; "
            f"known: {known}"
        )
    plan = _plan(config, place, revision)
    model, report = getattr(transformers, family.model).from_pretrained(
        place,
        revision=revision,
        trust_remote_code=False,
        use_safetensors=safetensors,
        dtype=torch.float32,
        output_loading_info=True,
        **family.options,
    )

    def finish() -> Backbone:
        vision = getattr(model.config, "vision_config", model.config)
        stride = family.stride(vision)
        facts = BackboneFacts(
            name=name,
            source=origin,
            plan=plan,
            dim=_channels(vision),
            # Convolutions round up, patch embeddings drop the remainder.
            grid=(
                (-(-plan.height // stride), -(-plan.width // stride))
                if family.prefix is None
                else (plan.height // stride, plan.width // stride)
            ),
            prefix=family.prefix(vision) if family.prefix else (),
            # DINOv3's ConvNeXt is a sequence whose stages differ in width: its last layer only.
            depth=int(getattr(vision, "num_hidden_layers", 0)) if family.prefix else 0,
        )
        kind = FeatureMapBackbone if family.prefix is None else SequenceBackbone
        if config.model_type == "vit_mae":
            kind = MaskedAutoencoder
        backbone = kind(facts, model, digest_weights(model))
        check_facts(backbone)
        return backbone

    return finish, report


def _plan(config: Any, place: str, revision: str | None) -> PixelPlan:
    if config.model_type.startswith("dinov3"):
        # Its processor exists for torchvision alone, and resizes floats where PIL rounds to whole
        # levels, twice. The plan is read off its file, so that a store's pixels are the same on
        # machines with torchvision and without.
        values, _ = transformers.ImageProcessingMixin.get_image_processor_dict(
            place, revision=revision
        )
        return plan_of(SimpleNamespace(**{**_DINOV3_DEFAULTS, **values}))
    processor = transformers.AutoImageProcessor.from_pretrained(
        place, revision=revision, trust_remote_code=False, backend="pil", config=config
    )
    plan = plan_of(processor)
    require_same_pixels(plan, processor)
    return plan


def split_source(source: str) -> tuple[str, str | None]:
    """ "repository@revision" -> both; a folder has no revision."""
    if Path(source).is_dir():
        return source, None
    place, _, revision = source.partition("@")
    return place, revision or None


def _channels(config: Any) -> int:
    kind = getattr(config, "model_type", "")
    if kind == "mobilenet_v1":
        return max(int(1024 * config.depth_multiplier), int(config.min_depth))
    if kind == "mobilenet_v2":
        return int(1280 * max(1.0, config.depth_multiplier))
    sizes = getattr(config, "hidden_sizes", None)
    return int(sizes[-1] if sizes else config.hidden_size)
