"""LiFT: a chirality descriptor, trained to draw the frames as a straight line, and a linear layer.

Source: Bagad & Zisserman, "Chirality in Action: Time-Aware Video Representation Learning by Latent
Straightening", NeurIPS 2025; bpiyush/LiFT, lift/model.py.

    x'_t = P x_t + sin(t),   s, d = LN(S h_s), LN(D h_d)   with h = Transformer([c_s ; c_d ; x'])
    z_t = s + (t / (T - 1)) d,   x^_t = Decoder(z_t)
    loss = mean (x^ - x)^2 + 0.1 mean |cos(s, d)|,         logits = W [s ; d] + b

Transformer: 4 pre-norm layers with ReLU, 8 heads, FFN of 4 times the latent channels; Decoder:
three linear layers with LayerNorm and GELU between them.

The descriptor is trained without labels, as there: the linear layer reads it detached. Deviations:
it is trained on the store's own training clips (there: on Kinetics-400, weights released), beside
the classifier and not before it; x is the frames' mean token, normed as for `linear` (there: the
CLS of DINOv2); no dropout (there 0.1). `supervised=true` lets the labels train the descriptor too.
A missing frame is not attended to and not drawn.
"""

import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.encoding import sinusoidal
from stepcli.probe.nn.layers import StackedLayerNorm, StackedLinear, normal
from stepcli.probe.nn.pooling import PooledProbe, PoolOptions
from stepcli.probe.nn.transformer import Block


class LiftOptions(PoolOptions):
    """Width, depth and what trains the descriptor."""

    latent: int = Field(256, ge=1, description="channels of s and of d")
    layers: int = Field(4, ge=1, description="blocks of the encoder")
    heads: int = Field(8, ge=1, description="attention heads; must divide the latent channels")
    orthogonal: float = Field(0.1, ge=0, description="weight of |cos(s, d)|")
    supervised: bool = Field(False, description="let the labels train the descriptor too")


class Decoder(nn.Module):
    """K decoders: latent -> 2 latent -> 2 latent -> channels."""

    def __init__(self, latent: int, dim: int, generator: Generator) -> None:
        super().__init__()
        hidden = 2 * latent
        self.first = StackedLinear(latent, hidden, generator)
        self.norm1 = StackedLayerNorm(hidden)
        self.second = StackedLinear(hidden, hidden, generator)
        self.norm2 = StackedLayerNorm(hidden)
        self.third = StackedLinear(hidden, dim, generator)

    def forward(self, z: Tensor) -> Tensor:
        """[K, ..., latent] -> [K, ..., D]."""
        h = functional.gelu(self.norm1(self.first.rows(z)))
        return self.third.rows(functional.gelu(self.norm2(self.second.rows(h))))


class Lift(PooledProbe):
    """K chirality descriptors with a linear layer each."""

    undecayed = PooledProbe.undecayed | {"queries"}
    options: LiftOptions
    times: Tensor

    def __init__(
        self, layout: TokenLayout, classes: int, options: LiftOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        latent = options.latent
        self.project = StackedLinear(layout.dim, latent, generator)
        # Vaswani's waves as they are, between -1 and 1.
        self.register_buffer("times", sinusoidal(layout.frames, latent)[None] / 2**0.5)
        self.queries = normal(1.0, (2, latent), generator)
        self.blocks = nn.ModuleList(
            Block(latent, options.heads, generator, init="xavier", activation="relu")
            for _ in range(options.layers)
        )
        self.static = StackedLinear(latent, latent, generator)
        self.dynamic = StackedLinear(latent, latent, generator)
        self.static_norm = StackedLayerNorm(latent)
        self.dynamic_norm = StackedLayerNorm(latent)
        self.decoder = Decoder(latent, layout.dim, generator)
        self.head = StackedLinear(2 * latent, classes, generator)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        logits: Tensor = self.head(torch.cat(self.describe(batch), dim=2))
        return logits

    def training_logits(self, batch: TokenBatch) -> tuple[Tensor, Tensor | None]:
        """Logits of the current descriptor, and the loss that shapes it, [K, B]."""
        static, dynamic = self.describe(batch)
        descriptor = torch.cat((static, dynamic), dim=2)
        logits = self.head(descriptor if self.options.supervised else descriptor.detach())
        overlap = functional.cosine_similarity(static, dynamic, dim=-1).abs()
        loss = self._reconstruction(batch, static, dynamic) + self.options.orthogonal * overlap
        return logits, loss

    def describe(self, batch: TokenBatch) -> tuple[Tensor, Tensor]:
        """Static and dynamic code, [K, B, latent] each."""
        x = self.project.shared(self.frame_means(batch))
        x = x + self.times[:, None]
        x = torch.cat((self.queries[:, None].expand(-1, x.shape[1], -1, -1), x), dim=2)
        missing = batch.missing
        if missing is not None:
            missing = torch.cat((missing.new_zeros(len(missing), 2), missing), dim=1)
        for block in self.blocks:
            x = block(x, missing)
        return (
            self.static_norm(self.static(x[:, :, 0])),
            self.dynamic_norm(self.dynamic(x[:, :, 1])),
        )

    def _reconstruction(self, batch: TokenBatch, static: Tensor, dynamic: Tensor) -> Tensor:
        """Mean squared error of the frames drawn from the two codes, [K, B]."""
        frames = self.frame_means(batch)
        steps = frames.shape[1]
        time = torch.arange(steps, device=frames.device) / max(1, steps - 1)
        line = static[:, :, None] + time[:, None].to(static) * dynamic[:, :, None]
        error = (self.decoder(line) - frames).square().mean(dim=-1, keepdim=True)
        return batch.mean_over_frames(error)[..., 0]


INFOS = (
    ProbeInfo(
        "lift",
        Lift,
        LiftOptions,
        "LiFT's chirality descriptor, NeurIPS 2025 (bpiyush/LiFT)",
        order_aware=True,
        lr=5e-4,
    ),
)
