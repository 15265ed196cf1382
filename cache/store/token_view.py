"""A store read as if fewer tokens had been extracted: segments, grids, layers, frames.

Only what is exact is offered. A grid is averaged from the backbone's own patches ("patches" of a
full store), or from a finer stored grid whose bins neither overlap nor are cut: 8 x 8 of 16 x 16
patches gives 4 x 4, 2 x 2 and 1 x 1. Where the sides do not divide, bins of adaptive pooling
overlap, and a mean of stored means would be another number (4 x 4 of 14 x 14 gives no 2 x 2).
"""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stepcli.cache.schema.clips import ClipRecord
from stepcli.runtime.errors import UsageError
from stepcli.cache.schema.layout import layout_of
from stepcli.cache.schema.padding import PAD, is_padded
from stepcli.cache.schema.quantize import decode_clips
from stepcli.cache.store.snapshot import Clips
from stepcli.cache.schema.spec import Segment, StoreSpec
from stepcli.cache.store.store import Store


class TokenView:
    """Reduced tokens of a store's clips; `read` is `Store.read` with the reduction done."""

    def __init__(
        self, store: Store, tokens: str | None, layers: Sequence[int] | None, frame_step: int
    ) -> None:
        self.store = store
        spec = store.spec
        self._layout = layout_of(spec)
        self._frames = _frame_slice(spec, frame_step)
        self._layers = _layer_rows(spec, layers)
        self._axes = int(len(spec.layers) > 1)
        names = tokens.split(",") if tokens is not None else [s.name for s in spec.segments]
        self._reductions = [found for name in names for found in _find(spec, name.strip())]
        segments = tuple(segment for segment, _, _ in self._reductions)
        if len({segment.name for segment in segments}) < len(segments):
            raise UsageError(f"tokens {tokens}: the same tokens are asked for twice")
        self.spec = StoreSpec.model_validate(
            {
                **dict(spec),
                "segments": segments,
                "layers": tuple(spec.layers[row] for row in self._layers),
                "frames": len(range(*self._frames.indices(spec.frames))),
                "sampling": _sampling(spec.sampling, frame_step),
                "dtype": "float16" if spec.dtype == "float16" else "float32",
            }
        )
        """As extraction would have written it; bfloat16 and int8 are handed out as float32."""

    @property
    def ids(self) -> list[str]:
        """Committed clips, sorted."""
        return self.store.ids

    def __len__(self) -> int:
        return len(self.store)

    def storage_order(self, clips: Sequence[str]) -> list[str]:
        """Ids in the order in which their tokens lie on disk."""
        return self.store.storage_order(clips)

    def record(self, clip_id: str) -> ClipRecord:
        """What extraction found out about a clip, for the frames that are kept.

        Raises:
            ClipNotFound: it is not committed.
        """
        record = self.store.record(clip_id)
        times = record.pts_seconds[self._frames]
        return replace(record, pts_seconds=times, distinct_frames=len(set(times)))

    def read_arrays(self, clips: Clips) -> Sequence[np.ndarray]:
        """Copy clips' tokens and what belongs to them, as stored; see `Store.read_arrays`.

        Returns:
            [tokens], or with their scales: shapes [n, *spec.clip_shape], [n, (L,) T, S],
            [n, (L,) D]. Channel scales are those of the whole stored clip.

        Raises:
            UsageError: a grid is averaged here: means of int8 tokens are floats, `read` gives them.
        """
        if any(matrix is not None for _, _, matrix in self._reductions):
            raise UsageError(
                f"a reduction to {', '.join(s.name for s in self.spec.segments)} has no stored "
                "form; read its floats"
            )
        tokens, *scales = self.store.read_arrays(clips)
        rows = np.concatenate(
            [np.arange(start, start + segment.count) for segment, start, _ in self._reductions]
        )
        stored = tokens.reshape(len(tokens), -1, *tokens.shape[-3:])
        kept = stored[:, self._layers][:, :, self._frames][..., rows, :]
        found = [kept.reshape(len(tokens), *self.spec.clip_shape)]
        for number, array in enumerate(scales):
            layered = array.reshape(len(tokens), stored.shape[1], *array.shape[1 + self._axes :])
            layered = layered[:, self._layers]
            if number == 0:  # a scale a token
                layered = layered[:, :, self._frames][..., rows]
            single = len(self._layers) == 1
            found.append(layered[:, 0] if single else layered)
        return found

    def read(self, clips: Clips, out: np.ndarray | None = None) -> np.ndarray:
        """Copy clips' reduced tokens into memory.

        Args:
            clips: ids, or positions in `ids` as an integer array.
            out: [n, *spec.clip_shape] of `spec.dtype`; made when None.

        Returns:
            `out`. Means are taken in float32 and rounded once.
        """
        arrays = self.store.read_arrays(clips)
        stored = arrays[0].reshape(len(arrays[0]), -1, *arrays[0].shape[-3:])
        shape = (len(stored), *self.spec.clip_shape)
        if out is None:
            out = np.empty(shape, self.spec.dtype)
        elif out.shape != shape or out.dtype != self.spec.dtype:
            raise ValueError(
                f"out: expected {shape} {self.spec.dtype}, got {out.shape} {out.dtype.name}"
            )
        target = out.reshape(len(stored), len(self._layers), *self.spec.clip_shape[-3:])
        for clip in range(len(stored)):  # one float32 clip at a time, never the batch
            one = [array[clip : clip + 1] for array in arrays]
            floats = decode_clips(one, self._layout).reshape(stored.shape[1:])
            self._reduce(floats[self._layers, self._frames], target[clip])
        return out

    def _reduce(self, floats: np.ndarray, target: np.ndarray) -> None:
        first = 0
        for segment, start, matrix in self._reductions:
            count = segment.count if matrix is None else matrix.shape[1]
            tokens = floats[..., start : start + count, :]
            target[..., first : first + segment.count, :] = (
                tokens if matrix is None else np.matmul(matrix, tokens)
            )
            first += segment.count


