"""Servers that fail now and then, servers that fail permanently, and the local cache in front."""

import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from failing_proxy import Fault, failing_proxy
from sample_clips import clip_ids, fill_store, make_tokens

from stepcli.cache import open_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.storage import obstore_client
from stepcli.cache.storage.disk_cache import DiskCache
from stepcli.cache.storage.objects import ObjectPath
from stepcli.cache.storage.places import place_of
from stepcli.runtime.errors import StoreError, UsageError


def stored(clips: list[str]) -> np.ndarray:
    return np.stack([make_tokens(clip) for clip in clips]).astype(np.float16)


def test_what_fails_now_and_then_is_tried_again(
    s3: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backoff = {"init_backoff": timedelta(milliseconds=5), "max_backoff": timedelta(seconds=0.1)}
    monkeypatch.setattr(
        obstore_client, "RETRIES", {**obstore_client.RETRIES, "backoff": {**backoff, "base": 2}}
    )
    faults: list[Fault] = ["500", "", "drop", "", "slow", "", ""]
    with failing_proxy(s3, lambda number: faults[number % len(faults)]) as (endpoint, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        fill_store(url, "zarr", 6, part_clips=3)
        store = open_store(url)
        np.testing.assert_array_equal(store.read(store.ids), stored(clip_ids(6)))
        assert verify_store(url).ok
        assert len(seen) > 3 * len(faults)


def test_a_server_that_only_fails_is_given_up_soon(
    s3: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with failing_proxy(s3, lambda number: "500") as (endpoint, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        start = time.monotonic()
        with pytest.raises(StoreError, match="the object storage refused") as caught:
            open_store(url)
        assert time.monotonic() - start < 30
        assert len(seen) == 6, "one request and five more"
        assert "\n" not in str(caught.value)


def test_a_late_request_undoes_nothing_newer(
    s3: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sender waits no longer and has sent it again; then somebody else has replaced it."""
    monkeypatch.setattr("failing_proxy.SLOW_SECONDS", 1.0)
    patience = {**obstore_client.TIMEOUTS, "read_timeout": timedelta(seconds=0.3)}
    monkeypatch.setattr(obstore_client, "TIMEOUTS", patience)
    late: list[int] = []

    def fault_of(number: int) -> Fault:
        if seen[number].startswith("PUT") and not late:
            late.append(number)
            return "slow"
        return ""

    place = place_of(url)
    assert isinstance(place, ObjectPath)
    place.client.replace("labels", b"first")
    with failing_proxy(s3, fault_of) as (endpoint, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        obstore_client.ObstoreClient(url).replace("labels", b"second")
        assert late, "one request was late"
        place.client.replace("labels", b"third")
        time.sleep(1.5)
    assert place.client.get("labels") == b"third"


def test_what_was_read_once_is_read_from_the_local_disk(
    s3: str, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STEPCLI_CACHE", str(tmp_path / "cache"))
    with failing_proxy(s3, lambda number: "") as (endpoint, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        fill_store(url, "hdf5", 6, part_clips=3)
        store = open_store(url)
        store.read(store.ids[:4])
        before = len(seen)
        again = open_store(url)
        opened = len(seen)
        np.testing.assert_array_equal(again.read(store.ids[:4]), stored(clip_ids(4)))
        assert len(seen) == opened > before
        # A damaged entry is fetched again, and so is one that another process dropped.
        first, second, *_ = sorted((tmp_path / "cache").glob("*/*"))
        first.write_bytes(bytes(len(first.read_bytes())))
        second.unlink()
        np.testing.assert_array_equal(again.read(store.ids[:4]), stored(clip_ids(4)))
        assert len(seen) > opened
        monkeypatch.setenv("STEPCLI_CACHE_BYTES", "much")
        with pytest.raises(UsageError, match="expected a number of bytes"):
            open_store(url)


def test_the_cache_stays_within_its_limit_and_keeps_what_is_used(tmp_path: Path) -> None:
    cache, other = (DiskCache(tmp_path, 100_000) for _ in range(2))
    for number in range(300):
        cache.put(f"clip {number}", bytes([number % 256]) * 1000)
        assert other.get("clip 0", 1000) == bytes(1000), "in use, so it stays"
        time.sleep(0.0005)
    sizes = [path.stat().st_size for path in tmp_path.glob("*/*")]
    assert sum(sizes) <= 107_000
    assert cache.get("clip 299", 1000) is not None
    assert cache.get("clip 1", 1000) is None
    assert cache.get("clip 299", 999) is None, "of another size: not that clip"


def test_processes_that_each_read_little_stay_within_the_limit_together(tmp_path: Path) -> None:
    for number in range(60):
        DiskCache(tmp_path, 20_000).put(f"clip {number}", bytes(1000))
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*")) <= 20_000
