"""MobileNetV2 (arXiv 1801.04381, table 2), features only.

The same network, with the same names of weights, as transformers' MobileNetV2Model with
`tf_padding=False, hidden_act="relu6", layer_norm_eps=1e-5, finegrained_output=True`; a test holds
the two equal. Written out because importing transformers' model code takes three seconds, and the
bundled backbone is what everybody starts with.
"""

from types import SimpleNamespace

from torch import Tensor, nn

# Expansion, channels, repetitions, stride of the first; the stem holds the (1, 16, 1, 1) before.
BLOCKS = (
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
CHANNELS = 1280


class ConvolutionLayer(nn.Module):
    """Convolution, batch normalisation and, unless it is linear, ReLU6."""

    def __init__(
        self, into: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1, linear: bool
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            into, out, kernel, stride, padding=kernel // 2, groups=groups, bias=False
        )
        self.normalization = nn.BatchNorm2d(out, eps=1e-5)
        self.activation = nn.Identity() if linear else nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        """[n, C, rows, columns] -> the next feature map."""
        result: Tensor = self.activation(self.normalization(self.convolution(x)))
        return result


class Stem(nn.Module):
    """A strided convolution, and the one block that does not expand."""

    def __init__(self) -> None:
        super().__init__()
        self.first_conv = ConvolutionLayer(3, 32, 3, stride=2, linear=False)
        self.conv_3x3 = ConvolutionLayer(32, 32, 3, groups=32, linear=False)
        self.reduce_1x1 = ConvolutionLayer(32, 16, 1, linear=True)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3, rows, columns] -> [n, 16, rows / 2, columns / 2]."""
        result: Tensor = self.reduce_1x1(self.conv_3x3(self.first_conv(x)))
        return result


class InvertedResidual(nn.Module):
    """Expand, filter each channel, reduce; added to the input where shapes allow."""

    def __init__(self, into: int, out: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = into * expansion
        self.expand_1x1 = ConvolutionLayer(into, wide, 1, linear=False)
        self.conv_3x3 = ConvolutionLayer(wide, wide, 3, stride=stride, groups=wide, linear=False)
        self.reduce_1x1 = ConvolutionLayer(wide, out, 1, linear=True)
        self._residual = stride == 1 and into == out

    def forward(self, x: Tensor) -> Tensor:
        """[n, C, rows, columns] -> the next feature map."""
        result: Tensor = self.reduce_1x1(self.conv_3x3(self.expand_1x1(x)))
        return x + result if self._residual else result


class MobileNetV2(nn.Module):
    """[n, 3, height, width] -> a result with `last_hidden_state` [n, 1280, height / 32, ...]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = Stem()
        layers = []
        into = 16
        for expansion, out, count, stride in BLOCKS:
            for i in range(count):
                layers.append(InvertedResidual(into, out, expansion, stride if i == 0 else 1))
                into = out
        self.layer = nn.ModuleList(layers)
        self.conv_1x1: nn.Module = ConvolutionLayer(into, CHANNELS, 1, linear=False)

    def forward(self, pixels: Tensor) -> SimpleNamespace:
        """Named as transformers' models name it."""
        x = self.conv_stem(pixels)
        for layer in self.layer:
            x = layer(x)
        return SimpleNamespace(last_hidden_state=self.conv_1x1(x))
