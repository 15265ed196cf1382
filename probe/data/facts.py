"""What extraction found out about the clips of a batch: when its frames were, which are real."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from stepcli.cache.padding import frame_mask, is_padded
from stepcli.probe.data.tokens import SampleFacts

if TYPE_CHECKING:
    from stepcli.cache.store import Store
    from stepcli.probe.data.tasks import Samples, Task


class ClipFacts:
    """Records of a store's clips, read when first asked for: most probes never ask."""

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._padded = is_padded(store.spec.sampling)
        self._records: dict[str, tuple[NDArray[np.float64], int]] = {}

    def _record(self, clip: str) -> tuple[NDArray[np.float64], int]:
        if clip not in self._records:
            record = self._store.record(clip)
            self._records[clip] = np.array(record.pts_seconds), record.distinct_frames
        return self._records[clip]

    def of(self, task: "Task", samples: "Samples") -> SampleFacts:
        """Facts of the samples' frames, in the order in which they are shown."""
        steps = samples.frames(task.length)
        seconds = np.stack(
            [
                self._record(task.clips[clip])[0][row]
                for clip, row in zip(samples.clip, steps, strict=True)
            ]
        )
        return SampleFacts(torch.from_numpy(seconds.astype(np.float32)))

    def mask(self, task: "Task", samples: "Samples") -> torch.Tensor | None:
        """[B, T], False where a shown step is padding; None where none is.

        Of a sample that lies wholly in padding every step counts: padding repeats the last frame,
        so what is shown is that frame, standing still.
        """
        if not self._padded:
            return None
        distinct = [self._record(task.clips[clip])[1] for clip in samples.clip]
        real = frame_mask(self._store.spec.sampling, distinct, self._store.spec.frames)
        shown = np.take_along_axis(real, samples.frames(task.length), axis=1)
        shown |= ~shown.any(axis=1, keepdims=True)
        return None if shown.all() else torch.from_numpy(shown)
