"""One batch of frozen tokens, shared by every bank: what several need of it is made once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from threading import RLock
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional

from stepcli.probe.data.int8_tokens import CodedTokens
from stepcli.probe.data.layout import Select, TokenLayout
from stepcli.probe.data.selection import moving_tokens, take_tokens
from stepcli.runtime.device_copies import to_device

Norms = Literal["raw", "normalized", "renormalized"]
NORM_EPS = 1e-5
WHOLE = frozenset(
    f"{how}{kind}" for how in ("", "rounded_") for kind in ("raw", "normalized", "renormalized")
)
"""Names of a batch's tensors that are as large as the batch."""


@dataclass(frozen=True, slots=True)
class SampleFacts:
    """What is known of the frames of a batch beside their tokens."""

    seconds: Tensor
    """[B, T] float32: time of each shown frame since its video's first one."""

    def to(self, device: torch.device) -> "SampleFacts":
        """The same on a device."""
        return SampleFacts(to_device(self.seconds, device))

    @property
    def duration(self) -> Tensor:
        """[B]: seconds from the earliest shown frame to the latest."""
        return self.seconds.amax(dim=1) - self.seconds.amin(dim=1)

    @property
    def distinct_frames(self) -> Tensor:
        """[B]: how many of the shown frames differ; a repeated one has the same time."""
        return 1 + (self.seconds.sort(dim=1).values.diff(dim=1) > 0).sum(dim=1)


if TYPE_CHECKING:
    shared_property = cached_property
else:

    class shared_property(cached_property):  # noqa: N801
        """A cached property that banks in several threads ask for: the first of them makes it."""

        def __get__(self, instance, owner=None):
            if instance is None:
                return self
            with instance._lock:
                return super().__get__(instance, owner)


