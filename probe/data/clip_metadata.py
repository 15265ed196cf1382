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
    """Records of a store's clips, read when first asked for: most probes never ask.

    Those of all clips of a task at once, as arrays: a tenth of what a record per clip takes.
    """

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._seconds: dict[str, NDArray[np.float64]] = {}

    def of(self, task: "Task", samples: "Samples") -> SampleFacts:
        """Facts of the samples' frames, in the order in which they are shown."""
        steps, clips = samples.frames(task.length), samples.clips(task.length)
        shown = np.unique(clips)
        if any(task.clips[clip] not in self._seconds for clip in shown):
            self._read([clip for clip in task.clips if clip not in self._seconds])
        seconds = np.empty(steps.shape)
        for clip in shown:
            mine = clips == clip
            seconds[mine] = self._seconds[task.clips[clip]][steps[mine]]
        return SampleFacts(torch.from_numpy(seconds.astype(np.float32)))

    def _read(self, clips: list[str]) -> None:
        times = self._store.record_columns(clips).pts_seconds
        self._seconds |= dict(zip(clips, times, strict=True))
