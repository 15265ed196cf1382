"""Tokens that do not fit into memory: read as they are used, in the order on disk."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from stepcli.probe.data.block_order import Blocks, block_order, blocks_of, chunks
from stepcli.probe.data.clip_metadata import ClipFacts
from stepcli.probe.data.features import (
    Features,
    as_read,
    deepest_last,
    frames_first,
    joined,
    of_several_clips,
    read_stored,
    resident_type,
)
from stepcli.probe.data.frame_choice import Ints
from stepcli.probe.data.int8_tokens import CodedTokens
from stepcli.probe.data.tasks import Samples, Task
from stepcli.probe.data.tokens import TokenBatch
from stepcli.runtime.device_copies import to_device

if TYPE_CHECKING:
    from stepcli.cache.store.store import Store

Buffers = list[Tensor]
"""Tokens of clips as read [n, (L,) T, S, D]; of int8 also scales, and scales of channels."""


class Streamed(Features):
    """Tokens read from the store group by group, the next one while this one is used.

    Training samples come in shuffled blocks (`block_order`), test samples in the order on disk, so
    that the ranges read ascend within a group.
    """

    def __init__(self, store: "Store", device: torch.device, blocks: Blocks | None = None) -> None:
        """Stream from `store`; `blocks` say how finely training samples are shuffled."""
        self.device = device
        self.facts = ClipFacts(store)
        self.layers = deepest_last(store.spec.layers)
        self._store = store
        size = resident_type(store.spec).itemsize * int(np.prod(store.spec.clip_shape))
        self.blocks = blocks or blocks_of(size, 1 << 40)
        self._ranks: tuple[tuple[str, ...], Ints] = ((), np.empty(0, np.int64))

    @property
    def shuffling(self) -> str:
        """How finely samples are shuffled, for the record."""
        return str(self.blocks)

    def training_order(self, task: Task, samples: Samples, seed: tuple[int, ...]) -> Ints | None:
        """Order [n]: shuffled blocks of clips that lie together."""
        return block_order(self._shown_ranks(task, samples), self.blocks, seed)

    def reading_order(self, task: Task, samples: Samples) -> Ints | None:
        """Order [n] on disk."""
        return np.argsort(self._shown_ranks(task, samples), kind="stable")

    def _shown_ranks(self, task: Task, samples: Samples) -> Ints:
        """[n]: place on disk of the first clip that each sample shows."""
        return self._ranks_of(task)[samples.clips(task.length)[:, 0]]

    def _ranks_of(self, task: Task) -> Ints:
        """[clips]: place of each among all on disk."""
        if self._ranks[0] is not task.clips:
            unique = list(dict.fromkeys(task.clips))
            rank = {clip: place for place, clip in enumerate(self._store.storage_order(unique))}
            self._ranks = (task.clips, np.array([rank[clip] for clip in task.clips], np.int64))
        return self._ranks[1]

    def stored(self, task: Task, samples: Samples) -> Tensor | CodedTokens:
        """The samples' frames as they are kept, [B, T, (L,) S, D], on `device`."""
        clips, place = np.unique(samples.clips(task.length), return_inverse=True)
        read = self._load([task.clips[clip] for clip in clips], [])
        return self._pick(read, place.reshape(len(samples), task.length), task, samples)

    def batches(
        self, task: Task, samples: Samples, size: int
    ) -> Iterator[tuple[TokenBatch, Tensor]]:
        """As every features' batches; the clips of many are read together, in order, ahead."""
        shown, ranks = samples.clips(task.length), self._ranks_of(task)
        parts = chunks(shown, size, self.blocks.group_clips)
        places = np.empty(len(task.clips), np.int64)
        # Two sets of buffers in turn: memory that is new to the process costs as much as reading.
        buffers: tuple[Buffers, Buffers] = ([], [])

        def load(number: int) -> tuple[Ints, Buffers]:
            clips = np.unique(shown[parts[number]])
            clips = clips[np.argsort(ranks[clips], kind="stable")]
            return clips, self._load([task.clips[clip] for clip in clips], buffers[number % 2])

        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(load, 0) if parts else None
            for number, part in enumerate(parts):
                assert ahead is not None
                clips, read = ahead.result()
                if number + 1 < len(parts):
                    ahead = reader.submit(load, number + 1)
                places[clips] = np.arange(len(clips))
                for start in range(part.start, part.stop, size):
                    some = samples[start : min(start + size, part.stop)]
                    kept = self._pick(read, places[some.clips(task.length)], task, some)
                    yield self.batch(task, some, joined(some, kept)), self._labels(task, some)

    def _load(self, ids: Sequence[str], buffers: Buffers) -> Buffers:
        """Read clips, into `buffers` where they are of a kind that can be read into memory itself;
        empty or too small ones are replaced."""
        spec = self._store.spec
        kind = resident_type(spec)
        if kind is not torch.int8 and (len(spec.layers) > 1 or spec.dtype.startswith("int8")):
            return [frames_first(read_stored(self._store, ids), spec.layers).contiguous()]
        if not buffers or len(buffers[0]) < len(ids):
            if kind is torch.int8:
                buffers[:] = map(torch.from_numpy, self._store.read_arrays(ids))
                return buffers
            buffers[:] = [torch.empty((len(ids), *spec.clip_shape), dtype=kind)]
        mine = [buffer[: len(ids)] for buffer in buffers]
        self._store.read_arrays(ids, [as_read(buffer) for buffer in mine])
        return mine

    def _pick(
        self, read: Buffers, places: Ints, task: Task, samples: Samples
    ) -> Tensor | CodedTokens:
        """The frames that samples show, of clips that are read; `places` [B, T]: of which."""
        rows = torch.from_numpy(places)
        frames = torch.from_numpy(samples.frames(task.length))
        at = (rows * self._store.spec.frames + frames).flatten()
        # Whole frames by one index, which is faster than a pair of indices.
        shown, *scales_shown = (
            values.flatten(0, 1).index_select(0, at).view(*rows.shape, *values.shape[2:])
            for values in read[:2]
        )
        shown = to_device(shown, self.device)
        if resident_type(self._store.spec) is not torch.int8:
            return shown
        rest = read[2:]
        scales = to_device(scales_shown[0], self.device)
        if not rest:
            return CodedTokens(shown, scales)
        if samples.rows is not None:
            return of_several_clips(shown, scales, to_device(rest[0][rows], self.device))
        return CodedTokens(shown, scales, to_device(rest[0][rows[:, 0]], self.device))
