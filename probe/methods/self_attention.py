"""Self-attention over all tokens: the self-attentive probe that STEP is measured against.

Source: arXiv 2503.24298's "self-attention probing", about 7.1 M parameters; the block is the
standard pre-norm transformer block (Dosovitskiy et al., arXiv 2010.11929, equations 2 and 3).

    h = [c ; x] + MHA(LN1([c ; x])),   y = h + FFN(LN2(h)),   logits = W y_cls + b

Assumed: one block, FFN of 4D with GELU, 8 heads, one CLS for the clip, no final norm. At D = 768
and 34 classes that is 7,114,786 parameters, the paper's 7.1 M.

Deviation that changes no value: one block deep, only the CLS row is read, so attention is folded
and the FFN runs on that row alone; equal to nn.TransformerEncoderLayer(norm_first=True)'s CLS row.
By default it knows no frame order; `pe` gives it STEP's encoding.
"""

from typing import ClassVar

from pydantic import Field
from torch import Generator, Tensor

from stepcli.probe.data.layout import Select, TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.bank import Options, Probe, moving_field
from stepcli.probe.nn.block import ReadBlock
from stepcli.probe.nn.encoding import Encoding, TokenInput
from stepcli.probe.nn.layers import StackedLinear, normal


class BlockOptions(Options):
    """Options of a probe that is one block with a query."""

    initial: ClassVar[frozenset[str]] = frozenset({"pe_scale"})

    heads: int = Field(8, ge=1, description="attention heads; must divide the channels")
    pe: Encoding = Field("none", description="frame encoding")
    pe_scale: float = Field(0.3, ge=0, description="initial deviation of the encoding")
    patch_pe: bool = Field(False, description="learn an encoding of a patch's place too")
    tokens: Select = Field("all", description="which stored tokens of a frame")
    moving: float = moving_field()
    later: ClassVar[frozenset[str]] = frozenset({"moving"})

    def token_input(self, layout: TokenLayout, generator: Generator) -> TokenInput:
        """LN(x) + e: the block's own LayerNorm follows."""
        return TokenInput(
            layout,
            generator,
            select=self.tokens,
            norm="tokens",
            pe=self.pe,
            pe_scale=self.pe_scale,
            patch_pe=self.patch_pe,
            moving=self.moving,
        )


class SelfAttention(Probe):
    """K transformer blocks read at the CLS."""

    def __init__(
        self, layout: TokenLayout, classes: int, options: BlockOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        self.input = options.token_input(layout, generator)
        self.cls = normal(0.02, (layout.dim,), generator)
        self.block = ReadBlock(layout.dim, options.heads, generator, kind="self")
        self.head = StackedLinear(layout.dim, classes, generator)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        logits: Tensor = self.head(self.block(self.input, batch, self.cls))
        return logits


INFOS = (
    ProbeInfo(
        "self-attention",
        SelfAttention,
        BlockOptions,
        "self-attentive probe of arXiv 2503.24298; block of arXiv 2010.11929",
        order_aware=False,
    ),
)
