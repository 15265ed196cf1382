"""Several writers on one store in object storage, whatever happens to their requests."""

import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from failing_proxy import Fault, failing_proxy
from sample_clips import PRODUCER, SPEC, clip_ids, fill_store, make_record, make_tokens

from stepcli.cache import create_store, open_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.parts.commit import list_parts
from stepcli.cache.schema.clips import ClipRow, Failure
from stepcli.cache.storage import obstore_client
from stepcli.cache.storage import writer_identity as owner
from stepcli.cache.storage.objects import ObjectPath
from stepcli.cache.storage.places import place_of
from stepcli.cache.store.store import Store
from stepcli.cache.tables.changes import add_clips
from stepcli.runtime.errors import StoreError

WRITERS = 4
CLIPS = 6


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries as a user's, only sooner."""
    backoff = {"init_backoff": timedelta(milliseconds=5), "max_backoff": timedelta(seconds=0.1)}
    retries = {**obstore_client.RETRIES, "backoff": {**backoff, "base": 2}}
    monkeypatch.setattr(obstore_client, "RETRIES", retries)


def write(url: str, writer: int) -> Store:
    """One host: makes or joins the store, writes clips of its own and one that all write."""
    store = create_store(url, SPEC, dataset="test")
    ids = [f"{writer}-{clip}" for clip in clip_ids(CLIPS)]
    store.add_clips(ClipRow(clip, "label") for clip in [*ids, "shared"])
    with store.writer(PRODUCER, part_clips=3) as out:
        for clip in [*ids, "shared"]:
            out.add(make_record(clip), make_tokens(clip))
        out.quarantine(Failure(f"{writer}-broken", "x.webm", "VideoError", "no frames"))
    return store


