"""Probes that read a frame as one vector, the mean of its tokens."""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from stepcli.probe.data.layout import Select, TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.nn.bank import Options, Probe, moving_field


class PoolOptions(Options):
    """Tokens that the mean of a frame is taken over."""

    norm: Literal["tokens", "none"] = Field("tokens", description="LN(x), or tokens as stored")
    tokens: Select = Field("all", description="which stored tokens of a frame")
    moving: float = moving_field()
    later: ClassVar[frozenset[str]] = frozenset({"moving"})


class PooledProbe(Probe):
    """K probes of which each reads the frames' mean tokens alone."""

    options: PoolOptions

    def __init__(self, layout: TokenLayout, classes: int, options: PoolOptions) -> None:
        """Build what all of these share.

        Raises:
            UsageError: the store holds no token of the kind that `tokens` names; said now, not
                after minutes of reading.
        """
        super().__init__(layout, classes, options)
        layout.positions(options.tokens)
        if options.moving < 1:
            layout.patches_within(options.tokens)

    def frame_means(self, batch: TokenBatch) -> Tensor:
        """[B, T, D]: each frame's mean token, one that is missing too."""
        options = self.options
        normed = options.norm == "tokens"
        return batch.frame_means(self.layout, options.tokens, normed, options.moving)

    def clip_mean(self, batch: TokenBatch) -> Tensor:
        """[B, D]: the mean over the frames that are there."""
        return batch.mean_over_frames(self.frame_means(batch))

    def clip_direction(self, batch: TokenBatch) -> Tensor:
        """[B, D]: the clip's mean at unit length, for methods that compare by the cosine."""
        return functional.normalize(self.clip_mean(batch), dim=-1)
