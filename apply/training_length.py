"""How long the clips were that a probe was trained on: the length of a window over a long video."""

from pathlib import Path

import numpy as np

from stepcli.apply.probes import Applied
from stepcli.cache.errors import StoreError, UsageError
from stepcli.cache.store import open_store

LOOKED_AT = 200
"""Training clips whose length is read."""


def window_seconds(text: str, applied: Applied) -> float | None:
    """What --window means: None for "all".

    Raises:
        UsageError: not a number of seconds, or the training clips are not there to be measured.
    """
    if text == "all":
        return None
    if text == "auto":
        return training_seconds(applied)
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--window {text}: expected seconds, auto or all") from None


def training_seconds(applied: Applied) -> float:
    """Median length of the clips that the first probe was trained on.

    Of T frames in the middles of T equal stretches, the first and last are (T - 1) / T apart.

    Raises:
        UsageError: its store is not there any more.
    """
    record = applied.probes[0].record
    try:
        store = open_store(Path(record["store"]))
    except StoreError as error:
        raise UsageError(
            f"--window auto measures the training clips, and {error}; give --window SECONDS"
        ) from None
    split = applied.probes[0].task.train_split
    ids = [row.id for row in store.clips() if row.split == split and row.id in store]
    if not ids or store.spec.frames < 2:
        raise UsageError(
            f"--window auto: {store.path} has no clips to measure; give --window SECONDS"
        )
    chosen = ids[:: max(1, len(ids) // LOOKED_AT)]
    times = [store.record(clip).pts_seconds for clip in chosen]
    frames = store.spec.frames
    return float(np.median([each[-1] - each[0] for each in times])) * frames / (frames - 1)
