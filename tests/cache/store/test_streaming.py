"""Streams, resident arrays and DataLoaders see every clip once, in any process."""

import os
from itertools import chain
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from sample_clips import PRODUCER, clip_ids, fill_store, make_record, make_tokens

from stepcli.cache import TokenDataset, load_resident, open_store, stream_clips
from stepcli.cache.store.store import Store


@pytest.fixture(params=["zarr", "hdf5"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return fill_store(tmp_path, request.param, 23, part_clips=7)


def stored(clip: str) -> np.ndarray:
    return make_tokens(clip).astype(np.float16)


CLIP_BYTES = 3 * 5 * 6 * 4


@pytest.mark.parametrize("batch", [1, 4, 10, 100])
@pytest.mark.parametrize("blocks_mixed", [1, 3])
def test_a_stream_has_every_clip_once(store: Store, batch: int, blocks_mixed: int) -> None:
    seen: list[str] = []
    sizes = []
    options = {"batch": batch, "block_bytes": 3 * CLIP_BYTES, "blocks_mixed": blocks_mixed}
    for ids, tokens in stream_clips(store, seed=5, **options):
        np.testing.assert_array_equal(tokens, np.stack([stored(clip) for clip in ids]))
        seen += ids
        sizes.append(len(ids))
    assert sorted(seen) == store.ids
    assert seen != store.ids
    assert set(sizes[:-1]) <= {batch}
    again = [clip for ids, _ in stream_clips(store, seed=5, **options) for clip in ids]
    assert again == seen
    other = [clip for ids, _ in stream_clips(store, seed=(5, 1), **options) for clip in ids]
    assert other != seen


def test_without_a_seed_clips_come_as_they_lie(store: Store) -> None:
    order = [clip for ids, _ in stream_clips(store, batch=5) for clip in ids]
    assert order == store.storage_order(store.ids)
    assert sorted(order) == store.ids


def test_shards_share_the_clips(store: Store) -> None:
    options = {"batch": 2, "block_bytes": 2 * CLIP_BYTES, "seed": 1}
    shares = [
        [clip for ids, _ in stream_clips(store, shard=(rank, 3), **options) for clip in ids]
        for rank in range(3)
    ]
    assert sorted(chain(*shares)) == store.ids
    assert all(shares)


def test_a_stream_that_is_left_early_or_empty_ends(store: Store) -> None:
    stream = stream_clips(store, batch=2, block_bytes=CLIP_BYTES)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert list(stream_clips(store, batch=2, clips=[])) == []
    with pytest.raises(ValueError, match="too small"):
        list(stream_clips(store, batch=0))


def test_resident_keeps_the_order_asked_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepcli.cache.store.streaming.READ_BYTES", 2 * CLIP_BYTES)
    ids = clip_ids(23)[::-2]
    np.testing.assert_array_equal(load_resident(store, ids), np.stack([stored(c) for c in ids]))
    assert load_resident(store, []).shape == (0, *store.spec.clip_shape)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_data_loader_workers(store: Store, context: str) -> None:
    store.read(store.ids[:3])  # files are open before the fork
    data = TokenDataset(store, store.ids[::2])
    workers = {"fork": 2, "spawn": 1}[context]  # a spawned one imports torch first
    loader = torch.utils.data.DataLoader(
        data, batch_size=4, num_workers=workers, multiprocessing_context=context
    )
    tokens = torch.cat(list(loader)).numpy()
    np.testing.assert_array_equal(tokens, np.stack([stored(clip) for clip in data.clips]))


def test_a_store_travels_as_its_path(store: Store) -> None:
    packed = bytes(ForkingPickler.dumps(TokenDataset(store)))
    assert len(packed) < 2000
    with store.writer(PRODUCER) as writer:
        writer.add(make_record("added"), make_tokens("added"))
    data = ForkingPickler.loads(packed)
    assert len(data) == 23
    np.testing.assert_array_equal(data[22], stored("clip-0022"))


def test_forked_children_read_while_the_parent_does(store: Store) -> None:
    expected = store.read(store.ids)
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            same = all(np.array_equal(store.read(store.ids), expected) for _ in range(20))
            os._exit(0 if same else 1)
        children.append(child)
    for _ in range(20):
        np.testing.assert_array_equal(store.read(store.ids), expected)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert open_store(store.path).ids == store.ids
