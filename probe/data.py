"""Tokens in memory: the clips of a task, read once from the store, and batches of them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from stepcli.probe.facts import ClipFacts
from stepcli.probe.tasks import Samples, Task
from stepcli.probe.text import stored_texts
from stepcli.probe.tokens import TokenBatch, TokenLayout

if TYPE_CHECKING:
    from stepcli.cache.store import Store

READ_CLIPS = 256
"""Clips read from the store at once."""

RESIDENT = {"float16": torch.float16, "bfloat16": torch.bfloat16}
"""Type in memory of tokens that are stored so; all others are float32."""


def layout_of(store: "Store", task: Task) -> TokenLayout:
    """Shape and meaning of what a probe of this task sees."""
    layout = store_layout(store, task.length, task.classes)
    return layout if task.layer is None else replace(layout, layers=(task.layer,))


def store_layout(store: "Store", frames: int, classes: tuple[str, ...]) -> TokenLayout:
    """Shape and meaning of a store's tokens and texts, of so many frames and these classes."""
    spec = store.spec
    texts = stored_texts(store.path)
    return TokenLayout(frames, spec.dim, spec.segments, deepest_last(spec.layers), classes, texts)


def deepest_last(layers: tuple[int, ...]) -> tuple[int, ...]:
    """Stored layers in the order of the network."""
    return tuple(sorted(layers))


def frames_first(read: np.ndarray, layers: tuple[int, ...]) -> Tensor:
    """Clips as read, [n, T, S, D] or [n, L, T, S, D], with time first and the deepest layer last:
    [n, T, S, D] or [n, T, L, S, D].
    """
    tokens = torch.from_numpy(read)
    if len(layers) == 1:
        return tokens
    order = [layers.index(layer) for layer in deepest_last(layers)]
    return tokens[:, order].transpose(1, 2)


class Features(ABC):
    """Tokens of clips, wherever they are kept; probes are trained on `device`."""

    device: torch.device
    facts: ClipFacts
    layers: tuple[int, ...]
    """Stored layers, deepest last."""

    @abstractmethod
    def gather(self, task: Task, samples: Samples) -> Tensor:
        """The samples' frames as they are shown, [B, T, (L,) S, D], on `device`."""

    def batches(
        self, task: Task, samples: Samples, size: int
    ) -> Iterator[tuple[TokenBatch, Tensor]]:
        """Samples in order, `size` at a time, with their labels [B]; the last may be smaller."""
        for start in range(0, len(samples), size):
            part = samples[start : start + size]
            yield self.batch(task, part, self.gather(task, part)), self._labels(part)

    def batch(self, task: Task, samples: Samples, tokens: Tensor) -> TokenBatch:
        """Gathered tokens with the mask of their padding and what is known of their frames."""
        mask = self.facts.mask(task, samples)
        if task.layer is not None and tokens.ndim == 5:
            place = self.layers.index(task.layer)
            tokens = tokens[:, :, place : place + 1]
        return TokenBatch(
            tokens,
            None if mask is None else mask.to(self.device),
            facts=lambda: self.facts.of(task, samples).to(self.device),
        )

    def _labels(self, samples: Samples) -> Tensor:
        return torch.from_numpy(samples.label.astype(np.int64)).to(self.device)


class Resident(Features):
    """All tokens in memory: on the device itself, or on the host beside a GPU."""

    def __init__(
        self, store: "Store", clips: Sequence[str], device: torch.device, kept_on: torch.device
    ) -> None:
        """Read the tokens of clips: float types as stored, int8 as float32."""
        self.device = device
        self.facts = ClipFacts(store)
        self.layers = deepest_last(store.spec.layers)
        spec = store.spec
        dtype = RESIDENT.get(spec.dtype, torch.float32)
        layers = [len(spec.layers)] if len(spec.layers) > 1 else []
        shape = (len(clips), spec.frames, *layers, spec.tokens_per_frame, spec.dim)
        self.tokens = torch.empty(shape, dtype=dtype, device=kept_on)
        for start in range(0, len(clips), READ_CLIPS):
            ids = clips[start : start + READ_CLIPS]
            # Copying rounds nothing away: the resident type holds every stored value.
            read = frames_first(store.read_floats(ids), spec.layers)
            self.tokens[start : start + len(ids)] = read
        self._row_of = {clip: row for row, clip in enumerate(clips)}

    def gather(self, task: Task, samples: Samples) -> Tensor:
        """The samples' frames as they are shown, [B, T, (L,) S, D], on `device`."""
        clips, frames, *shape = self.tokens.shape
        row_of_clip = np.array([self._row_of[task.clips[clip]] for clip in samples.clip])
        rows = row_of_clip[:, None] * frames + samples.frames(task.length)
        index = torch.from_numpy(rows.ravel()).to(self.tokens.device)
        chosen = self.tokens.view(clips * frames, *shape).index_select(0, index)
        return chosen.view(len(samples), task.length, *shape).to(self.device)


class Streamed(Features):
    """Tokens read from the store batch by batch, the next one while this one is used."""

    def __init__(self, store: "Store", device: torch.device) -> None:
        self.device = device
        self.facts = ClipFacts(store)
        self.layers = deepest_last(store.spec.layers)
        self._store = store

    def gather(self, task: Task, samples: Samples) -> Tensor:
        """The samples' frames as they are shown, [B, T, (L,) S, D], on `device`."""
        clips, row_of = np.unique(samples.clip, return_inverse=True)
        floats = self._store.read_floats([task.clips[clip] for clip in clips])
        read = frames_first(floats, self._store.spec.layers)
        frames = torch.from_numpy(samples.frames(task.length))
        return read[torch.from_numpy(row_of)[:, None], frames].to(self.device)

    def batches(
        self, task: Task, samples: Samples, size: int
    ) -> Iterator[tuple[TokenBatch, Tensor]]:
        """As every features' batches, with one batch read ahead."""
        parts = [samples[start : start + size] for start in range(0, len(samples), size)]
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self.gather, task, parts[0])
            for part, following in zip(parts, [*parts[1:], None], strict=True):
                tokens = ahead.result()
                if following is not None:
                    ahead = reader.submit(self.gather, task, following)
                yield self.batch(task, part, tokens), self._labels(part)
