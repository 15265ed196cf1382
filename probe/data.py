"""Tokens in memory: the clips of a task, read once from the store, and batches of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from stepcli.probe.tasks import Samples, Task
from stepcli.probe.tokens import TokenBatch, TokenLayout

if TYPE_CHECKING:
    from stepcli.cache.store import Store

READ_CLIPS = 256
"""Clips read from the store at once."""

RESIDENT = {"float16": torch.float16, "bfloat16": torch.bfloat16}
"""Type in memory of tokens that are stored so; all others are float32."""


def layout_of(store: "Store", task: Task) -> TokenLayout:
    """Shape and meaning of what a probe of this task sees."""
    return TokenLayout(task.length, store.spec.dim, store.spec.segments)


@dataclass(frozen=True, slots=True)
class Features:
    """The tokens of clips, as stored, resident on one device."""

    tokens: Tensor
    """[clips, T, S, D], of half precision where the store is."""
    row_of: dict[str, int]
    """Row of a clip in `tokens` by its id."""

    @classmethod
    def load(cls, store: "Store", clips: Sequence[str], device: torch.device) -> "Features":
        """Read the tokens of clips: float types as stored, int8 as float32."""
        spec = store.spec
        dtype = RESIDENT.get(spec.dtype, torch.float32)
        tokens = torch.empty((len(clips), *spec.clip_shape), dtype=dtype, device=device)
        for start in range(0, len(clips), READ_CLIPS):
            ids = clips[start : start + READ_CLIPS]
            # Copying rounds nothing away: the resident type holds every stored value.
            tokens[start : start + len(ids)] = torch.from_numpy(store.read_floats(ids))
        return cls(tokens, {clip: row for row, clip in enumerate(clips)})

    @property
    def device(self) -> torch.device:
        """Where the tokens are, and where probes on them are trained."""
        return self.tokens.device

    def batch(self, task: Task, samples: Samples) -> TokenBatch:
        """The samples' frames as they are shown, [B, T, S, D]."""
        clips, frames, tokens, dim = self.tokens.shape
        row_of_clip = np.array([self.row_of[task.clips[clip]] for clip in samples.clip])
        rows = row_of_clip[:, None] * frames + samples.frames(task.length)
        index = torch.from_numpy(rows.ravel()).to(self.device)
        chosen = self.tokens.view(clips * frames, tokens, dim).index_select(0, index)
        return TokenBatch(chosen.view(len(samples), task.length, tokens, dim))

    def batches(
        self, task: Task, samples: Samples, size: int
    ) -> Iterator[tuple[TokenBatch, Tensor]]:
        """Samples in order, `size` at a time, with their labels [B]; the last may be smaller."""
        for start in range(0, len(samples), size):
            part = samples[start : start + size]
            labels = torch.from_numpy(part.label.astype(np.int64))
            yield self.batch(task, part), labels.to(self.device)
