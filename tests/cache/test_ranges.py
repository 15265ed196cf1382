"""Large reads are shared by threads; what comes out is the same, errors included."""

import os
from pathlib import Path

import numpy as np
import pytest
from sample_clips import SPEC, fill_store

from stepcli.cache import open_store
from stepcli.cache.errors import DamagedStore
from stepcli.cache.parts import ranges
from stepcli.cache.store import Store

CLIP_BYTES = 2 * int(np.prod(SPEC.clip_shape))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Reads of three clips and more go to several threads, in pieces smaller than a clip."""
    store = fill_store(tmp_path, "hdf5", 12, part_clips=5)
    monkeypatch.setattr(ranges, "SHARED_BYTES", 3 * CLIP_BYTES)
    monkeypatch.setattr(ranges, "PIECE_BYTES", 50)
    monkeypatch.setattr(ranges, "_threads", lambda: 3)
    return store


def test_several_threads_read_the_same_bytes(store: Store) -> None:
    one_by_one = np.concatenate([store.read([clip]) for clip in store.ids])
    order = np.random.default_rng(0).integers(0, 12, 40)
    np.testing.assert_array_equal(store.read(order), one_by_one[order])
    np.testing.assert_array_equal(store.read(store.ids), one_by_one)


def test_a_forked_child_gets_threads_of_its_own(store: Store) -> None:
    expected = store.read(store.ids)  # the parent's threads are at work now
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(store.read(store.ids), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_file_cut_short_is_an_error_in_any_thread(store: Store) -> None:
    store.read(store.ids)
    for part in store.parts:
        os.truncate(store.path / "parts" / part / "tokens.h5", 4096 + 2 * CLIP_BYTES)
    with pytest.raises(DamagedStore, match="ends at byte"):
        store.read(store.ids)
    with pytest.raises(DamagedStore, match="ends at byte"):
        open_store(store.path).read(store.ids)