def _frame_slice(spec: StoreSpec, step: int) -> slice:
    if step < 1 or step > spec.frames:
        raise UsageError(f"frame step {step}: expected 1 to {spec.frames}, the stored frames")
    if step > 1 and spec.token_scope != "frame":
        raise UsageError(
            f"frame step {step}: tokens of scope {spec.token_scope!r} depend on other frames; "
            "extract with fewer frames instead"
        )
    return slice(0, None, step)


def _sampling(stored: str, step: int) -> str:
    """Name of the rule by which every n-th stored frame is chosen; padding stays padding."""
    base, padded = stored.removesuffix(PAD), is_padded(stored)
    return base + (f"/every-{step}" if step > 1 else "") + (PAD if padded else "")


def _layer_rows(spec: StoreSpec, layers: Sequence[int] | None) -> list[int]:
    if layers is None:
        return list(range(len(spec.layers)))
    missing = [layer for layer in layers if layer not in spec.layers]
    if missing or not layers:
        raise UsageError(f"layers {list(layers)}: the store holds {list(spec.layers)}")
    return [spec.layers.index(layer) for layer in layers]


def _find(spec: StoreSpec, name: str) -> list[tuple[Segment, int, np.ndarray | None]]:
    """How a segment is made: (it, first stored token, pooling matrix or None for a copy)."""
    starts = np.cumsum([0, *(segment.count for segment in spec.segments)]).tolist()
    stored = {s.name: (s, start) for s, start in zip(spec.segments, starts, strict=False)}
    if name == "full":
        wanted = [part for part in ("prefix", "patches") if part in stored]
        if "patches" in wanted:
            return [(*stored[part], None) for part in wanted]
    if name in stored:
        return [(*stored[name], None)]
    if name == "cls" and "prefix" in stored:  # the CLS token leads a prefix
        return [(Segment(name="cls", kind="prefix", count=1), stored["prefix"][1], None)]
    side = re.fullmatch(r"grid([1-9]\d{0,2})", name)
    if side:
        k = int(side[1])
        for source, start in sorted(stored.values(), key=lambda one: -one[0].count):
            if source.grid and _is_exact(source, k):
                segment = Segment(
                    name=name,
                    kind="grid",
                    count=k * k,
                    grid=(k, k),
                    pooled_from=source.pooled_from or source.grid,
                )
                return [(segment, start, pooling_matrix(source.grid, k))]
    raise UsageError(
        f"tokens {name!r} cannot be made from what the store holds ({', '.join(stored)}); a grid "
        "is made from a full store, or from a finer grid whose bins it does not cut"
    )


def _is_exact(source: Segment, side: int) -> bool:
    """Whether the mean over a stored grid's tokens is the mean over the patches below them."""
    assert source.grid is not None
    if source.name == "patches":
        return side <= min(source.grid)
    if source.pooled_from is None:
        return False  # who knows how its bins lay
    return all(
        patches % bins == 0 and bins % side == 0
        for patches, bins in zip(source.pooled_from, source.grid, strict=True)
    )


def pooling_matrix(grid: tuple[int, int], side: int) -> np.ndarray:
    """Adaptive average pooling as a float32 matrix [side * side, rows * columns].

    Bin i of n covers floor(i n / side) to ceil((i + 1) n / side), as torch's
    adaptive_avg_pool2d has it.
    """
    axes = []
    for length in grid:
        axis = np.zeros((side, length), np.float32)
        for i in range(side):
            start, end = i * length // side, -(-(i + 1) * length // side)
            axis[i, start:end] = 1 / (end - start)
        axes.append(axis)
    return np.kron(axes[0], axes[1])
