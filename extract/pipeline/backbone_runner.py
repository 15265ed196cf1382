"""The middle stage: pixels of several clips through the backbone in one batch."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from stepcli.cache.schema.clips import ClipRecord, Failure
from stepcli.cache.schema.spec import Dtype
from stepcli.extract.backbones.base import Backbone
from stepcli.extract.backbones.token_selection import TokenSelection
from stepcli.extract.decode.pool import DecodedClip, DecodedView
from stepcli.extract.decode.preprocess import PixelPlan
from stepcli.extract.pipeline.dtype_encode import encode
from stepcli.extract.sources.origin import source_of
from stepcli.runtime.device_copies import to_device
from stepcli.runtime.devices import use_exact_float32


class ToPixels:
    """uint8 frames -> normalised pixels on the device, as the plan says.

    The result is [n, 3, height, width] in channels-last memory, which convolutions like best.
    """

    def __init__(self, plan: PixelPlan, device: torch.device, dtype: torch.dtype) -> None:
        self._scale = plan.scale
        self._mean = torch.tensor(plan.mean).view(1, 3, 1, 1).to(device)
        self._std = torch.tensor(plan.std).view(1, 3, 1, 1).to(device)
        self._device = device
        self._dtype = dtype

    def __call__(self, frames: Tensor) -> Tensor:
        """frames: [n, height, width, 3] uint8, anywhere."""
        on_device = to_device(frames, self._device).permute(0, 3, 1, 2)
        return on_device.float().mul_(self._scale).sub_(self._mean).div_(self._std).to(self._dtype)


Encoded: TypeAlias = tuple[Sequence[np.ndarray], None] | tuple[None, np.ndarray]
"""Arrays as the store keeps them; or [(L,) T, S, D] float32 of what does not fit its dtype."""


@dataclass(frozen=True, slots=True)
class EncodedClip:
    """One view of a clip, ready to be stored."""

    record: ClipRecord
    arrays: Sequence[np.ndarray] | None
    """As the store keeps them."""
    tokens: np.ndarray | None
    """[(L,) T, S, D] float32 in their place: the store converts them, or says what does not fit."""


class BackboneRunner:
    """A backbone on a device, with its token selection: decoded clips in, stored arrays out.

    Args:
        backbone: moved to the device.
        selection: tokens of a frame.
        device: where.
        dtype: arithmetic of the model.
        tf32: let a CUDA GPU round the factors of float32 products to 10 bits.
        batch: frames of one pass.
        layers: counted from the end.
        store_dtype: what the store keeps.
        compiled: let torch compile the model; every pass then has exactly `batch` frames.
    """

    def __init__(
        self,
        backbone: Backbone,
        selection: TokenSelection,
        *,
        device: torch.device,
        dtype: torch.dtype,
        batch: int,
        tf32: bool = False,
        layers: Sequence[int] = (-1,),
        store_dtype: Dtype = "float32",
        compiled: bool = False,
    ) -> None:
        use_exact_float32(tf32=tf32)
        backbone.to(device, dtype)
        if compiled:
            backbone.compile()
        self._backbone = backbone
        self._selection = selection
        self._to_pixels = ToPixels(backbone.facts.plan, device, dtype)
        self._device = device
        self._batch = batch
        self._layers = tuple(layers)
        self._store_dtype: Dtype = store_dtype
        self._full_batches = compiled
        self._of_thread = threading.local()
        self._settle()

    def warm_up(self, frames: int) -> None:
        """Run once on black frames: compiling takes a minute, and only one thread may do it."""
        plan, clip = self._backbone.facts.plan, self._backbone.facts.token_scope != "frame"
        black = torch.zeros(frames if clip else self._batch, plan.height, plan.width, 3)
        black = black.to(torch.uint8)
        with torch.inference_mode():
            self._whole_clips(black[None]) if clip else self._frames(black)
        self._settle()

    def _settle(self) -> None:
        """Wait for this thread's stream: what it has made is used on streams that did not."""
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()

    def __call__(self, clips: Sequence[DecodedClip]) -> list[EncodedClip]:
        """Run the clips in one batch, and give their memory back."""
        with torch.inference_mode(), self._stream():
            encoded = self._encoded(self._tokens(clips))
            records = [
                _record(clip, view, self._backbone.facts.frames_per_token)
                for clip in clips
                for view in clip.views
            ]
            return [
                EncodedClip(record, arrays, tokens)
                for record, (arrays, tokens) in zip(records, encoded, strict=True)
            ]

    def encoded_frames(self, frames: Tensor) -> list[Encoded]:
        """Single frames as clips of one step, for a backbone of frame scope.

        Their arrays side by side are those of a clip; in int8-channel, where a scale belongs to
        the whole clip, they stay floats.

        Args:
            frames: [n, height, width, 3] uint8.
        """
        with torch.inference_mode(), self._stream():
            tokens = self._frames(frames)[:, None]
            if self._store_dtype == "int8-channel":
                return [(None, each) for each in self._layers_first(tokens).float().cpu().numpy()]
            return self._encoded(tokens)

    def frames(self, frames: Tensor) -> np.ndarray:
        """Tokens of single frames, for a backbone of frame scope.

        Args:
            frames: [n, height, width, 3] uint8.

        Returns:
            [n, S, D] float32, [n, L, S, D] for several layers.
        """
        with torch.inference_mode():
            tokens: np.ndarray = self._frames(frames).float().cpu().numpy()
        return tokens

    def clips(self, clips: Tensor) -> np.ndarray:
        """Tokens of whole clips, for a backbone of clip scope.

        Args:
            clips: [n, frames, height, width, 3] uint8, repeated frames included.

        Returns:
            [n, T, S, D] float32.
        """
        with torch.inference_mode():
            tokens: np.ndarray = self._whole_clips(clips).float().cpu().numpy()
        return tokens

    def _encoded(self, tokens: Tensor) -> list[Encoded]:
        """tokens: [n, T, (L,) S, D] on the device."""
        tokens = self._layers_first(tokens)
        encoded, fitting = encode(tokens.float(), self._store_dtype)
        arrays, fits = self._to_host(encoded), fitting.tolist()
        return [
            ([array[i] for array in arrays], None)
            if fits[i]
            else (None, tokens[i].float().cpu().numpy())
            for i in range(len(tokens))
        ]

    def _layers_first(self, tokens: Tensor) -> Tensor:
        """[n, T, (L,) S, D] -> [n, (L,) T, S, D]."""
        return tokens.transpose(1, 2) if len(self._layers) > 1 else tokens

    def _tokens(self, clips: Sequence[DecodedClip]) -> Tensor:
        """Of all views of the clips: [views, T, (L,) S, D] on the device."""
        if self._backbone.facts.token_scope != "frame":
            shown = [clip.images[v.positions, v.space] for clip in clips for v in clip.views]
            for clip in clips:
                clip.release()
            return self._whole_clips(torch.from_numpy(np.stack(shown)))
        images = [clip.images.reshape(-1, *clip.images.shape[2:]) for clip in clips]
        frames = torch.from_numpy(np.concatenate(images))
        rows, first = [], 0
        for clip, own in zip(clips, images, strict=True):
            spaces = clip.images.shape[1]
            rows += [first + spaces * np.array(v.positions) + v.space for v in clip.views]
            first += len(own)
            clip.release()
        index = to_device(torch.from_numpy(np.stack(rows)), self._device)
        return self._frames(frames)[index]

    def _frames(self, frames: Tensor) -> Tensor:
        done = []
        for some in torch.split(frames, self._batch):
            count = len(some)
            if self._full_batches and count < self._batch:
                some = torch.cat([some, some[:1].expand(self._batch - count, -1, -1, -1)])
            done.append(self._reduced(self._to_pixels(some))[:count])
        return torch.cat(done)

    def _whole_clips(self, clips: Tensor) -> Tensor:
        done = []
        for some in torch.split(clips, max(1, self._batch // clips.shape[1])):
            pixels = self._to_pixels(some.flatten(0, 1)).unflatten(0, some.shape[:2])  # type: ignore[no-untyped-call]
            done.append(self._reduced(pixels).unflatten(0, (len(some), -1)))  # type: ignore[no-untyped-call]
        return torch.cat(done)

    def _reduced(self, pixels: Tensor) -> Tensor:
        layers = [
            self._selection.reduce(tokens) for tokens in self._backbone.layers(pixels, self._layers)
        ]
        return layers[0] if len(layers) == 1 else torch.stack(layers, dim=1)

    def _stream(self) -> AbstractContextManager[object]:
        """Each thread has a stream of its own, so that one's copies run beside another's pass."""
        if self._device.type != "cuda":
            return nullcontext()
        if not hasattr(self._of_thread, "stream"):
            self._of_thread.stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        return torch.cuda.stream(self._of_thread.stream)

    def _to_host(self, tensors: Sequence[Tensor]) -> list[np.ndarray]:
        if self._device.type != "cuda":
            return [tensor.contiguous().cpu().numpy() for tensor in tensors]
        copies = []
        for tensor in tensors:
            pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            copies.append(pinned.copy_(tensor, non_blocking=True))
        torch.cuda.current_stream(self._device).synchronize()
        return [copy.numpy() for copy in copies]


def _record(clip: DecodedClip, view: DecodedView, span: int) -> ClipRecord:
    """What the store keeps about a view; a step of several frames has their mean time."""
    steps = [view.positions[i : i + span] for i in range(0, len(view.positions), span)]
    times = np.array(view.pts_seconds).reshape(-1, span).mean(axis=1)
    return ClipRecord(
        id=view.id,
        source=str(clip.clip.path),
        pts_seconds=tuple(times.tolist()),
        distinct_frames=len({tuple(step) for step in steps}),
        frame_height=clip.read.frame_height,
        frame_width=clip.read.frame_width,
        origin=source_of(clip.clip, clip.source),
    )


def group_by_frames(
    results: Iterable[DecodedClip | Failure], frames: int, clips: int
) -> Iterator[list[DecodedClip] | Failure]:
    """Clips whose distinct frames together fill a batch; failures pass through unchanged.

    Args:
        results: of a decode pool.
        frames: frames of a batch; a single clip may have more.
        clips: most clips of a group. A group holds its clips' shared memory, so with many short
            clips the decoders would otherwise wait for it, and it for them.
    """
    group: list[DecodedClip] = []
    held = 0
    for result in results:
        if isinstance(result, Failure):
            yield result
            continue
        count = result.images.shape[0] * result.images.shape[1]
        if group and (held + count > frames or len(group) == clips):
            yield group
            group, held = [], 0
        group.append(result)
        held += count
    if group:
        yield group
