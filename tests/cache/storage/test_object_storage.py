"""A store in a real S3-compatible server on loopback, and in memory."""

from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import zarr
from sample_clips import PRODUCER, SPEC, clip_ids, make_record, make_tokens
from typer.testing import CliRunner
from zarr.storage import ObjectStore

from stepcli.cache import create_store, open_store, stream_clips
from stepcli.cache.cli.store import app
from stepcli.cache.maintenance.repair import repair_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.schema.clips import ClassRow, ClipRow, Failure
from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.storage.objects import ObjectPath
from stepcli.cache.storage.places import place_of
from stepcli.runtime.errors import (
    DamagedStore,
    SpecMismatch,
    StorageError,
    StoreError,
    StoreNotFound,
    UsageError,
)


def exercise(url: str, form: str, dtype: str) -> None:
    """Write a store part by part, read it every way."""
    spec = StoreSpec.model_validate({**dict(SPEC), "dtype": dtype})
    with pytest.raises(StoreNotFound, match="no feature store"):
        open_store(url)
    store = create_store(url, spec, dataset="test", format=form)  # type: ignore[arg-type]
    assert store.add_clips(ClipRow(clip, "label") for clip in clip_ids(9)) == []
    store.replace_classes([ClassRow("label", 0)])
    with store.writer(PRODUCER, part_clips=4) as writer:
        for clip in clip_ids(9)[:-1]:
            writer.add(make_record(clip), make_tokens(clip))
        writer.quarantine(Failure("clip-0008", "x.webm", "VideoError", "no frames"))
        writer.quarantine(Failure("clip-0008", "x.webm", "VideoError", "again", 2))
    assert len(store) == 0
    store.refresh()
    assert len(store.parts) == 2
    assert store.ids == clip_ids(8)
    other = open_store(url)
    tokens = other.read_floats(["clip-0006", "clip-0001", "clip-0006"])
    expected = np.stack([make_tokens(f"clip-000{n}") for n in (6, 1, 6)])
    np.testing.assert_allclose(tokens, expected, atol=0.05)
    np.testing.assert_array_equal(other.read(np.array([1]))[0], store.read(["clip-0001"])[0])
    assert other.record("clip-0005") == make_record("clip-0005")
    assert other.quarantined()["clip-0008"].message == "again"
    assert other.classes() == [ClassRow("label", 0)]
    assert [row.id for row in other.clips()] == clip_ids(9)
    assert [clip for ids, _ in stream_clips(other, batch=3) for clip in ids] == other.storage_order(
        other.ids
    )
    with pytest.raises(SpecMismatch, match="frames: store 3, asked 4"):
        create_store(url, StoreSpec.model_validate({**dict(spec), "frames": 4}), dataset="test")
    assert other.fingerprint == store.fingerprint


@pytest.mark.parametrize(("form", "dtype"), [("zarr", "float16"), ("hdf5", "int8-channel")])
def test_a_store_in_s3(url: str, form: str, dtype: str) -> None:
    exercise(url, form, dtype)


def test_plain_zarr_reads_a_part_in_s3(url: str) -> None:
    from obstore.store import from_url

    store = create_store(url, SPEC, dataset="test", format="zarr")
    with store.writer(PRODUCER) as writer:
        for clip in clip_ids(3):
            writer.add(make_record(clip), make_tokens(clip))
    store.refresh()
    remote = ObjectStore(from_url(f"{url}/parts/{store.parts[0]}/tokens.zarr"), read_only=True)
    array = zarr.open_group(remote, mode="r")["tokens"]
    assert isinstance(array, zarr.Array)
    np.testing.assert_array_equal(np.asarray(array[1]), store.read(["clip-0001"])[0])


def test_a_part_without_its_record_is_no_part(url: str) -> None:
    store = create_store(url, SPEC, dataset="test", format="zarr")
    with store.writer(PRODUCER) as writer:
        writer.add(make_record("a"), make_tokens("a"))
    place = place_of(url)
    assert isinstance(place, ObjectPath)
    half = "parts/000000-" + 32 * "a" + "/tokens.zarr/zarr.json"
    place.client.put(half, b"{}")
    store.refresh()
    assert store.ids == ["a"]
    place.client.put(f"parts/{store.parts[0]}/tokens.zarr/tokens/c.0.0.0.0", b"short")
    with pytest.raises(DamagedStore, match="ends before byte"):
        open_store(url).read(["a"])


def test_commands_and_conversion_reach_s3(url: str, tmp_path: Path) -> None:
    from sample_clips import fill_store

    local = fill_store(tmp_path / "local", "hdf5", 6)
    for words in (
        ["convert", str(local.path), url, "--format", "zarr", "--part-clips", "4"],
        ["convert", url, str(tmp_path / "back"), "--format", "hdf5"],
        ["info", "--store", url, "--json"],
        ["ls", "--store", url],
    ):
        done = CliRunner().invoke(app, words)
        assert done.exception is None, done.exception
    assert open_store(url).fingerprint == local.fingerprint
    assert open_store(tmp_path / "back").fingerprint == local.fingerprint


def test_a_store_in_s3_travels_to_other_processes(url: str) -> None:
    store = create_store(url, SPEC, dataset="test")
    with store.writer(PRODUCER) as writer:
        writer.add(make_record("a"), make_tokens("a"))
    for expected in ([], ["a"]):  # its positions are those of the store that was sent
        copy = ForkingPickler.loads(bytes(ForkingPickler.dumps(store)))
        assert copy.ids == expected
        store.refresh()


def test_a_server_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    with pytest.raises(StoreError, match="the object storage refused") as caught:
        open_store("s3://nobody/here")
    assert "\n" not in str(caught.value)


def test_a_bucket_that_does_not_exist_is_named(url: str) -> None:
    """Not reported as a store that is not there yet: that would send the user to `extract`."""
    lost = url.replace("features", "featurse")
    message = "there is no bucket 'featurse'; create it, or correct the URL"
    for command in (
        open_store,
        verify_store,
        repair_store,
        lambda place: create_store(place, SPEC, dataset="test"),
        lambda place: (place_of(place) / "file").look(9),
        lambda place: (place_of(place) / "parts").names(),
        lambda place: (place_of(place) / "file").remove(),
    ):
        with pytest.raises(StorageError, match=f"^{lost}: {message}$"):
            command(lost)
    with pytest.raises(StoreNotFound, match="no feature store at"):
        open_store(url)


def test_a_store_in_memory(tmp_path: Path) -> None:
    exercise(f"memory://{tmp_path}/remote", "zarr", "bfloat16")


def test_what_is_a_url() -> None:
    assert place_of("stores/a") == Path("stores/a")
    assert place_of("file:///stores/a") == Path("/stores/a")
    assert place_of(Path("s3://bucket/a/")) == place_of("s3://bucket/a")
    assert str(place_of("s3://bucket/a") / "b") == "s3://bucket/a/b"
    with pytest.raises(UsageError, match="nonsense"):
        open_store("nonsense://bucket/a")
