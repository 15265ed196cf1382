"""Frozen convolutional nets, made quicker without changing what they compute.

transformers' nets name a layer's parts `convolution`, `normalization` and `activation`.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_POINTWISE = {nn.ReLU6: ("hardtanh", [0.0, 6.0]), nn.ReLU: ("relu", [])}


def fold_normalisation(model: nn.Module) -> None:
    """Fold each frozen batch normalisation into the convolution before it, in place.

    The same arithmetic up to rounding (1e-5 of the tokens' RMS), with one pass over the
    activations less a layer.
    """
    for module in model.modules():
        convolution = getattr(module, "convolution", None)
        normalisation = getattr(module, "normalization", None)
        if isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d):
            module.convolution = fuse_conv_bn_eval(convolution, normalisation)
            module.normalization = nn.Identity()


def join_activations(model: nn.Module) -> None:
    """Let each convolution apply the ReLU that directly follows it, in place.

    On a CPU that is one pass over the activations less a layer, and bit for bit the same.
    """
    for module in model.modules():
        convolution = getattr(module, "convolution", None)
        activation = getattr(module, "activation", None)
        if (
            isinstance(convolution, nn.Conv2d)
            and isinstance(getattr(module, "normalization", None), nn.Identity)
            and isinstance(activation, nn.ReLU6 | nn.ReLU)
            and type(activation) in _POINTWISE
            and convolution.padding_mode == "zeros"
        ):
            module.convolution = ActivatedConvolution(convolution, activation)
            module.activation = nn.Identity()


class ActivatedConvolution(nn.Module):
    """A convolution and its ReLU; oneDNN does both at once for float32 on a CPU."""

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution
        self.activation = activation
        # A padding that depends on the input's size (TensorFlow's) looks at these.
        self.stride, self.dilation = convolution.stride, convolution.dilation
        self.kernel_size = convolution.kernel_size
        self._name, self._limits = _POINTWISE[type(activation)]
        # The operator is torch's own (its compiler emits it), though it has no public name.
        self._joint = hasattr(torch.ops.mkldnn, "_convolution_pointwise")

    def forward(self, x: Tensor) -> Tensor:
        """[n, C, rows, columns] -> activated feature map."""
        layer = self.convolution
        if not (self._joint and x.device.type == "cpu" and x.dtype == torch.float32):
            result: Tensor = self.activation(layer(x))
            return result
        joint: Tensor = torch.ops.mkldnn._convolution_pointwise(
            *(x, layer.weight, layer.bias, layer.padding, layer.stride, layer.dilation),
            *(layer.groups, self._name, self._limits, ""),
        )
        return joint
