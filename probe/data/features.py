"""Tokens in memory: the clips of a task, read once from the store, and batches of them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.store.streaming import load_resident_arrays
from stepcli.probe.data.clip_metadata import ClipFacts
from stepcli.probe.data.frame_choice import Ints
from stepcli.probe.data.int8_tokens import CodedTokens
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tasks import Samples, Task
from stepcli.probe.data.text import stored_texts
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.data.twins import joined_layout, joined_tokens
from stepcli.runtime.device_copies import to_device

if TYPE_CHECKING:
    from stepcli.cache.store.store import Store

READ_CLIPS = 256
"""Clips read from the store at once."""

RESIDENT = {"float16": torch.float16, "bfloat16": torch.bfloat16}
"""Type in memory of tokens that are stored so; int8 of one layer stays int8, others are float32."""


def resident_type(spec: StoreSpec) -> torch.dtype:
    """Type in memory of a store's tokens."""
    if spec.dtype.startswith("int8") and len(spec.layers) == 1:
        return torch.int8
    return RESIDENT.get(spec.dtype, torch.float32)


def task_layout(store: "Store", task: Task) -> TokenLayout:
    """Shape and meaning of what a probe of this task sees."""
    layout = store_layout(store, task.length, task.classes)
    if task.order is not None and task.order.joins:
        layout = joined_layout(layout)
    return layout if task.layer is None else replace(layout, layers=(task.layer,))


def store_layout(store: "Store", frames: int, classes: tuple[str, ...]) -> TokenLayout:
    """Shape and meaning of a store's tokens and texts, for these frames and classes."""
    spec = store.spec
    texts = stored_texts(store.path)
    return TokenLayout(frames, spec.dim, spec.segments, deepest_last(spec.layers), classes, texts)


def deepest_last(layers: tuple[int, ...]) -> tuple[int, ...]:
    """Stored layers in the order of the network."""
    return tuple(sorted(layers))


def frames_first(read: np.ndarray | Tensor, layers: tuple[int, ...]) -> Tensor:
    """Clips as read, [n, T, S, D] or [n, L, T, S, D], with time first and the deepest layer last:
    [n, T, S, D] or [n, T, L, S, D].
    """
    tokens = torch.from_numpy(read) if isinstance(read, np.ndarray) else read
    if len(layers) == 1:
        return tokens
    order = [layers.index(layer) for layer in deepest_last(layers)]
    return tokens[:, order].transpose(1, 2)


def as_read(tokens: Tensor) -> np.ndarray:
    """A tensor's own memory as the array that a store reads into."""
    same = tokens.view(torch.uint16) if tokens.dtype == torch.bfloat16 else tokens
    array: np.ndarray = same.numpy()
    return array


def read_stored(store: "Store", clips: Sequence[str]) -> Tensor:
    """Tokens of clips in their resident type, as stored."""
    if store.spec.dtype.startswith("int8"):
        return torch.from_numpy(store.read_floats(clips))
    tokens = torch.empty((len(clips), *store.spec.clip_shape), dtype=resident_type(store.spec))
    store.read(clips, as_read(tokens))
    return tokens


def _read_floats(store: "Store", clips: Sequence[str], kept_on: torch.device) -> Tensor:
    """Tokens of clips in their resident type, [n, T, (L,) S, D].

    On the host they are read into the tensor itself; a device, or several layers, need a copy of
    `READ_CLIPS` clips on the way.
    """
    spec = store.spec
    layers = [len(spec.layers)] if len(spec.layers) > 1 else []
    shape = (len(clips), spec.frames, *layers, spec.tokens_per_frame, spec.dim)
    tokens = torch.empty(shape, dtype=resident_type(spec), device=kept_on)
    as_stored = kept_on.type == "cpu" and not layers
    for start in range(0, len(clips), READ_CLIPS):
        ids = clips[start : start + READ_CLIPS]
        part = tokens[start : start + len(ids)]
        if as_stored:
            store.read(ids, as_read(part))
        else:
            part.copy_(frames_first(read_stored(store, ids), spec.layers))
    return tokens


def of_several_clips(codes: Tensor, scales: Tensor, channels: Tensor) -> Tensor:
    """Floats [n, T, S, D] of samples whose steps are of several clips, each with its own scales of
    channels [n, T, D]."""
    flat = (codes.flatten(0, 1)[:, None], scales.flatten(0, 1)[:, None], channels.flatten(0, 1))
    return CodedTokens(*flat).floats().view(codes.shape)


def joined(samples: Samples, tokens: Tensor | CodedTokens) -> Tensor | CodedTokens:
    """Tokens as they are kept, or of samples that join frames their joined tokens."""
    if samples.places is None:
        return tokens
    floats = tokens.floats() if isinstance(tokens, CodedTokens) else tokens
    return joined_tokens(floats, samples.places)


