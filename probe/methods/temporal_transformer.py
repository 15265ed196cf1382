"""ActionCLIP's transformers over time: Transf and Transf_cls.

Source: Wang et al., "ActionCLIP", arXiv 2109.08472; sallymmx/ActionCLIP, modules/Visual_Prompt.py.

    transf:      y = mean_t (Blocks(x + p)_t + x_t)              6 pre-norm blocks with QuickGELU
    transf-cls:  y = LN(Blocks([c ; x] + p))_cls                 6 post-norm blocks with ReLU
    logits = W y + b

p: learned encoding of the frames; FFNs of 4D (transf) and of 2048 (transf-cls, the default of
torch's layer, which is used there), heads D / 64 (transf) and 8 (transf-cls). Matrices are drawn
from std 0.02 but for query, key and value, which keep torch's Xavier values, as there.

Deviations: the head there is compared with text, here a linear classifier follows. There x is
CLIP's projected CLS of 512 channels; here the frames' mean tokens (or `tokens=cls`) go through a
learned projection to `width` channels and a LayerNorm; `width=0` and `norm_projected=false` leave
them as they are. p starts from std 0.3 (there 0.02, which 60 epochs of the arrow of time leave
between 50 and 62 %: docs/pe-scale.md). LayerNorms have epsilon 1e-5 (there 1e-12 in
transf), no dropout (there 0.1 in transf-cls).
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.layers import StackedLayerNorm, StackedLinear, normal
from stepcli.probe.nn.pooling import PooledProbe, PoolOptions
from stepcli.probe.nn.transformer import Block


class TemporalTransformerOptions(PoolOptions):
    """Pooling, kind, depth and width."""

    initial: ClassVar[frozenset[str]] = frozenset({"pe_scale"})
    before: ClassVar[dict[str, object]] = {"norm_projected": False}

    kind: Literal["transf", "transf-cls"] = Field("transf", description="of the two in ActionCLIP")
    layers: int = Field(6, ge=1, description="blocks")
    width: int = Field(512, ge=0, description="channels frames are projected to; 0: their own")
    heads: int = Field(8, ge=1, description="attention heads; must divide the width")
    pe_scale: float = Field(0.3, ge=0, description="initial deviation of the encoding")
    norm_projected: bool = Field(True, description="LN(project(x)) + p; off: project(x) + p")


class TemporalTransformer(PooledProbe):
    """K transformers over frames."""

    undecayed = PooledProbe.undecayed | {"encoding"}
    options: TemporalTransformerOptions

    def __init__(
        self,
        layout: TokenLayout,
        classes: int,
        options: TemporalTransformerOptions,
        generator: Generator,
    ) -> None:
        super().__init__(layout, classes, options)
        dim = options.width or layout.dim
        self.project = StackedLinear(layout.dim, dim, generator) if options.width else None
        self.input_norm = StackedLayerNorm(dim) if options.norm_projected else None
        self.reads_cls = options.kind == "transf-cls"
        self.encoding = normal(options.pe_scale, (layout.frames + self.reads_cls, dim), generator)
        self.blocks = nn.ModuleList(
            Block(
                dim,
                options.heads,
                generator,
                init="vit",
                attention="xavier",
                activation="relu" if self.reads_cls else "quick-gelu",
                hidden=2048 if self.reads_cls else 4 * dim,
                pre=not self.reads_cls,
            )
            for _ in range(options.layers)
        )
        if self.reads_cls:
            self.cls = normal(0.02, (dim,), generator)
            self.norm = StackedLayerNorm(dim)
        self.head = StackedLinear(dim, classes, generator)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        frames = self.frame_means(batch)
        if self.project is not None:
            x = self.project.shared(frames)
        else:
            x = frames.expand(self.members, -1, -1, -1)
        if self.input_norm is not None:
            x = self.input_norm(x)
        missing = batch.missing
        if self.reads_cls:
            x = torch.cat((self.cls[:, None, None].expand(-1, x.shape[1], 1, -1), x), dim=2)
            if missing is not None:
                missing = torch.cat((missing.new_zeros(len(missing), 1), missing), dim=1)
        z = x + self.encoding[:, None]
        for block in self.blocks:
            z = block(z, missing)
        row = self.norm(z[:, :, 0]) if self.reads_cls else batch.mean_over_frames(z + x)
        logits: Tensor = self.head(row)
        return logits


INFOS = (
    ProbeInfo(
        "temporal-transformer",
        TemporalTransformer,
        TemporalTransformerOptions,
        "ActionCLIP's Transf and Transf_cls, arXiv 2109.08472",
        order_aware=True,
        lr=1e-3,
    ),
)
