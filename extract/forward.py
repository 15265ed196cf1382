"""The middle stage: pixels of several clips through the backbone in one batch."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stepcli.cache.clips import ClipRecord, Failure
from stepcli.cache.errors import UsageError
from stepcli.extract.backbones.base import Backbone
from stepcli.extract.preprocess import PixelPlan
from stepcli.extract.tokens import TokenSelection
from stepcli.extract.workers import DecodedClip


def resolve_device(name: str) -> torch.device:
    """The device of a name: "auto" takes the first GPU there is, else the CPU.

    Raises:
        UsageError: the device is not here; nothing else is taken in its place.
    """
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        # Under SLURM the processes of one machine take a GPU each.
        local = int(os.environ.get("SLURM_LOCALID", "0"))
        return torch.device(f"cuda:{local % torch.cuda.device_count()}")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise UsageError(f"--device {name} is not known; expected auto, cpu, cuda or cuda:<number>")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name}: this machine offers torch {torch.cuda.device_count()} GPUs; "
            "ask for auto or cpu, or install a torch with CUDA"
        )
    return torch.device(name)


class ToPixels:
    """uint8 frames -> normalised pixels on the device, as the plan says.

    The result is [n, 3, height, width] in channels-last memory, which convolutions like best.
    """

    def __init__(self, plan: PixelPlan, device: torch.device, dtype: torch.dtype) -> None:
        self._scale = plan.scale
        self._mean = torch.tensor(plan.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(plan.std, device=device).view(1, 3, 1, 1)
        self._device = device
        self._dtype = dtype

    def __call__(self, frames: Tensor) -> Tensor:
        """frames: [n, height, width, 3] uint8, anywhere."""
        if self._device.type == "cuda":
            frames = frames.pin_memory()  # only from there is the copy asynchronous
        on_device = frames.to(self._device, non_blocking=True).permute(0, 3, 1, 2)
        pixels = (on_device.float() * self._scale - self._mean) / self._std
        return pixels.to(self._dtype)


@dataclass(frozen=True, slots=True)
class ClipTokens:
    """A clip that is ready to be stored."""

    record: ClipRecord
    tokens: np.ndarray
    """[T, S, D] float32."""


class Forward:
    """A backbone on a device, with its token selection: decoded clips in, tokens out."""

    def __init__(
        self,
        backbone: Backbone,
        selection: TokenSelection,
        *,
        device: torch.device,
        dtype: torch.dtype,
        batch: int,
    ) -> None:
        backbone.to(device, dtype)
        self._backbone = backbone
        self._selection = selection
        self._to_pixels = ToPixels(backbone.facts.plan, device, dtype)
        self._batch = batch

    def __call__(self, clips: Sequence[DecodedClip]) -> list[ClipTokens]:
        """Run the clips in one batch, and give their memory back."""
        whole = self._backbone.facts.token_scope != "frame"
        images = [clip.images[clip.positions] if whole else clip.images for clip in clips]
        frames = torch.from_numpy(np.concatenate(images))
        for clip in clips:
            clip.release()
        if whole:
            tokens = self.clips(frames.unflatten(0, (len(clips), -1)))  # type: ignore[no-untyped-call]
        else:
            ends = np.cumsum([len(clip.images) for clip in clips])
            parts = np.split(self.frames(frames), ends[:-1])
            tokens = [own[clip.positions] for own, clip in zip(parts, clips, strict=True)]
        return [
            ClipTokens(_record(clip, self._backbone.facts.frames_per_token), own)
            for clip, own in zip(clips, tokens, strict=True)
        ]

    @torch.inference_mode()
    def frames(self, frames: Tensor) -> np.ndarray:
        """Tokens of single frames, for a backbone of frame scope.

        Args:
            frames: [n, height, width, 3] uint8.

        Returns:
            [n, S, D] float32.
        """
        done = [
            self._selection.reduce(self._backbone.tokens(self._to_pixels(some))).float().cpu()
            for some in torch.split(frames, self._batch)
        ]
        tokens: np.ndarray = torch.cat(done).numpy()
        return tokens

    @torch.inference_mode()
    def clips(self, clips: Tensor) -> list[np.ndarray]:
        """Tokens of whole clips, for a backbone of clip scope.

        Args:
            clips: [n, frames, height, width, 3] uint8, repeated frames included.

        Returns:
            n arrays [T, S, D] float32.
        """
        pixels = self._to_pixels(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])  # type: ignore[no-untyped-call]
        tokens = self._selection.reduce(self._backbone.tokens(pixels)).float().cpu().numpy()
        return np.split(tokens, len(clips))


def _record(clip: DecodedClip, span: int) -> ClipRecord:
    """What the store keeps about a clip; a step of several frames has their mean time."""
    steps = [clip.positions[i : i + span] for i in range(0, len(clip.positions), span)]
    times = np.array(clip.pts_seconds).reshape(-1, span).mean(axis=1)
    return ClipRecord(
        id=clip.clip.id,
        source=str(clip.clip.path),
        pts_seconds=tuple(times.tolist()),
        distinct_frames=len({tuple(step) for step in steps}),
        frame_height=clip.frame_height,
        frame_width=clip.frame_width,
    )


def group_by_frames(
    results: Iterable[DecodedClip | Failure], frames: int, clips: int
) -> Iterator[list[DecodedClip] | Failure]:
    """Clips whose distinct frames together fill a batch; failures pass through as they come.

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
        if group and (held + len(result.images) > frames or len(group) == clips):
            yield group
            group, held = [], 0
        group.append(result)
        held += len(result.images)
    if group:
        yield group
