"""Maintenance of a store in object storage: on a real server, and in memory."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from sample_clips import PRODUCER, SPEC, clip_ids, fill_store, make_record, make_tokens
from store_commands import run

from stepcli.cache import create_store, open_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.schema.clips import ClipRow, Failure
from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.storage.object_client import ObjectClient
from stepcli.cache.storage.objects import ObjectPath
from stepcli.cache.storage.obstore_client import ObstoreClient
from stepcli.cache.storage.places import place_of
from stepcli.cache.store.store import Store
from stepcli.runtime.errors import DamagedStore, SpecMismatch


@pytest.fixture(params=["s3", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URLs of stores: through obstore, and in memory."""
    if request.param == "s3":
        yield request.getfixturevalue("url")
    else:
        yield f"{request.param}://{tmp_path}/remote"


def client_of(url: str) -> ObjectClient:
    place = place_of(url)
    assert isinstance(place, ObjectPath)
    return place.client


def flip(url: str, key: str, place: int) -> None:
    client = client_of(url)
    data = bytearray(client.get(key))
    data[place] ^= 0x10
    client.put(key, bytes(data))


def assert_right(url: str, clips: list[str]) -> None:
    store = open_store(url)
    assert store.ids == clips
    expected = np.stack([make_tokens(clip) for clip in clips]).astype(np.float16)
    np.testing.assert_array_equal(store.read(clips), expected)
    assert verify_store(url).ok


def part_of(store: Store, clip: str) -> str:
    return store.parts[store.snapshot.part_of[store.snapshot.positions[clip]]]


def test_verify_and_repair(place: str) -> None:
    store = fill_store(place, "zarr", 10)
    assert run("verify", "--store", place)["ok"]
    part = part_of(store, "clip-0005")
    flip(
        place,
        f"parts/{part}/tokens.zarr/tokens/c.0.0.0.0",
        int(store.snapshot.offsets["tokens"][5]) + 7,
    )
    report = run("verify", "--store", place, fails=DamagedStore)
    assert [problem["clips"] for problem in report["problems"]] == [[], ["clip-0005"]]
    before = client_of(place).entries("")
    assert run("repair", "--store", place, "--dry-run")["dropped_clips"] == ["clip-0005"]
    assert client_of(place).entries("") == before
    done = run("repair", "--store", place)
    assert (done["kept_clips"], done["dropped_clips"]) == (3, ["clip-0005"])
    assert_right(place, [clip for clip in clip_ids(10) if clip != "clip-0005"])
    assert not client_of(place).entries(f"parts/{part}/")
    # Tables and the manifest are repaired there too.
    client_of(place).put("manifest.json", b"{}")
    flip(place, "clips.parquet", 30)
    assert run("repair", "--store", place)["restored"].keys() == {"manifest.json", "clips.parquet"}
    assert [row.id for row in open_store(place).clips()] == clip_ids(10)
    assert verify_store(place).ok


def test_labels(place: str, tmp_path: Path) -> None:
    fill_store(place, "hdf5", 3)
    table = tmp_path / "mine.csv"
    run("labels", "--store", place, "--to", table)
    table.write_text(table.read_text().replace("label 1", "mine"))
    run("labels", "--store", place, "--from", table)
    assert [row.label for row in open_store(place).clips()] == ["label 0", "mine", "label 2"]


def test_merge_convert_compact_and_compare(place: str, tmp_path: Path) -> None:
    fill_store(tmp_path / "disk", "zarr", 6, part_clips=2)
    for name, clips in (("a", "pq"), ("b", "qr")):
        store = create_store(f"{place}/{name}", SPEC, dataset="test", format="zarr")
        with store.writer(PRODUCER) as writer:
            for clip in clips:
                writer.add(make_record(clip), make_tokens(clip))
            writer.quarantine(Failure(f"broken {name}", "x.webm", "VideoError", "no frames"))
    words = ("merge", f"{place}/a", f"{place}/b", tmp_path / "disk")
    assert run(*words, "--dry-run")["clips"] == 8
    assert run(*words)["copied_bytes"] > 0
    everything = sorted([*clip_ids(6), *"pqr"])
    assert_right(f"{place}/a", everything)
    assert open_store(f"{place}/a").quarantined().keys() == {"broken a", "broken b"}

    reader = open_store(f"{place}/a")
    reader.read(["p"])
    done = run("compact", "--store", f"{place}/a")
    assert done["superseded"] == 1
    np.testing.assert_array_equal(reader.read(["p"])[0], make_tokens("p").astype(np.float16))
    assert_right(f"{place}/a", everything)
    assert len(open_store(f"{place}/a").parts) == 1

    run("convert", f"{place}/a", tmp_path / "back", "--format", "hdf5")
    assert_right(str(tmp_path / "back"), everything)
    run("merge", tmp_path / "disk", f"{place}/a")
    assert_right(str(tmp_path / "disk"), everything)
    found = run("compare", f"{place}/a", tmp_path / "back")
    assert found["identical_clips"] == len(everything)


def test_of_two_first_writers_in_object_storage_one_is_refused(url: str) -> None:
    """By conditional PUTs on a real server."""
    specs = [StoreSpec.model_validate({**dict(SPEC), "frames": frames}) for frames in (4, 8)]
    barrier = Barrier(6)

    def create(spec: StoreSpec) -> int:
        barrier.wait()
        try:
            return create_store(url, spec, dataset="test").spec.frames
        except SpecMismatch:
            return 0

    with ThreadPoolExecutor(6) as pool:
        frames = sorted(pool.map(create, specs * 3))
    assert frames == [0] * 3 + [open_store(url).spec.frames] * 3


def test_two_writers_of_one_list_in_object_storage(url: str) -> None:
    create_store(url, SPEC, dataset="test")

    def write(_: int) -> None:
        store = open_store(url)
        store.add_clips(ClipRow(clip, "label") for clip in clip_ids(6))
        with store.writer(PRODUCER, part_clips=2) as writer:
            for clip in clip_ids(6):
                writer.add(make_record(clip), make_tokens(clip))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(2)))
    assert_right(url, clip_ids(6))
    assert len(open_store(url).parts) == 6
    assert [row.id for row in open_store(url).clips()] == clip_ids(6)


def test_listings_are_by_part_not_by_clip(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Counter[str] = Counter()
    for name in ("get", "get_range", "get_ranges", "size", "entries"):
        whole = getattr(ObstoreClient, name)

        def counted(self: object, *words: object, whole: Any = whole, name: str = name) -> object:
            asked[name] += 1
            return whole(self, *words)

        monkeypatch.setattr(ObstoreClient, name, counted)
    fill_store(url, "zarr", 40, part_clips=20)
    assert asked["entries"] <= 11, (
        "one a part, writer, and two a new table; two a look at the parts"
    )
    asked.clear()
    store = open_store(url)
    assert asked["entries"] == 2, "parts and tombstones"
    assert asked["get"] == 1 + 2 * 2, "the manifest, and a record and an index a part"
    asked.clear()
    store.read(store.ids)
    assert asked == {"get_range": 2}, "all clips of a part at once"