def test_faults_lose_nothing(
    s3: str, url: str, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = {**obstore_client.TIMEOUTS, "read_timeout": timedelta(seconds=1)}
    monkeypatch.setattr(obstore_client, "TIMEOUTS", patience)
    monkeypatch.setattr("failing_proxy.SLOW_SECONDS", 1.5)  # an answer after the timeout
    faults: list[Fault] = ["500", *6 * [""], "drop", *5 * [""], "lost", *6 * [""]]
    slow = {20, 50, 90}

    most = obstore_client.RETRIES["max_retries"] // 2
    failed: Counter[str] = Counter()

    def fault_of(number: int) -> Fault:
        fault: Fault = "slow" if number in slow else faults[number % len(faults)]
        # Writers who ask for the same in turn could by chance meet a fault at every attempt; and
        # a dropped connection may take the next request with it.
        if not fault or failed[seen[number]] == most:
            return ""
        failed[seen[number]] += 1
        return fault

    with failing_proxy(s3, fault_of) as (endpoint, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with ThreadPoolExecutor(WRITERS) as hosts:
            list(hosts.map(lambda writer: write(url, writer), range(WRITERS)))
        assert len(seen) > max(slow)
        assert len(seen) < 1000, "retries are bounded"
        assert failed.total() > 20
        store = open_store(url)
        own = [f"{writer}-{clip}" for writer in range(WRITERS) for clip in clip_ids(CLIPS)]
        assert store.ids == sorted([*own, "shared"])
        expected = np.stack([make_tokens(clip) for clip in store.ids]).astype(np.float16)
        np.testing.assert_array_equal(store.read(store.ids), expected)
        assert [row.id for row in store.clips() if row.id not in store] == []
        assert len(store.clips()) == len(store)
        assert len(store.quarantined()) == WRITERS
        assert verify_store(url).ok


def test_a_server_that_dies_under_a_writer_is_one_clear_line(
    s3: str, url: str, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead: list[bool] = []
    with failing_proxy(s3, lambda number: "500" if dead else "") as (endpoint, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        store = create_store(url, SPEC, dataset="test")
        writer = store.writer(PRODUCER, part_clips=2)
        for clip in clip_ids(2):
            writer.add(make_record(clip), make_tokens(clip))
        dead.append(True)
        before = len(seen)
        writer.add(make_record("late"), make_tokens("late"))
        with pytest.raises(StoreError, match="the object storage refused") as caught, writer:
            pass
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500
        assert len(seen) - before == 6, "one request and five more"
        dead.clear()
        assert open_store(url).ids == clip_ids(2), "what was committed is safe"


def test_an_upload_that_never_ended_is_swept_when_its_lease_is_over(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill_store(url, "zarr", 6, part_clips=3)
    place = place_of(url)
    assert isinstance(place, ObjectPath)
    half = "parts/000000-" + 32 * "a"
    place.client.put(f"{half}/tokens.zarr/zarr.json", b"{}")
    place.client.put("parts/notes.txt", b"a user's")
    whole = list_parts(place)
    with store.writer(PRODUCER):
        pass
    assert place.client.entries(half), "its writer may live"
    monkeypatch.setattr(owner, "LEASE_HOURS", -1.0)
    with store.writer(PRODUCER):
        pass
    assert not place.client.entries(half)
    assert place.client.get("parts/notes.txt") == b"a user's"
    assert list_parts(place) == whole
    assert verify_store(url).ok


def test_what_a_killed_writer_staged_on_this_machine_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make kill-test` kills real ones."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = fill_store(f"memory://{tmp_path.name}", "zarr", 2)
    assert not list(tmp_path.iterdir())
    alive = owner.new_owner()
    dead = replace(alive, start=alive.start + 1)
    folders = [tmp_path / f"stepcli-{name}" for name in (alive.name, dead.name, "notes")]
    for folder in folders:
        (folder / "part").mkdir(parents=True)
        (folder / "part" / "tokens").write_bytes(b"tokens")
    with store.writer(PRODUCER):
        pass
    assert [folder.exists() for folder in folders] == [True, False, True]


def test_a_part_whose_upload_was_swept_is_never_seen(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that was assumed dead notices before it writes the record."""
    store = create_store(url, SPEC, dataset="test")
    put = obstore_client.ObstoreClient.put
    client = place_of(url).client  # type: ignore[union-attr]

    def put_and_lose(self: Any, key: str, source: Any) -> None:
        put(self, key, source)
        if key.endswith("index.parquet"):
            self.delete(key)

    monkeypatch.setattr(obstore_client.ObstoreClient, "put", put_and_lose)
    message = r"index\.parquet: expected \d+ bytes after uploading"
    with pytest.raises(StoreError, match=message), store.writer(PRODUCER) as writer:
        writer.add(make_record("a"), make_tokens("a"))
    assert not any(key.endswith("part.json") for key in client.entries("parts/"))
    assert open_store(url).ids == []


def test_hosts_that_start_together_do_not_queue_for_the_clips_table(
    s3: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with failing_proxy(s3, lambda number: "") as (endpoint, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        create_store(url, SPEC, dataset="test")
        rows = [ClipRow(clip, "label") for clip in clip_ids(3)]
        place = place_of(url)
        assert add_clips(place, rows) == []
        seen.clear()
        relabelled = [*rows[:2], ClipRow(rows[2].id, "other")]
        assert add_clips(place, relabelled) == [relabelled[2]]
        assert {line.split()[0] for line in seen} <= {"GET", "HEAD"}


def test_without_credentials_the_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any, the client asks the machine's cloud for them; no cloud answers here."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(obstore_client, "RETRIES", {**obstore_client.RETRIES, "max_retries": 0})
    monkeypatch.setattr(obstore_client, "TIMEOUTS", {"connect_timeout": timedelta(seconds=1)})
    start = time.monotonic()
    with pytest.raises(StoreError, match=r"no credentials.*AWS_ACCESS_KEY_ID") as caught:
        open_store("s3://nobody/without-credentials")
    assert time.monotonic() - start < 60
    assert len(str(caught.value)) < 250
