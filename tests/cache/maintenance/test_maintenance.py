"""Verify, repair, merge, convert, compact, compare, labels: as functions and as commands."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sample_clips import PRODUCER, SPEC, clip_ids, fill_store, make_record, make_tokens
from store_commands import files_of, run
from typer.testing import CliRunner

from stepcli.cache import create_store, open_store
from stepcli.cache.cli.store import app
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.parts.commit import Staging
from stepcli.cache.parts.open_part import OpenPart
from stepcli.cache.schema.clips import ClassRow, ClipRow, Failure
from stepcli.cache.schema.manifest import Format
from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.store.store import Store
from stepcli.cache.store.summary import describe_clip, producer_differences
from stepcli.runtime.errors import (
    DamagedStore,
    SpecMismatch,
    StepcliError,
    StoreNotFound,
    UsageError,
)

FORMATS: list[Format] = ["zarr", "hdf5"]
TOKEN_FILE = {"zarr": "tokens.zarr/tokens/c.0.0.0.0", "hdf5": "tokens.h5"}


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)


def token_file(store: Store, part: str) -> Path:
    return store.path / "parts" / part / TOKEN_FILE[store.format]


def assert_right(store: Store, clips: list[str]) -> None:
    store.refresh()
    assert store.ids == clips
    expected = np.stack([make_tokens(clip) for clip in clips]).astype(np.float16)
    np.testing.assert_array_equal(store.read(clips), expected)
    assert verify_store(store.path).ok


@pytest.mark.parametrize("form", FORMATS)
def test_repair_drops_the_damaged_clip_and_keeps_the_rest(tmp_path: Path, form: Format) -> None:
    store = fill_store(tmp_path, form, 10)
    index = store.snapshot
    place = index.positions["clip-0005"]
    part = store.parts[index.part_of[place]]
    flip(token_file(store, part), int(index.offsets["tokens"][place]) + 7)
    report = run("verify", "--store", tmp_path, fails=DamagedStore)
    assert [problem["clips"] for problem in report["problems"]] == [[], ["clip-0005"]]

    before = files_of(tmp_path)
    assert run("repair", "--store", tmp_path, "--dry-run")["dropped_clips"] == ["clip-0005"]
    assert files_of(tmp_path) == before
    done = run("repair", "--store", tmp_path)
    assert done["parts"].keys() == {part}
    assert (done["kept_clips"], done["dropped_clips"]) == (3, ["clip-0005"])
    rest = [clip for clip in clip_ids(10) if clip != "clip-0005"]
    assert_right(store, rest)
    assert run("ls", "--store", tmp_path, "--state", "left")[0]["id"] == "clip-0005"

    # The old part comes back, from a backup say: it stays out of use.
    for path, content in before.items():
        if path.startswith(f"parts/{part}/"):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content)
    assert_right(open_store(tmp_path), rest)
    with store.writer(PRODUCER) as writer:
        writer.add(make_record("clip-0005"), make_tokens("clip-0005"))
    assert_right(store, clip_ids(10))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("file", ["part.json", "index.parquet", "token file", "missing"])
def test_repair_of_a_part_whose_files_are_damaged(tmp_path: Path, form: Format, file: str) -> None:
    store = fill_store(tmp_path, form, 8)
    part = store.parts[0]
    lost = [
        clip for clip in store.ids if store.snapshot.part_of[store.snapshot.positions[clip]] == 0
    ]
    if file == "missing":
        token_file(store, part).unlink()
    elif file == "token file":
        path = token_file(store, part)
        flip(path, path.stat().st_size - 3)  # the shard's index, the HDF5 file's metadata
        lost = []
    else:
        flip(tmp_path / "parts" / part / file, 40)
    assert not run("verify", "--store", tmp_path, fails=DamagedStore)["ok"]
    assert run("repair", "--store", tmp_path)["parts"].keys() == {part}
    assert_right(open_store(tmp_path), [clip for clip in clip_ids(8) if clip not in lost])


@pytest.mark.parametrize("form", FORMATS)
def test_merge_links_the_parts_of_other_stores(tmp_path: Path, form: Format) -> None:
    stores = []
    for name, clips in (("a", "pq"), ("b", "qr"), ("c", "s")):
        store = create_store(tmp_path / name, SPEC, dataset="test", format=form)
        store.add_clips(ClipRow(clip, f"label of {name}") for clip in clips)
        with store.writer(PRODUCER) as writer:
            for clip in clips:
                writer.add(make_record(clip), make_tokens(clip))
            writer.quarantine(Failure(f"broken {name}", "x.webm", "VideoError", "no frames"))
        stores.append(store)
    stores[2].replace_classes([ClassRow("open", 0)])
    words = ("merge", tmp_path / "a", tmp_path / "b", tmp_path / "c")
    before = files_of(tmp_path)
    plan = run(*words, "--dry-run")
    assert files_of(tmp_path) == before
    done = run(*words)
    assert plan["parts"].keys() == done["parts"].keys()
    assert (done["clips"], done["copied_bytes"], done["rows_differing"]) == (3, 0, ["q"])
    assert_right(stores[0], list("pqrs"))
    assert {row.id: row.label for row in stores[0].clips()} == {
        "p": "label of a",
        "q": "label of a",
        "r": "label of b",
        "s": "label of c",
    }
    assert stores[0].classes() == [ClassRow("open", 0)]
    assert stores[0].quarantined().keys() == {"broken a", "broken b", "broken c"}
    again = run(*words)
    assert again["parts"] == {}
    for store in stores[1:]:
        shutil.rmtree(store.path)
    assert_right(stores[0], list("pqrs"))


def test_merge_into_a_store_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    fill_store(tmp_path / "a", "zarr", 2)
    with pytest.raises(StoreNotFound, match="Parts are added to the first store") as refused:
        run("merge", tmp_path / "all", tmp_path / "a")
    # As the message says, the store is copied first.
    assert f"stepcli store convert {tmp_path / 'a'} {tmp_path / 'all'}" in str(refused.value)
    run("convert", tmp_path / "a", tmp_path / "all")
    run("merge", tmp_path / "all", tmp_path / "a")


def test_merge_refuses_what_does_not_fit(tmp_path: Path) -> None:
    fill_store(tmp_path / "a", "zarr", 2)
    fill_store(tmp_path / "h5", "hdf5", 2)
    fill_store(
        tmp_path / "t", "zarr", 2, spec=StoreSpec.model_validate({**dict(SPEC), "frames": 4})
    )
    create_store(tmp_path / "d", SPEC, dataset="other")
    for name, error, words in (
        ("h5", UsageError, "convert it first"),
        ("t", SpecMismatch, "frames: store 3, asked 4"),
        ("d", UsageError, "dataset 'other'"),
        ("a", UsageError, "is the store to merge into"),
    ):
        done = CliRunner().invoke(app, ["merge", str(tmp_path / "a"), str(tmp_path / name)])
        assert isinstance(done.exception, error)
        assert words in str(done.exception)


@pytest.mark.parametrize("form", FORMATS)
def test_convert_keeps_every_bit_between_formats(tmp_path: Path, form: Format) -> None:
    source = fill_store(tmp_path / "a", form, 9)
    source.replace_classes([ClassRow("label 0", 0)])
    other: Format = "hdf5" if form == "zarr" else "zarr"
    words = ("convert", tmp_path / "a", tmp_path / "b", "--format", other, "--part-clips", 4)
    assert run(*words, "--dry-run")["clips"] == 9
    assert not (tmp_path / "b").exists()
    run(*words)
    target = open_store(tmp_path / "b")
    assert target.format == other
    assert target.fingerprint == source.fingerprint
    assert target.clips() == source.clips()
    assert target.classes() == source.classes()
    assert_right(target, clip_ids(9))
    assert run(*words)["clips"] == 0
    comparison = run("compare", tmp_path / "a", tmp_path / "b")
    assert comparison["identical_clips"] == 9
    assert comparison["cosine"]["worst"] == pytest.approx(1)
    assert comparison["channel_error"]["worst"] == 0


def test_convert_to_int8_and_its_error(tmp_path: Path) -> None:
    source = fill_store(tmp_path / "a", "hdf5", 6)
    run("convert", tmp_path / "a", tmp_path / "b", "--dtype", "int8", "--format", "zarr")
    target = open_store(tmp_path / "b")
    assert target.spec.dtype == "int8"
    assert target.spec.clip_shape == source.spec.clip_shape
    found = run("compare", tmp_path / "a", tmp_path / "b")
    assert found["identical_clips"] == 0
    assert 0.999 < found["cosine"]["worst"] < found["cosine"]["mean"] < 1
    assert 0.001 < found["channel_error"]["mean"] < 0.01
    line = f"dtype: {tmp_path / 'a'} 'float16', {tmp_path / 'b'} 'int8'"
    assert line in found["spec_differences"]
    part = json.loads((tmp_path / "b" / "parts" / target.parts[0] / "part.json").read_text())
    assert "stored as float16, then as int8" in part["producer"]["numerics"]


def test_convert_quarantines_what_the_dtype_cannot_hold(tmp_path: Path) -> None:
    spec = StoreSpec.model_validate({**dict(SPEC), "dtype": "float32"})
    store = create_store(tmp_path / "a", spec, dataset="test")
    with store.writer(PRODUCER) as writer:
        writer.add(make_record("fits"), make_tokens("fits"))
        writer.add(make_record("large"), make_tokens("large") * 1e6)
    words = ["convert", str(tmp_path / "a"), str(tmp_path / "b"), "--dtype", "float16"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 3
    target = open_store(tmp_path / "b")
    assert target.ids == ["fits"]
    assert "too large for float16" in target.quarantined()["large"].message


def test_convert_never_launders_damage(tmp_path: Path) -> None:
    store = fill_store(tmp_path / "a", "zarr", 4)
    flip(token_file(store, store.parts[0]), 5)
    with pytest.raises(DamagedStore, match="does not match its checksum"):
        run("convert", tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("form", FORMATS)
def test_compact_makes_one_part_of_many_and_open_readers_go_on(
    tmp_path: Path, form: Format
) -> None:
    store = fill_store(tmp_path, form, 11, part_clips=2)
    with store.writer(PRODUCER) as writer:  # a second copy of some clips
        for clip in ("clip-0003", "clip-0004"):
            writer.add(make_record(clip), make_tokens(clip))
    fingerprint = store.fingerprint
    reader, opened = open_store(tmp_path), open_store(tmp_path)
    opened.read(opened.ids)
    assert len(reader.parts) == 7
    before = files_of(tmp_path)
    plan = run("compact", "--store", tmp_path, "--dry-run")
    assert files_of(tmp_path) == before
    done = run("compact", "--store", tmp_path)
    assert {**plan, "dry_run": False} == done
    assert (done["clips"], done["superseded"]) == (11, 2)
    for one in (reader, opened):
        np.testing.assert_array_equal(
            one.read(np.array([10, 3])),
            np.stack([make_tokens(f"clip-00{n}") for n in ("10", "03")]).astype(np.float16),
        )
    assert_right(store, clip_ids(11))
    assert len(store.parts) == 1
    assert store.parts[0].startswith("000001-")
    assert store.fingerprint == fingerprint
    assert reader.record("clip-0007") == make_record("clip-0007")
    assert run("compact", "--store", tmp_path)["rewritten"] == []


def test_compact_leaves_full_parts_and_other_producers_alone(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "hdf5", 8, part_clips=4)
    other = PRODUCER.model_copy(update={"device": "cuda"})
    for clip in ("x", "y"):
        with store.writer(other) as writer:
            writer.add(make_record(clip), make_tokens(clip))
    done = run("compact", "--store", tmp_path, "--part-clips", 4)
    assert len(done["rewritten"]) == 2
    assert_right(store, [*clip_ids(8), "x", "y"])
    assert len(store.parts) == 3


def test_compact_refuses_damaged_clips(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "hdf5", 4, part_clips=2)
    flip(token_file(store, store.parts[1]), int(store.snapshot.offsets["tokens"][0]))
    before = store.parts
    with pytest.raises(DamagedStore, match="repair"):
        run("compact", "--store", tmp_path)
    assert set(before) <= set(open_store(tmp_path).parts)


def test_commands_find_the_only_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPCLI_STORES", str(tmp_path))
    with pytest.raises(StepcliError, match="no feature store below"):
        run("info")
    fill_store(tmp_path / "one", "zarr", 3)
    assert run("info")["clips"] == {"done": 3, "quarantined": 0, "left": 0, "in_all": 3}
    fill_store(tmp_path / "two", "zarr", 1)
    with pytest.raises(UsageError, match=r"choose with --store: .*one, .*two"):
        run("info")
    assert len(run("ls", "--store", tmp_path / "one", "--limit", 2)) == 2


def test_show_tells_one_clip(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "hdf5", 6)
    facts = run("show", "clip-0005", "--store", tmp_path)
    assert facts["label"] == "label 2"
    assert facts["source"] == "videos/clip-0005.webm"
    assert facts["part"] == store.parts[store.snapshot.part_of[5]]
    assert facts["largest"] == float(store.read(["clip-0005"]).max())
    with pytest.raises(StepcliError, match="holds no clip 'nobody'"):
        run("show", "nobody", "--store", tmp_path)


def test_show_tells_of_a_clip_that_holds_nan(tmp_path: Path) -> None:
    """No writer of ours stores it; others may, and any bits make a float16."""
    store = create_store(tmp_path, SPEC, dataset="test", format="zarr")
    part = OpenPart(Staging(tmp_path), store.manifest, 1, 0)
    part.add(make_record("a"), [np.full(SPEC.clip_shape, 0x7C01, np.uint16).view(np.float16)])
    part.commit(PRODUCER)
    assert np.isnan(describe_clip(open_store(tmp_path), "a")["mean_token_norm"])


def test_another_producer_is_told_not_refused(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "zarr", 2)
    assert producer_differences(store, PRODUCER) == []
    other = PRODUCER.model_copy(update={"device": "cuda", "versions": {"stepcli": "1", "av": "18"}})
    assert producer_differences(store, other) == [
        "av version: store none, now 18",
        "device: store cpu, now cuda",
        "stepcli version: store 0, now 1",
    ]
