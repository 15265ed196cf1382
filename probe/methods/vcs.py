"""Video concept spotting: frames weighted by how well they fit the text, no training.

Source: Wu et al., "Bidirectional Cross-Modal Knowledge Exploration for Video Recognition" (BIKE),
arXiv 2301.00182, section 3.3; whwu95/BIKE, modules/video_clip.py, interaction "VCS".

    a_{c,t} = mean_w softmax_t(v_t . e_{c,w} / 0.01),   logits = exp(s) (sum_t a_{c,t} v_t) . w_c

v_t: CLIP's embedding of frame t, w_c of the label, both of unit length.

Deviation: e_{c,w} there are the text tower's embeddings of the label's words; a store keeps one
embedding a prompt template, so e_{c,w} are those (with one template, w_c itself). There the logits
are scaled where the loss is made; here at once, by the tower's own factor. A missing frame has no
weight.
"""

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.bank import Probe
from stepcli.probe.nn.text_space import TextOptions, TowerProjection, register_texts


class VcsOptions(TextOptions):
    """Tower and temperature."""

    temperature: float = Field(0.01, gt=0, description="of the frames' weights")


class Vcs(Probe):
    """K times the same classifier without parameters."""

    trained = False
    options: VcsOptions
    labels: Tensor
    scale: Tensor
    prompts: Tensor

    def __init__(
        self, layout: TokenLayout, classes: int, options: VcsOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        text = layout.text(options.tower)
        self.frames = TowerProjection(layout, text)
        register_texts(self, layout, text)
        self.register_buffer("prompts", text.templates(layout.classes)[None])

    def fit(self, batches: Iterable[tuple[TokenBatch, Tensor]]) -> None:
        """Nothing is learned: the training samples are not even read."""

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        frames = functional.normalize(self.frames(batch), dim=-1)
        # Every member has the same texts: computed once.
        fits = torch.einsum("btd,cwd->bcwt", frames, self.prompts[0]) / self.options.temperature
        if batch.frame_mask is not None:
            fits = fits.masked_fill(~batch.frame_mask[:, None, None], -torch.inf)
        weights = fits.softmax(dim=-1).mean(dim=2)
        spotted = torch.einsum("bct,btd->bcd", weights, frames)
        logits = torch.einsum("bcd,cd->bc", spotted, self.labels[0]) * self.scale[0]
        return logits.expand(self.members, -1, -1)


INFOS = (
    ProbeInfo(
        "vcs",
        Vcs,
        VcsOptions,
        "BIKE's video concept spotting, arXiv 2301.00182; no training",
        order_aware=False,
        needs=("CLS of a CLIP", "text embeddings"),
    ),
)