class Features(ABC):
    """Tokens of clips, wherever they are kept; probes are trained on `device`."""

    device: torch.device
    facts: ClipFacts
    layers: tuple[int, ...]
    """Stored layers, deepest last."""

    def read(self, task: Task, samples: Samples) -> Tensor | CodedTokens:
        """The samples' frames as they are shown, [B, T, (L,) S, D], on `device`: as they are kept,
        or of a task that joins frames their joined tokens.
        """
        return joined(samples, self.stored(task, samples))

    @property
    def shuffling(self) -> str:
        """How finely samples are shuffled, for the record; "" where all are among each other."""
        return ""

    def training_order(self, task: Task, samples: Samples, seed: tuple[int, ...]) -> Ints | None:
        """Order [n] to show an epoch's samples in; None: as they come, fully shuffled."""
        return None

    def reading_order(self, task: Task, samples: Samples) -> Ints | None:
        """Order [n] in which samples are read fastest; None: any."""
        return None

    @abstractmethod
    def stored(self, task: Task, samples: Samples) -> Tensor | CodedTokens:
        """The samples' frames as they are kept, [B, T, (L,) S, D], on `device`."""

    def gather(self, task: Task, samples: Samples) -> Tensor:
        """The same as floats, of the task's one layer where it has one."""
        tokens = self.read(task, samples)
        return tokens.floats() if isinstance(tokens, CodedTokens) else self._of_layer(task, tokens)

    def _of_layer(self, task: Task, tokens: Tensor) -> Tensor:
        """[B, T, L, S, D] with L = 1 where the task shows one layer; other tokens as they are."""
        if task.layer is None or tokens.ndim != 5 or tokens.shape[2] < len(self.layers):
            return tokens
        place = self.layers.index(task.layer)
        return tokens[:, :, place : place + 1]

    def batches(
        self, task: Task, samples: Samples, size: int
    ) -> Iterator[tuple[TokenBatch, Tensor]]:
        """Samples in order, `size` at a time, with their labels [B], or where they have any number
        [B, C], 1 for each; the last batch may be smaller.
        """
        for start in range(0, len(samples), size):
            part = samples[start : start + size]
            yield self.batch(task, part, self.read(task, part)), self._labels(task, part)

    def batch(self, task: Task, samples: Samples, tokens: Tensor | CodedTokens) -> TokenBatch:
        """Gathered tokens with the mask of their padding and what is known of their frames."""
        mask = samples.mask(task.length)
        if isinstance(tokens, CodedTokens) and self.device.type != "cpu":
            tokens = tokens.floats()
        return TokenBatch(
            tokens if isinstance(tokens, CodedTokens) else self._of_layer(task, tokens),
            None if mask is None else to_device(torch.from_numpy(mask), self.device),
            facts=lambda: self.facts.of(task, samples).to(self.device),
        )

    def _labels(self, task: Task, samples: Samples) -> Tensor:
        relevant = task.relevant(samples)
        labels = samples.label.astype(np.int64) if relevant is None else np.float32(relevant)
        return to_device(torch.from_numpy(labels), self.device)


class Resident(Features):
    """All tokens in memory: on the device itself, or on the host beside a GPU."""

    def __init__(
        self, store: "Store", clips: Sequence[str], device: torch.device, kept_on: torch.device
    ) -> None:
        """Read the tokens of clips: float types and int8 of one layer as stored."""
        self.device = device
        self.facts = ClipFacts(store)
        self.layers = deepest_last(store.spec.layers)
        self._row_of = {clip: row for row, clip in enumerate(clips)}
        self._scales: list[Tensor] = []
        if resident_type(store.spec) is torch.int8:
            arrays = load_resident_arrays(store, clips)
            self.tokens, *self._scales = (torch.from_numpy(a).to(kept_on) for a in arrays)
        else:
            self.tokens = _read_floats(store, clips, kept_on)

    def stored(self, task: Task, samples: Samples) -> Tensor | CodedTokens:
        """The samples' frames as they are kept, [B, T, (L,) S, D], on `device`."""
        clips, frames, *shape = self.tokens.shape
        used, place = np.unique(samples.clips(task.length), return_inverse=True)
        row_of = np.array([self._row_of[task.clips[clip]] for clip in used])
        row_of_step = row_of[place].reshape(len(samples), task.length)
        rows = row_of_step * frames + samples.frames(task.length)
        index = to_device(torch.from_numpy(rows.ravel()), self.tokens.device)
        chosen = self.tokens.view(clips * frames, *shape).index_select(0, index)
        tokens = to_device(chosen.view(len(samples), task.length, *shape), self.device)
        if not self._scales:
            return tokens
        scales = self._scales[0].view(clips * frames, -1).index_select(0, index)
        scales = to_device(scales.view(tokens.shape[:3]), self.device)
        if len(self._scales) == 1:
            return CodedTokens(tokens, scales)
        mine = to_device(torch.from_numpy(row_of_step), index.device)
        if samples.rows is not None:
            return of_several_clips(tokens, scales, to_device(self._scales[1][mine], self.device))
        return CodedTokens(tokens, scales, to_device(self._scales[1][mine[:, 0]], self.device))
