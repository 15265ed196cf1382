"""The space that a text tower shares with its image tower, and how stored tokens get there."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.selection import take_tokens
from stepcli.probe.data.text import StoreText
from stepcli.probe.data.tokens import NORM_EPS, TokenBatch
from stepcli.probe.nn.bank import Options
from stepcli.probe.nn.layers import StackedLayerNorm, StackedLinear
from stepcli.runtime.errors import UsageError


class TextOptions(Options):
    """Which tower's texts, and how a frame gets into their space."""

    tower: str = Field("", description="text tower, where the store holds several")


class FrameOptions(TextOptions):
    """For heads that are trained: a store of another backbone than the tower's will do too."""

    frame: Literal["cls", "mean"] = Field("cls", description="what speaks for a frame")
    project: Literal["tower", "learned"] = Field(
        "tower", description="the tower's own projection of its CLS, or one that is trained"
    )
    norm_projected: bool = Field(True, description="LayerNorm after a trained projection")
    before: ClassVar[dict[str, object]] = {"norm_projected": False}


class TowerProjection(nn.Module):
    """CLIP's own way from its CLS token to the texts: LayerNorm and projection, frozen."""

    norm_weight: Tensor
    norm_bias: Tensor
    projection: Tensor

    def __init__(self, layout: TokenLayout, text: StoreText) -> None:
        """Read the tower's weights.

        Raises:
            UsageError: the store's tokens are not those of this tower's images.
        """
        super().__init__()
        tensors = text.tensors
        if "cls_projection" not in tensors:
            raise UsageError(
                f"the tower {text.tower} has no projection of a CLS token (SigLIP pools its "
                "patches); use a CLIP, or project=learned where the method has it"
            )
        found = tensors["cls_projection"].shape[1]
        if found != layout.dim:
            raise UsageError(
                f"the tower {text.tower} projects tokens of {found} channels, the store's have "
                f"{layout.dim}: they are of another backbone; extract with --backbone of that very "
                "CLIP, or use project=learned where the method has it"
            )
        self.positions = layout.positions("cls")
        self.register_buffer("norm_weight", tensors["cls_norm.weight"][None])
        self.register_buffer("norm_bias", tensors["cls_norm.bias"][None])
        self.register_buffer("projection", tensors["cls_projection"][None])

    def forward(self, batch: TokenBatch) -> Tensor:
        """The CLS of each frame among the texts, not of unit length: [B, T, D_text].

        Every member has the same: it is read from the first.
        """
        cls = take_tokens(batch.raw, self.positions).squeeze(2)
        weight, bias = self.norm_weight[0], self.norm_bias[0]
        normed = functional.layer_norm(cls, cls.shape[-1:], weight, bias, NORM_EPS)
        return normed @ self.projection[0].T


class FrameProjection(nn.Module):
    """A vector per frame in the texts' space, by the tower's projection or by K trained ones."""

    def __init__(
        self, layout: TokenLayout, options: FrameOptions, text: StoreText, generator: Generator
    ) -> None:
        """Choose the way.

        Raises:
            UsageError: the store lacks what the options ask for; the message says what would do.
        """
        super().__init__()
        self.layout = layout
        self.select: Literal["cls", "patches"] = "cls" if options.frame == "cls" else "patches"
        if self.select == "cls" and all(part.kind != "prefix" for part in layout.segments):
            raise UsageError(
                "frame=cls needs a CLS token and the store holds none; extract with --tokens "
                "cls,grid4 or full, or use frame=mean with project=learned"
            )
        layout.positions(self.select)
        self.tower: TowerProjection | None = None
        self.learned: StackedLinear | None = None
        self.norm: StackedLayerNorm | None = None
        if options.project == "learned":
            self.learned = StackedLinear(layout.dim, text.dim, generator)
            self.norm = StackedLayerNorm(text.dim) if options.norm_projected else None
        elif options.frame == "mean":
            raise UsageError(
                "frame=mean with project=tower: the tower projects its CLS alone; use frame=cls, "
                "or project=learned"
            )
        else:
            self.tower = TowerProjection(layout, text)

    def forward(self, batch: TokenBatch, members: int) -> Tensor:
        """[K, B, T, D_text]."""
        if self.learned is None:
            assert self.tower is not None
            frames: Tensor = self.tower(batch)
            return frames.expand(members, -1, -1, -1)
        means = batch.frame_means(self.layout, self.select, normalized=True)
        frames = self.learned.shared(means)
        return frames if self.norm is None else self.norm(frames)


def cosine_logits(video: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """Cosines times a scale.

    Args:
        video: [K, B, D].
        text: [K, C, D], or [K, B, C, D] where it depends on the clip.
        scale: [K].

    Returns:
        [K, B, C].
    """
    video = functional.normalize(video, dim=-1)
    text = functional.normalize(text, dim=-1)
    kind = "kbd,kcd->kbc" if text.ndim == 3 else "kbd,kbcd->kbc"
    return torch.einsum(kind, video, text) * scale[:, None, None]


def register_texts(module: nn.Module, layout: TokenLayout, text: StoreText) -> None:
    """Keep the task's label embeddings and the tower's scale with a probe, as frozen buffers.

    `labels` [1, C, D] of unit length, `label_lengths` [1, C], `scale` [1]: exp(logit_scale).

    Raises:
        UsageError: the layout does not name the classes, or one was not embedded.
    """
    if not layout.classes:
        raise UsageError("a method that compares with texts needs the names of the classes")
    module.register_buffer("labels", text.labels(layout.classes)[None])
    module.register_buffer("label_lengths", text.label_lengths(layout.classes)[None])
    module.register_buffer("scale", text.tensors["logit_scale"].exp().reshape(1))
