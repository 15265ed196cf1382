"""Zero-shot: CLIP's own classifier, frame by frame, no training.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
arXiv 2103.00020, section 3.1; over frames as in ActionCLIP's meanP, arXiv 2109.08472.

    v = mean_t n(P LN(x_t)),   logits = exp(s) n(v) . w_c

n divides by the length, w_c is the label's embedding (the mean over prompt templates, unit length),
P, LN and s are the tower's own. Nothing is learned from the training clips.
"""

from collections.abc import Iterable

from torch import Generator, Tensor
from torch.nn import functional

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.bank import Probe
from stepcli.probe.nn.text_space import TextOptions, TowerProjection, cosine_logits, register_texts


class ZeroShot(Probe):
    """K times CLIP's classifier."""

    trained = False
    labels: Tensor
    scale: Tensor

    def __init__(
        self, layout: TokenLayout, classes: int, options: TextOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        text = layout.text(options.tower)
        self.frames = TowerProjection(layout, text)
        register_texts(self, layout, text)

    def fit(self, batches: Iterable[tuple[TokenBatch, Tensor]]) -> None:
        """Nothing is learned: the training samples are not even read."""

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        frames = functional.normalize(self.frames(batch), dim=-1)
        video = batch.mean_over_frames(frames).expand(self.members, -1, -1)
        return cosine_logits(video, self.labels, self.scale)


INFOS = (
    ProbeInfo(
        "zero-shot",
        ZeroShot,
        TextOptions,
        "CLIP's text classifier, arXiv 2103.00020; no training",
        order_aware=False,
        needs=("CLS of a CLIP", "text embeddings"),
    ),
)
