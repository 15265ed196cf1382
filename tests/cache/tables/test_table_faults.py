"""A change of a table that fails at any step: the old rows or the new ones, and no false alarm."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from failing_proxy import Fault, failing_proxy
from sample_clips import fill_store

from stepcli.cache import open_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.storage import obstore_client
from stepcli.cache.store.store import Store
from stepcli.cache.tables import changes as tables
from stepcli.cache.tables.texts import read_tensors, read_text, write_text
from stepcli.runtime.errors import StoreError


def relabelled(rows: list[ClipRow], label: str) -> list[ClipRow]:
    return [replace(rows[0], label=label), *rows[1:]]


class Failing:
    """The n-th call of a function of the operating system fails, and those after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        self.calls = 0
        self.at = -1
        self._number = number
        for name in ("open", "fsync", "replace", "link", "unlink", "mkdir"):
            monkeypatch.setattr(os, name, self._counting(getattr(os, name)))

    def _counting(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*words: Any, **options: Any) -> Any:
            if self.at >= 0 and self.calls >= self.at:
                raise OSError(self._number, os.strerror(self._number))
            self.calls += 1
            return call(*words, **options)

        return counted


def change(store: Store, label: str) -> None:
    store.change_clips(lambda rows: relabelled(rows, label))


def embed(store: Store, label: str) -> None:
    write_text(store.path, "clip", {"label": label}, label.encode())


def label_of(store: Store) -> str:
    return store.clips()[0].label


def text_of(store: Store) -> str:
    text = read_text(store.path, "clip")
    data = read_tensors(store.path / "text" / "clip", text.file, text.sha256)
    assert data.decode() == text.facts["label"]
    return data.decode()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize(("write", "read"), [(change, label_of), (embed, text_of)])
def test_a_disk_that_fails_at_any_step(
    number: int,
    write: Callable[[Store, str], None],
    read: Callable[[Store], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = fill_store(tmp_path, "zarr", 2)
    write(store, "first")
    write(store, "second")
    failing = Failing(monkeypatch, number)
    write(store, "old")
    count = failing.calls
    assert count > 5
    old = "old"
    for step in range(count):
        failing.calls, failing.at = 0, step
        with pytest.raises((StoreError, OSError)):
            write(store, f"new {step}")
        failing.at = -1
        found = read(open_store(tmp_path))
        assert found in (old, f"new {step}"), step
        assert verify_store(tmp_path).problems == [], step
        old = f"after {step}"
        write(store, old)
        assert read(store) == old
    assert verify_store(tmp_path).problems == []
    assert len(tables.accepted_digests(tmp_path)[tables.CLIPS]) == 1
    drafts = [path.name for path in tmp_path.rglob(".*") if len(path.name) > 33]
    assert not drafts, "the next change removes what the failed ones have left"


@pytest.mark.parametrize("fault", ["403", "lost", "drop"])
def test_storage_that_fails_at_any_request(
    fault: Fault, s3: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused permanently from the n-th request on; or the n-th alone is carried out or lost."""
    backoff = {"init_backoff": timedelta(milliseconds=2), "max_backoff": timedelta(milliseconds=9)}
    retries = {**obstore_client.RETRIES, "max_retries": 2, "backoff": {**backoff, "base": 2}}
    monkeypatch.setattr(obstore_client, "RETRIES", retries)
    store = fill_store(url, "zarr", 1)
    change(store, "old")
    first = -1

    def fault_of(number: int) -> Fault:
        refused = number >= first if fault == "403" else number == first
        return fault if first >= 0 and refused else ""

    with failing_proxy(s3, fault_of) as (endpoint, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setattr("stepcli.cache.storage.objects._CLIENTS", {})
        change(store, "before")
        count, old = len(seen), "before"
        assert count > 5
        for step in range(count):
            first = len(seen) + step
            failed = ""
            try:
                change(store, f"new {step}")
            except StoreError as error:
                failed = str(error)
            first = -1
            assert bool(failed) == (fault == "403"), (step, failed)
            found = label_of(store)
            assert found in (old, f"new {step}"), step
            assert failed or found == f"new {step}"
            assert list(tables.wrong_tables(store.path)) == [], step
            old = f"after {step}"
            change(store, old)
            assert label_of(store) == old
        assert verify_store(url).problems == []
