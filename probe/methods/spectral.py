"""A learned spectral filter over time: frames to frequencies, a weight per frequency, and back.

Source: after Ponbagavathi et al., "Frame2Freq: Spectral Adapters for Fine-Grained Video
Understanding", arXiv 2602.18977; th-nesh/Frame2Freq, models_adapter.TemporalFreqAdapter. Weights
per frequency: Rao et al., "Global Filter Networks", arXiv 2107.00645.

    u_t = P x_t,   U = DFT(u),   y = DFT^-1(g * U),   z_t = u_t + W2 GELU(W1 y_t + b1) + b2
    logits = W mean_t z_t + b

x_t is the mean token of frame t; g is complex, one number per frequency and channel.

From Frame2Freq: channels are projected first, a DFT over time, learned filters per channel, the
inverse DFT, a residual. Deviations: it is an adapter in every layer of a backbone that learns with
it; here the backbone is frozen and its last tokens are stored, so it is one block on the frames'
mean tokens. There a depthwise convolution, whose 3 taps all frequencies share, runs over
frequencies, height and width, beside a convolution over time, in windows of T, T/2 and T/4 frames.
Taps that all frequencies share select none, and in place of the network behind them there is only a
mean over time: so here each frequency has a weight, and an MLP is between filter and mean.
Frames are padded with as many zeros, so that the last is no neighbour of the first; one window of
any length takes the place of three whose lengths must divide. A missing frame is zero.
"""

import math
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Generator, Tensor

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.layers import StackedFeedForward, StackedLinear, normal
from stepcli.probe.nn.pooling import PooledProbe, PoolOptions
from stepcli.runtime.device_copies import DeviceConstant


class SpectralOptions(PoolOptions):
    """Pooling and widths."""

    width: int = Field(128, ge=1, description="channels that a frame is projected to")
    hidden: int = Field(128, ge=1, description="width of the MLP's hidden layer")


def waves(frames: int) -> list[DeviceConstant]:
    """The real DFT of T frames and T zeros as matrices, cosines and sines, [T + 1, T] each, and
    what each frequency adds to the way back, [T + 1, 1].

    Written out because ONNX has no complex numbers.
    """
    angles = torch.arange(frames + 1)[:, None] * torch.arange(frames) * (math.pi / frames)
    # Each frequency but the first and the last also represents its negative one.
    once = torch.full((frames + 1, 1), 1 / frames)
    once[0] = once[-1] = 1 / (2 * frames)
    return [DeviceConstant(values) for values in (angles.cos(), -angles.sin(), once)]


def filtered(x: Tensor, gains: Tensor, waves: Sequence[DeviceConstant]) -> Tensor:
    """Weigh the frequencies of x [K, B, T, R] by complex gains [K, 2, T + 1, R]; the same shape."""
    cosines, sines, once = (each.on(x.device, x.dtype) for each in waves)
    real, imaginary = (torch.einsum("ft,kbtr->kbfr", w, x) for w in (cosines, sines))
    by_real, by_imaginary = gains[:, 0, None], gains[:, 1, None]
    kept = once * (real * by_real - imaginary * by_imaginary)
    turned = once * (real * by_imaginary + imaginary * by_real)
    return torch.einsum("ft,kbfr->kbtr", cosines, kept) + torch.einsum(
        "ft,kbfr->kbtr", sines, turned
    )


class Spectral(PooledProbe):
    """K spectral filters, each with its MLP and linear layer."""

    def __init__(
        self, layout: TokenLayout, classes: int, options: SpectralOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        self.project = StackedLinear(layout.dim, options.width, generator)
        # White: a filter begins as a random response over all frames before and after.
        self.gains = normal(1.0, (2, layout.frames + 1, options.width), generator)
        self._waves = waves(layout.frames)
        self.mix = StackedFeedForward(options.width, options.hidden, generator, init="torch")
        self.head = StackedLinear(options.width, classes, generator)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        frames = batch.without_missing(self.project.shared(self.frame_means(batch)))
        mixed = frames + self.mix(filtered(frames, self.gains, self._waves))
        logits: Tensor = self.head(batch.mean_over_frames(mixed))
        return logits


INFOS = (
    ProbeInfo(
        "spectral",
        Spectral,
        SpectralOptions,
        "spectral filter over time, after Frame2Freq, arXiv 2602.18977",
        order_aware=True,
        lr=3e-3,
    ),
)
