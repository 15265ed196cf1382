"""A store of tokens that other code computes: `write_tokens`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepcli.cache.schema.clips import ClipRecord, ClipRow
from stepcli.cache.schema.spec import Dtype, Producer, Segment, StoreSpec
from stepcli.cache.store.store import Store, create_store
from stepcli.runtime.errors import UsageError

SAMPLING = "uniform"


@dataclass(frozen=True, slots=True)
class TokenClip:
    """One clip and its tokens."""

    id: str
    """Unique; a clip that the store holds already is not written again."""
    tokens: NDArray[Any]
    """[T, S, D], floats: frames, tokens per frame, channels; the same of every clip."""
    seconds: Sequence[float]
    """[T]: when each frame is shown, since the video's first frame; equal times are one frame."""
    label: str
    split: str = ""
    """"train", "val" or "test"; "" lets `stepcli store labels --test-share` draw it."""
    group: str = ""
    """Splits never divide it: source video, subject, episode."""
    video: str = ""
    """Where the clip came from."""


def write_tokens(
    place: str | Path,
    clips: Iterable[TokenClip],
    *,
    model: str,
    version: str = "1",
    grid: tuple[int, int] | None = None,
    dtype: Dtype = "float16",
    dataset: str = "own",
) -> Store:
    """Write clips of tokens into a store, new or begun; every probe works on it.

    Clips are safe as each part is full, and when this returns; an interrupted run is run again.

    Args:
        place: folder or URL of the store.
        clips: in any order; may be a generator, of which one clip is in memory at a time.
        model: what made the tokens.
        version: of the model; tokens of another version need another store.
        grid: rows and columns, if the tokens of a frame are a grid of the picture, row by row.
        dtype: of the stored tokens.
        dataset: name of the data set.

    Raises:
        UsageError: no clip, a grid that is not S tokens, or no array [T, S, D].
        SpecMismatch: the store holds other tokens.
        TokensError: a clip of another shape, or with values that cannot be stored.
    """
    waiting = iter(clips)
    first = next(waiting, None)
    if first is None:
        raise UsageError("write_tokens: no clip was given")
    shape = np.shape(first.tokens)
    if len(shape) != 3:
        raise UsageError(
            f"write_tokens: clip {first.id!r} has tokens of shape {list(shape)}; expected "
            "[frames, tokens, channels]"
        )
    frames, count, dim = shape
    if grid is not None and grid[0] * grid[1] != count:
        raise UsageError(
            f"write_tokens: a grid of {grid[0]} x {grid[1]} has {grid[0] * grid[1]} tokens, clip "
            f"{first.id!r} has {count} per frame"
        )
    segment = Segment(
        name="tokens", kind="prefix" if grid is None else "grid", count=count, grid=grid
    )
    spec = StoreSpec(
        backbone=model,
        weights_digest=version,
        segments=(segment,),
        dim=dim,
        frames=frames,
        sampling=SAMPLING,
        preprocessing={},
        dtype=dtype,
    )
    store = create_store(place, spec, dataset=dataset)
    rows = []
    made_by = Producer(source=model, device="unknown", numerics="unknown", versions={})
    with store.writer(made_by) as writer:
        for clip in chain((first,), waiting):
            rows.append(ClipRow(clip.id, clip.label, clip.split, clip.group))
            if clip.id not in store:
                times = tuple(float(second) for second in clip.seconds)
                record = ClipRecord(clip.id, clip.video, times, len(set(times)), 0, 0)
                writer.add(record, np.asarray(clip.tokens))
    store.add_clips(rows)
    store.refresh()
    return store
