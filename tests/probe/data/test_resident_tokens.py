"""Resident tokens: read into the tensor itself, in the store's type, with the store's values."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stepcli.cache.store.clip_reader import ClipReader
from stepcli.cache.store.snapshot import Snapshot
from stepcli.cache.store.store import Store
from stepcli.probe.config import TaskConfig
from stepcli.probe.data import features
from stepcli.probe.data.features import Resident, frames_first, resident_type
from stepcli.probe.data.int8_tokens import CodedTokens
from stepcli.probe.data.make_task import make_task
from stepcli.probe.data.splits import labelled_clips
from stepcli.probe.data.streamed import Streamed

CPU = torch.device("cpu")


def resident_of(store: Store, clips: Sequence[str]) -> Resident:
    return Resident(store, clips, CPU, CPU)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int8", "int8-channel"])
@pytest.mark.parametrize("layers", [(-1,), (-2, -1), (-1, -3)])
def test_values_are_those_of_the_store(
    dtype: str,
    layers: tuple[int, ...],
    store_of: Callable[..., Store],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(features, "READ_CLIPS", 5)  # several pieces, the last one smaller
    store = store_of(tmp_path / "store", dtype=dtype, layers=layers)
    clips = store.ids[::-1]
    resident = resident_of(store, clips)
    assert resident.tokens.dtype == resident_type(store.spec)
    expected = frames_first(store.read_floats(clips), store.spec.layers)
    task = make_task(TaskConfig(), store, labelled_clips(store, "train", "test"))
    samples = task.epoch(0, 0)
    found = [each.read(task, samples) for each in (resident, Streamed(store, CPU))]
    for tokens in found:
        floats = tokens.floats() if isinstance(tokens, CodedTokens) else tokens.float()
        rows = [clips.index(task.clips[clip]) for clip in samples.clip]
        assert torch.equal(floats, expected[rows])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int8"])
def test_bytes_go_from_the_store_into_the_tensor(
    dtype: str, store_of: Callable[..., Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(tmp_path / "store", dtype=dtype)
    read = ClipReader.read
    targets: list[np.ndarray] = []

    def seen(
        self: ClipReader, snapshot: Snapshot, places: np.ndarray, array: int, out: Any
    ) -> np.ndarray:
        if array == 0 and out is not None:
            targets.append(out)
        return read(self, snapshot, places, array, out)

    def refused(*_: object) -> None:
        raise AssertionError("no float32 copy")

    monkeypatch.setattr(ClipReader, "read", seen)
    monkeypatch.setattr(Store, "read_floats", refused)
    tokens = resident_of(store, store.ids).tokens
    begin, end = tokens.data_ptr(), tokens.data_ptr() + tokens.nbytes
    assert sum(target.nbytes for target in targets) == tokens.nbytes
    for target in targets:
        assert begin <= target.ctypes.data < end
