"""STEP: temporal order for frozen image backbones with one read-out.

Source: "Order Matters: On Parameter-Efficient Image-to-Video Probing for Recognizing Nearly
Symmetric Actions", arXiv 2503.24298 (v2 at ICRA 2026).

    z_{t,p} = LN(x_{t,p}) + e_t          frozen tokens x, learned e [T, D]
    y       = MultiHead(q = c; k, v = [c ; z])      one learned CLS c for the whole clip
    logits  = W y + b

Known from the paper's abstract: a learned frame-wise positional encoding, one global CLS token
instead of one per frame, a simplified attention block, about 2.6 M parameters (a third of the
self-attentive probe's 7.1 M), no other probe here being sensitive to frame order.

Assumed (the paper's body was not read), each an option: which tokens (`tokens`), LayerNorm without
learned parameters before the encoding is added (`norm`), 8 heads (`heads`), no residual
(`residual`) and no FFN (`block`), no encoding of a patch's place (`patch_pe`), the scales at which
the encoding (`pe_scale`) and the CLS (`cls_scale`) start. Also assumed: the CLS is not normed, and
attends to itself.

Deviation that changes no value: only the CLS row is computed, folded (see folded.py).
At D = 768, T = 16 and 34 classes: 4D^2 + 4D attention + TD encoding + D CLS + head = 2,401,570.
The paper's 2.6 M is met with an encoding of the 256 places of a ViT's patches beside it: 2,595,102
with 30 classes, 2,598,178 with 34. So the authors' probe may have one: `preset=paper-count`. The
default stays without it.

At the usual 0.02 for both scales the attention starts uniform and all but blind to order, and stays
on a saddle of 50 % on opposite actions for a long time. A CLS of the tokens' own size (1.0) makes
heads look at different tokens from the first step (docs/pe-scale.md). The encoding starts at 1.0
too, chosen with the learning rate on slices of train over several stores (docs/step-defaults.md).
"""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Generator, Tensor

from stepcli.probe.data.layout import Select, TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.attention import FoldedAttention
from stepcli.probe.nn.bank import Options, Probe, moving_field
from stepcli.probe.nn.block import ReadBlock
from stepcli.probe.nn.encoding import Encoding, Norm, TokenInput
from stepcli.probe.nn.layers import StackedLinear, normal


class StepOptions(Options):
    """STEP and its ablations."""

    initial: ClassVar[frozenset[str]] = frozenset({"pe_scale", "cls_scale"})

    heads: int = Field(8, ge=1, description="attention heads; must divide the channels")
    pe: Encoding = Field("learned", description="frame encoding")
    pe_scale: float = Field(1.0, ge=0, description="initial deviation of the encoding")
    cls_scale: float = Field(1.0, ge=0, description="initial deviation of the CLS")
    patch_pe: bool = Field(False, description="learn an encoding of a patch's place too")
    cls: Literal["global", "per-frame"] = Field("global", description="one CLS, or one per frame")
    block: Literal["simplified", "full"] = Field("simplified", description="full adds FFN, norms")
    residual: bool = Field(False, description="add the CLS to the attention's output")
    norm: Norm = Field("tokens", description="LN(x) + e, LN(x + e), or none")
    tokens: Select = Field("all", description="which stored tokens of a frame")
    moving: float = moving_field()
    later: ClassVar[frozenset[str]] = frozenset({"moving"})


class Step(Probe):
    """K STEP probes."""

    def __init__(
        self, layout: TokenLayout, classes: int, options: StepOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        dim = layout.dim
        self.input = TokenInput(
            layout,
            generator,
            select=options.tokens,
            norm=options.norm,
            pe=options.pe,
            pe_scale=options.pe_scale,
            patch_pe=options.patch_pe,
            moving=options.moving,
        )
        self.cls = normal(options.cls_scale, (dim,), generator)
        self.reader: FoldedAttention | ReadBlock
        if options.block == "full":
            self.reader = ReadBlock(dim, options.heads, generator, kind="self")
        else:
            self.reader = FoldedAttention(dim, options.heads, generator)
        self.head = StackedLinear(dim, classes, generator)
        self.per_frame = options.cls == "per-frame"
        self.residual = options.residual and options.block == "simplified"

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        if isinstance(self.reader, ReadBlock):
            row = self.reader(self.input, batch, self.cls, per_frame=self.per_frame)
        else:
            z = self.input(batch)
            row = self.reader(z, self.cls, prepended=self.cls, per_frame=self.per_frame)
            if self.residual:
                row = row + self.cls.view(self.members, *(1,) * (row.ndim - 2), -1)
        if self.per_frame:
            row = batch.mean_over_frames(row)
        logits: Tensor = self.head(row)
        return logits


INFOS = (
    ProbeInfo(
        "step",
        Step,
        StepOptions,
        "STEP, arXiv 2503.24298 (ICRA 2026)",
        order_aware=True,
        lr=5e-4,
        presets={"paper-count": {"patch_pe": True, "tokens": "patches"}},
    ),
)
