"""Passwords, tokens and signatures in URLs: used for the connection, written nowhere."""

import copy
import json
import pickle  # noqa: TID251 (how a place travels to processes of ours, never read from a file)
from pathlib import Path

import numpy as np
import pytest
from command_line import invoke

from stepcli.cache.schema.clips import ClipRecord, ClipRow
from stepcli.cache.schema.spec import Producer, Segment, StoreSpec
from stepcli.cache.storage.memory_client import _OBJECTS
from stepcli.cache.storage.objects import ObjectPath
from stepcli.cache.storage.places import place_of
from stepcli.cache.store.store import create_store, open_store
from stepcli.runtime.credentials import redacted, without_credentials
from stepcli.runtime.terminal import shown

SECRET = "hunter2"
PRODUCER = Producer(source="x", device="cpu", numerics="x", versions={})


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3://KEY:hunter2@bucket/a", "s3://bucket/a"),
        ("https://hunter2@host:9000/a", "https://host:9000/a"),
        ("https://me:hun@hunter2@host/a@b", "https://host/a@b"),
        ("https://host/a?X-Amz-Signature=hunter2&x=1", "https://host/a"),
        ("https://host/a?sig=hunter2#access_token=hunter2", "https://host/a"),
        ("https://host?token=hunter2", "https://host"),
        ("ftp:/me:hunter2@host/a", "ftp:/host/a"),
        ("abfss://container@account.dfs.core.windows.net/a", None),
        ("abfss://me:hunter2@account/a", "abfss://account/a"),
        ("stores/ssv2", None),
        ("/data/a@b:c/d", None),
    ],
)
def test_what_of_a_url_may_be_written_down(url: str, public: str | None) -> None:
    assert without_credentials(url) == (public or url)
    assert SECRET not in redacted(f"cannot read {url}: refused")
    assert SECRET not in shown(f"cannot read '{url}'")
    assert SECRET not in str(place_of(url))
    assert SECRET not in repr(place_of(url))
    if public is None:
        assert redacted(f"cannot read {url}.") == f"cannot read {url}."


def test_what_other_libraries_say_is_redacted_too() -> None:
    said = (
        "GET https://minio.local/b/k?list-type=2&X-Amz-Credential=AKIA/hunter2&X-Amz-Signature="
        "hunter2 (url: ftp://me:hunter2@host/) Authorization failed"
    )
    assert SECRET not in redacted(said)
    assert "list-type=2" in redacted(said)
    assert "***@host/) Authorization failed" in redacted(said)


def test_a_place_keeps_its_address_in_memory_and_on_the_way_to_our_processes() -> None:
    url = f"https://me:{SECRET}@host/b/store?sig={SECRET}"
    place = place_of(url)
    assert isinstance(place, ObjectPath)
    assert place.address == url
    assert (place / "a").address == url
    assert str(place / "a") == "https://host/b/store/a"
    assert place_of(str(place)).address == url
    from stepcli.cache.storage import objects

    sent = pickle.dumps(place / "a")
    objects._ADDRESSES.clear()
    assert place.address == "https://host/b/store"
    assert pickle.loads(sent).address == url  # noqa: S301
    assert copy.copy(place / "a") == place / "a"
    assert place_of("stores/x").address == "stores/x"


def test_neither_runs_nor_messages_hold_it(tmp_path: Path) -> None:
    """The storage in memory takes any URL, and keeps objects by the URL as it was given."""
    url = f"memory://me:{SECRET}@box/store"
    spec = StoreSpec(
        backbone="made-up",
        weights_digest="0" * 64,
        segments=(Segment(name="cls", kind="prefix", count=1),),
        dim=8,
        frames=3,
        sampling="uniform",
        preprocessing={},
        dtype="float32",
    )
    store = create_store(url, spec, dataset="made-up")
    with store.writer(PRODUCER) as writer:
        for number in range(8):
            tokens = np.random.default_rng(number).normal(size=(3, 1, 8)).astype(np.float32)
            name = str(number)
            writer.add(ClipRecord(name, "/x.mp4", (0.0, 1.0, 2.0), 3, 8, 8), tokens)
    split = ("train", "test")
    store.add_clips([ClipRow(str(n), "ab"[n % 2], split[n // 4], str(n)) for n in range(8)])
    assert any(SECRET in address for address in _OBJECTS)
    assert len(pickle.loads(pickle.dumps(open_store(url)))) == 8  # noqa: S301
    runs = tmp_path / "runs"
    said = ""
    for words in (
        ("probe", "--method", "linear", "--epochs", 1, "--store", url, "--runs", runs),
        ("store", "info", "--store", url),
        ("store", "info", "--store", url, "--json"),
        ("store", "verify", "--store", url),
        ("store", "ls", "--store", url),
        ("analyse", runs),
        ("store", "info", "--store", f"memory://me:{SECRET}@box/none"),
        ("store", "info", "--store", f"nobody://me:{SECRET}@box/none"),
        ("picture", "0", "--store", url, "--out", tmp_path / "x.png"),
        ("picture", "none", "--store", url),
        ("probe", "--method", "linear", "--store", url, "--train-split", "none"),
    ):
        done = invoke(*words)
        assert isinstance(done.exception, SystemExit | None), done.exception
        said += done.output
    assert "memory://box/store" in said
    (run,) = runs.glob("linear-*")
    # A run of an earlier version wrote down the URL as it was given.
    record = json.loads((run / "run.json").read_text())
    assert record["store"] == "memory://box/store"
    for path in runs.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    (run / "run.json").write_text(json.dumps(record | {"store": url}))
    done = invoke("export", run, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    for path in (tmp_path / "out").rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in said