class TokenBatch:
    """One batch of frozen tokens. Whatever several banks need of it is computed once, on first use.

    The tokens are only read: no probe may write into them.
    """

    def __init__(
        self,
        tokens: Tensor | CodedTokens,
        frame_mask: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
        facts: Callable[[], SampleFacts] | None = None,
    ) -> None:
        """Wrap tokens of any float dtype, or int8 codes.

        Args:
            tokens: [B, T, S, D], or [B, T, L, S, D] where L layers are stored, deepest last.
            frame_mask: [B, T], True for real frames.
            dtype: Of the arithmetic.
            facts: Reads what else is known of the clips; called on first use.

        Raises:
            ValueError: another shape, or a clip has no frame at all (of a mask on the host).
        """
        if tokens.ndim not in (4, 5):
            raise ValueError(
                f"tokens must be [B, T, S, D] or [B, T, L, S, D], got {tuple(tokens.shape)}"
            )
        # Of a mask on a GPU the host would have to wait for the answer, at every step.
        looked_at = frame_mask is not None and frame_mask.device.type == "cpu"
        if frame_mask is not None and looked_at and not bool(frame_mask.any(dim=1).all()):
            raise ValueError("frame_mask leaves a clip without a single frame")
        self._given = tokens
        self.frame_mask = frame_mask
        self.dtype = dtype
        self.precision = dtype
        """Of products with tokens, where the pass says other than `dtype`."""
        self._read_facts = facts
        self._lock = RLock()

    def with_tokens(self, tokens: Tensor, frame_mask: Tensor | None) -> "TokenBatch":
        """The same clips with other tokens."""
        batch = TokenBatch(tokens, frame_mask, self.dtype, self._read_facts)
        batch.precision = self.precision
        return batch

    def mapped(self, change: Callable[[Tensor], Tensor], *, facts: bool) -> "TokenBatch":
        """The same clips with other tensors, of the same shapes; without `facts` these are unknown.

        Raises:
            TypeError: the tokens are int8 codes.
        """
        if isinstance(self._given, CodedTokens):
            raise TypeError("codes have no single tensor of tokens")
        mask = None if self.frame_mask is None else change(self.frame_mask)
        read: Callable[[], SampleFacts] | None = None
        if facts:
            known = SampleFacts(change(self.facts.seconds))
            read = lambda: known  # noqa: E731
        batch = TokenBatch(change(self._given), mask, self.dtype, read)
        batch.precision = self.precision
        return batch

    @property
    def asked_facts(self) -> bool:
        """Whether `facts` were asked for so far."""
        return "facts" in self.__dict__

    @property
    def made(self) -> frozenset[str]:
        """Which of the whole-batch tensors were asked for so far."""
        return frozenset(self.__dict__) & WHOLE

    def make(self, names: Iterable[str]) -> None:
        """Make whole-batch tensors now: with all threads, where the banks have one each."""
        for name in names:
            getattr(self, name)

    @property
    def clips(self) -> int:
        """B."""
        return self._given.shape[0]

    @property
    def frames(self) -> int:
        """T."""
        return self._given.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the tokens are."""
        return self._given.device

    @shared_property
    def every_layer(self) -> Tensor:
        """[B, T, L, S, D]; codes are made floats."""
        given = self._given
        tokens = given.floats() if isinstance(given, CodedTokens) else given
        return tokens if tokens.ndim == 5 else tokens[:, :, None]

    def view(
        self, kind: Norms, positions: slice | list[int], *, for_products: bool = False
    ) -> "Tensor | CodedTokens":
        """Some tokens of each frame, raw, or after one LayerNorm, or two; codes stay codes.

        `for_products`: of the type in which products with tokens are done.
        """
        if isinstance(self._given, CodedTokens):
            return self._coded[kind].select(positions)
        rounded = for_products and self.precision != self.dtype
        tokens: Tensor = getattr(self, f"rounded_{kind}" if rounded else kind)
        return take_tokens(tokens, positions)

    @shared_property
    def rounded_raw(self) -> Tensor:
        """`raw` as products with tokens read it, at the pass's precision."""
        return self.raw.to(self.precision)

    @shared_property
    def rounded_normalized(self) -> Tensor:
        """`normalized` as products with tokens read it."""
        return self.normalized.to(self.precision)

    @shared_property
    def rounded_renormalized(self) -> Tensor:
        """`renormalized` as products with tokens read it."""
        return self.renormalized.to(self.precision)

    @shared_property
    def _coded(self) -> dict[str, CodedTokens]:
        """Codes with what each LayerNorm makes of them: two numbers a token."""
        given = self._given
        if not isinstance(given, CodedTokens):
            raise TypeError("these tokens are floats")
        centered, variance = given.centered()
        once = (variance + NORM_EPS).rsqrt()
        twice = once * (variance * once.square() + NORM_EPS).rsqrt()
        return {
            "raw": given,
            "normalized": replace(centered, inverse=once),
            "renormalized": replace(centered, inverse=twice),
        }

    @shared_property
    def stored(self) -> Tensor:
        """[B, T, S, D] as stored: the deepest layer, which every probe but EVL reads."""
        return self.every_layer[:, :, -1].contiguous()

    def layer(self, place: int) -> Tensor:
        """[B, T, S, D] of one stored layer, counted from the shallowest, in the same dtype."""
        if place in (-1, self.every_layer.shape[2] - 1):
            return self.raw
        if place not in self._layers:
            self._layers[place] = self.every_layer[:, :, place].to(self.dtype)
        return self._layers[place]

    @shared_property
    def _layers(self) -> dict[int, Tensor]:
        return {}

    @shared_property
    def facts(self) -> SampleFacts:
        """When the frames were.

        Raises:
            ValueError: the batch was made from bare tokens.
        """
        if self._read_facts is None:
            raise ValueError("this batch was made from bare tokens, without times of its frames")
        return self._read_facts()

    @shared_property
    def raw(self) -> Tensor:
        """[B, T, S, D] in the arithmetic's dtype."""
        return self.stored.to(self.dtype)

    @shared_property
    def normalized(self) -> Tensor:
        """[B, T, S, D]: each token with its own mean removed and divided by its deviation.

        LayerNorm without learned scale and shift, so one result serves every probe.
        """
        return functional.layer_norm(self.raw, (self.raw.shape[-1],), eps=NORM_EPS)

    @shared_property
    def renormalized(self) -> Tensor:
        """LayerNorm of `normalized`: what a block with a LayerNorm of its own makes of it."""
        return functional.layer_norm(self.normalized, (self.raw.shape[-1],), eps=NORM_EPS)

    @shared_property
    def _frame_means(self) -> dict[tuple[bool, Select, float], Tensor]:
        return {}

    @shared_property
    def _kept(self) -> dict[tuple[Select, float], Tensor]:
        return {}

    def kept_tokens(self, layout: TokenLayout, select: Select, moving: float) -> Tensor | None:
        """[B, T, S]: the selected tokens without patches that hardly move; None: all."""
        if moving == 1:
            return None
        key = (select, moving)
        with self._lock:
            if key not in self._kept:
                tokens = self.view("normalized", layout.positions(select))
                tokens = tokens.floats() if isinstance(tokens, CodedTokens) else tokens
                patches = layout.patches_within(select)
                self._kept[key] = moving_tokens(tokens, patches, moving, self.frame_mask)
        return self._kept[key]

    def frame_means(
        self, layout: TokenLayout, select: Select, normalized: bool, moving: float = 1
    ) -> Tensor:
        """[B, T, D]: the mean of each frame's selected tokens, or of those that move most."""
        key = (normalized, select, moving)
        if key not in self._frame_means:
            kind: Norms = "normalized" if normalized else "raw"
            tokens = self.view(kind, layout.positions(select))
            kept = self.kept_tokens(layout, select, moving)
            if kept is not None:
                floats = tokens.floats() if isinstance(tokens, CodedTokens) else tokens
                weight = kept.to(floats.dtype) / kept.sum(dim=2, keepdim=True)
                self._frame_means[key] = torch.einsum("bts,btsd->btd", weight, floats)
            elif isinstance(tokens, CodedTokens):
                self._frame_means[key] = tokens.frame_means()
            else:
                self._frame_means[key] = tokens.mean(dim=2)
        return self._frame_means[key]

    def without_missing(self, rows: Tensor) -> Tensor:
        """Rows of frames [..., B, T, D] with zeros where a frame is missing."""
        if self.frame_mask is None:
            return rows
        return rows.masked_fill(~self.frame_mask[..., None], 0.0)

    @property
    def missing(self) -> Tensor | None:
        """[B, T], True where a frame is missing; None where none is."""
        return None if self.frame_mask is None else ~self.frame_mask

    def missing_tokens(self, tokens: int) -> Tensor | None:
        """[B, N], True where a token's frame is missing, of N tokens per clip, frame by frame."""
        if self.frame_mask is None:
            return None
        return ~self.frame_mask.repeat_interleave(tokens // self.frame_mask.shape[1], dim=1)

    def mean_over_frames(self, rows: Tensor) -> Tensor:
        """Mean over the frames that are there: [..., B, T, D] -> [..., B, D]."""
        if self.frame_mask is None:
            return rows.mean(dim=-2)
        mask = self.frame_mask[..., None].to(rows.dtype)
        return (rows * mask).sum(dim=-2) / mask.sum(dim=-2)
