"""Which of the stored frames are shown to a probe: how many, and which."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stepcli.probe.config import TaskConfig
from stepcli.probe.data.order_maps import order_map
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted

Ints = NDArray[np.int64]
FrameChoice = Literal["crop", "jitter", "spread", "arranged"]
"""Contiguous runs; a random frame of each of equal stretches; evenly spread ones; as the order
task's index map says."""


def shown_frames(config: TaskConfig, frames: int) -> tuple[int, int]:
    """Of `frames` stored frames: how many, from the first, may be looked at; how many a probe sees.

    Raises:
        UsageError: the probe would see more than there are, or fewer than the task needs.
    """
    observed = max(1, round(config.observed * frames))
    seen = "" if observed == frames else f", of which {observed} may be observed"
    arranged = order_map(config.name)
    if arranged is not None:
        if observed < arranged.least_stored:
            raise UsageError(
                f"--task {config.name} needs at least {arranged.least_stored} stored frames per "
                f"clip; the store has {counted(frames, 'frame')} per clip{seen}; extract with more "
                "--frames"
            )
        length = arranged.frames if config.clip_frames is None else config.clip_frames
        if length < arranged.least_frames:
            raise UsageError(
                f"--clip-frames {length}: --task {config.name} shows at least "
                f"{arranged.least_frames} frames; leave it out for {arranged.frames}"
            )
        return observed, length
    length = observed if config.clip_frames is None else config.clip_frames
    if length > observed:
        raise UsageError(
            f"--clip-frames {length}: the store has {frames} frames per clip{seen}; ask for at "
            "most that, or extract with more --frames"
        )
    return observed, length


def crop_starts(stored: int, length: int) -> Ints:
    """First frames of the runs that a test shows of a clip: first, middle and last, each once."""
    return np.unique([0, (stored - length) // 2, stored - length])


def spread(stored: int, length: int) -> Ints:
    """[length]: frames evenly spread over the stored ones, the same seen from either end."""
    centers = (np.arange(length) + 0.5) * stored / length - 0.5
    first = np.floor(centers[: length // 2]).astype(np.int64)
    middle = [(stored - 1) // 2] if length % 2 else []
    return np.concatenate([first, np.array(middle, np.int64), stored - 1 - first[::-1]])
