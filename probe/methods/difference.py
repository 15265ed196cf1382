"""Differences between neighbouring frames beside the frames themselves, into any other probe.

Source: the matched baseline of this project, after the RGB differences of Wang et al., "Temporal
Segment Networks", arXiv 1608.00859, section 3.2, taken between tokens instead of pixels.

    z_t = [n_t ; n_t - n_{t-1}],   n = LN(x),   n_1 - n_0 = 0,   logits = probe(z)

`probe` names the method that reads z as if a backbone with twice the channels had written it, with
that method's own defaults. The difference with a missing frame is zero.
"""

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import Generator, Tensor

from stepcli.probe.data.layout import Select, TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo, methods
from stepcli.probe.nn.bank import Options, Probe
from stepcli.runtime.errors import UsageError


class DifferenceOptions(Options):
    """Which probe reads them."""

    probe: str = Field("linear", description="method that reads tokens and differences")
    tokens: Select = Field("all", description="which stored tokens of a frame")


def with_differences(batch: TokenBatch) -> TokenBatch:
    """A batch of twice the channels: normed tokens, and what they changed since the last frame."""
    normed = batch.normalized
    change = torch.zeros_like(normed)
    change[:, 1:] = normed[:, 1:] - normed[:, :-1]
    if batch.frame_mask is not None:
        here = batch.frame_mask.clone()
        here[:, 1:] &= batch.frame_mask[:, :-1]
        change = change.masked_fill(~here[:, :, None, None], 0.0)
    return TokenBatch(
        torch.cat((normed, change), dim=-1), batch.frame_mask, batch.dtype, lambda: batch.facts
    )


class Difference(Probe):
    """K probes of another method on tokens and their differences."""

    def __init__(
        self, layout: TokenLayout, classes: int, options: DifferenceOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        info = methods().get(options.probe)
        if info.build is Difference or "tokens" not in info.options.model_fields:
            raise UsageError(
                f"probe={options.probe}: expected a method that reads tokens of any kind, such as "
                "linear, mlp, attentive or step"
            )
        wide = TokenLayout(layout.frames, 2 * layout.dim, layout.segments, classes=layout.classes)
        inner = info.options.model_validate({"tokens": options.tokens})
        self.inner = info.build(wide, classes, inner, generator)
        self.trained = self.inner.trained

    @torch.no_grad()
    def fit(self, batches: Iterable[tuple[TokenBatch, Tensor]]) -> None:
        """Fit the inner probe, where that is what it wants."""
        self.inner.fit((with_differences(batch), labels) for batch, labels in batches)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        logits: Tensor = self.inner(with_differences(batch))
        return logits


INFOS = (
    ProbeInfo(
        "difference",
        Difference,
        DifferenceOptions,
        "frame differences beside the frames, after arXiv 1608.00859",
        order_aware=True,
        lr=1e-2,
    ),
)
