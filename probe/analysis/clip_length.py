"""How long the clips were that a probe was trained on: the length of a window over a long video."""

from pathlib import Path

import numpy as np

from stepcli.cache.schema.official_splits import split_in
from stepcli.cache.store.store import open_store
from stepcli.probe.runs.record import RunRecord
from stepcli.runtime.errors import StoreError, UsageError

LOOKED_AT = 200
"""Training clips whose length is read."""


def training_seconds(record: RunRecord) -> float:
    """Median length of the clips that a run was trained on.

    Of T frames in the middles of T equal stretches, the first and last are (T - 1) / T apart.

    Raises:
        UsageError: its store is not there any more, or has no such clips.
    """
    if record.clip_seconds is not None:
        return record.clip_seconds
    try:
        store = open_store(Path(record.store_place))
    except (StoreError, UsageError) as error:
        raise UsageError(
            f"--window auto measures the training clips, and {error}; give --window SECONDS"
        ) from None
    split, frames = record.settings.task.train_split, store.spec.frames
    number = record.settings.task.split
    ids = [r.id for r in store.clips() if split_in(r.split, number) == split and r.id in store]
    if not ids or frames < 2:
        raise UsageError(
            f"--window auto: {store.path} has no clips to measure; give --window SECONDS"
        )
    chosen = ids[:: max(1, len(ids) // LOOKED_AT)]
    times = store.record_columns(chosen).pts_seconds
    return float(np.median(times[:, -1] - times[:, 0])) * frames / (frames - 1)
