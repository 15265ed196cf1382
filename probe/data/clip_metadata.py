"""What extraction found out about the clips of a batch: when its frames were."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from stepcli.probe.data.tokens import SampleFacts

if TYPE_CHECKING:
    from stepcli.cache.store.store import Store
    from stepcli.probe.data.tasks import Samples, Task


class ClipFacts:
    """Records of a store's clips, read when first asked for: most probes never ask."""

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._seconds: dict[str, NDArray[np.float64]] = {}

    def _times(self, clip: str) -> NDArray[np.float64]:
        if clip not in self._seconds:
            self._seconds[clip] = np.array(self._store.record(clip).pts_seconds)
        return self._seconds[clip]

    def of(self, task: "Task", samples: "Samples") -> SampleFacts:
        """Facts of the samples' frames, in the order in which they are shown."""
        steps = samples.frames(task.length)
        seconds = np.stack(
            [
                self._times(task.clips[clip])[row]
                for clip, row in zip(samples.clip, steps, strict=True)
            ]
        )
        return SampleFacts(torch.from_numpy(seconds.astype(np.float32)))
