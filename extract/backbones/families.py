"""How each family of transformers models lays out its tokens, told by its config alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Config = Any
"""A transformers PreTrainedConfig, of the vision tower where the model has several."""


@dataclass(frozen=True, slots=True)
class Family:
    """One `model_type`."""

    model: str
    """Class in transformers."""
    prefix: Callable[[Config], tuple[str, ...]] | None
    """Config -> names of the prefix tokens; None: the output is a feature map [n, D, h, w]."""
    stride: Callable[[Config], int]
    """Config -> pixels between neighbouring tokens."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """For from_pretrained: leave out the heads that only make an unused pooled output."""


def _no_prefix(config: Config) -> tuple[str, ...]:
    del config
    return ()


def _cls(config: Config) -> tuple[str, ...]:
    del config
    return ("cls",)


def _cls_and_registers(config: Config) -> tuple[str, ...]:
    return ("cls", *(f"register{i + 1}" for i in range(config.num_register_tokens)))


def _cls_and_distillation(config: Config) -> tuple[str, ...]:
    del config
    return ("cls", "distillation")


def _patch(config: Config) -> int:
    size = config.patch_size
    return int(size if isinstance(size, int) else size[0])


def _stages(config: Config) -> int:
    """A stem of stride 4, then each stage but the first halves the sides."""
    return int(4 * 2 ** (len(config.hidden_sizes) - 1))


def _thirty_two(config: Config) -> int:
    del config
    return 32


def _mobilenet(config: Config) -> int:
    return int(config.output_stride)


_CLIP = Family("CLIPVisionModel", _cls, _patch)
_SIGLIP = Family("SiglipVisionModel", _no_prefix, _patch)
_NO_POOLER = {"add_pooling_layer": False}

FAMILIES: Mapping[str, Family] = {
    "dinov2": Family("Dinov2Model", _cls, _patch),
    "dinov2_with_registers": Family("Dinov2WithRegistersModel", _cls_and_registers, _patch),
    "dinov3_vit": Family("DINOv3ViTModel", _cls_and_registers, _patch),
    # Its "CLS" is the mean over the map, put in front by the model itself.
    "dinov3_convnext": Family("DINOv3ConvNextModel", _cls, _stages),
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "vit": Family("ViTModel", _cls, _patch, _NO_POOLER),
    "vit_mae": Family("ViTMAEModel", _cls, _patch, {"mask_ratio": 0.0}),
    "deit": Family("DeiTModel", _cls_and_distillation, _patch, _NO_POOLER),
    "beit": Family("BeitModel", _cls, _patch, _NO_POOLER),
    "ijepa": Family("IJepaModel", _no_prefix, _patch, _NO_POOLER),
    "resnet": Family("ResNetModel", None, _thirty_two),
    "regnet": Family("RegNetModel", None, _thirty_two),
    "convnext": Family("ConvNextModel", None, _stages),
    "convnextv2": Family("ConvNextV2Model", None, _stages),
    "mobilenet_v1": Family("MobileNetV1Model", None, _thirty_two, _NO_POOLER),
    "mobilenet_v2": Family("MobileNetV2Model", None, _mobilenet, _NO_POOLER),
}
