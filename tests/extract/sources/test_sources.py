"""What stored clips were made from: recorded, compared, refused, moved, appended, pruned."""

import csv
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepcli.cache import open_store
from stepcli.cache.maintenance import origins
from stepcli.cache.maintenance.compact import compact_store
from stepcli.cache.maintenance.convert import convert_store
from stepcli.cache.maintenance.merge import merge_stores
from stepcli.cache.maintenance.prune import take_out
from stepcli.cache.maintenance.relabel import relabel
from stepcli.cache.maintenance.repair import repair_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.parts import sources as part_sources
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.datasets.registry import DATASETS
from stepcli.extract.decode.process import DecodeTask
from stepcli.extract.decode.worker import decode_known
from stepcli.extract.sources import compare, origin
from stepcli.runtime.errors import DamagedStore, UsageError

Extract = Callable[..., int]
REDO, KEEP = "redo", "keep"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, write_numbered: Any) -> list[Path]:
    """Six tiny videos of different frames."""
    folder = tmp_path_factory.mktemp("videos")
    return [write_numbered(folder / f"{i}.mp4", 4, first=100 * i) for i in range(6)]


def make_project(folder: Path, videos: list[Path], **columns: list[str]) -> Path:
    """A folder with copies of videos as 0.mp4, 1.mp4 ... and a CSV of them; returns the CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, video in enumerate(videos):
        shutil.copy(video, folder / f"{number}.mp4")
    names = [f"{number}.mp4" for number in range(len(videos))]
    return write_list(folder / "clips.csv", names, **columns)


def write_list(table: Path, names: list[str], **columns: list[str]) -> Path:
    with table.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["path", "label", "split", *columns])
        for number, name in enumerate(names):
            cells = [column[number] for column in columns.values()]
            writer.writerow([name, "ab"[number % 2], "train", *cells])
    return table


def tokens_of(store: Path) -> dict[str, np.ndarray]:
    found = open_store(store)
    return dict(zip(found.ids, found.read(found.ids), strict=True))


def test_each_clip_records_its_source_and_probes_need_not_read_it(
    extract: Extract, tmp_path: Path, videos: list[Path]
) -> None:
    table = make_project(tmp_path / "a", videos[:2], start_frame=["", "1"], end_frame=["", "3"])
    assert extract(root=table) == 0
    store = open_store(tmp_path / "store")
    recorded = origins.origins_of(store)
    whole, piece = recorded["0.mp4"], recorded["1.mp4@1-3"]
    assert (whole.root, whole.path, whole.segment) == (str(tmp_path / "a"), "0.mp4", "")
    assert whole.size == videos[0].stat().st_size
    assert whole.mtime_ns == (tmp_path / "a" / "0.mp4").stat().st_mtime_ns
    assert whole.digest == origin.facts_of(videos[0]).digest
    assert whole.digest.startswith("sha256:")
    assert piece.segment == "start_frame=1 end_frame=3"
    # An earlier version, which knows nothing of the file, reads such a part too.
    index = (tmp_path / "store" / "parts" / store.parts[0]).glob("*.parquet")
    assert {path.name for path in index} == {"index.parquet", "sources.parquet"}
    assert verify_store(tmp_path / "store").problems == []


def test_another_root_is_not_taken_for_the_first_one(
    extract: Extract,
    tmp_path: Path,
    videos: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    summaries: list[dict[str, Any]],
) -> None:
    monkeypatch.setenv("STEPCLI_STORES", str(tmp_path / "stores"))
    a = make_project(tmp_path / "a" / "data", videos[:2])
    b = make_project(tmp_path / "b" / "data", videos[2:4])
    assert extract(root=a, store=None) == extract(root=b, store=None) == 0
    one, two = (Path(summary["store"]) for summary in summaries)
    assert one != two
    assert one.parent == two.parent == tmp_path / "stores"
    assert one.name.rpartition("-")[0] == two.name.rpartition("-")[0]
    assert one.name.split("-")[-2] == "data"
    first, second = tokens_of(one), tokens_of(two)
    assert first.keys() == second.keys() == {"0.mp4", "1.mp4"}
    assert not any(np.array_equal(first[name], second[name]) for name in first)
    assert extract(root=a, store=None) == 0  # goes on with its own
    assert summaries[-1]["done"] == 2
    with pytest.raises(UsageError, match=r"this run is on .*--append PREFIX"):
        extract(root=b, store=one)
    with pytest.raises(UsageError, match=r"this run is on .*--append PREFIX"):
        extract(root=b, store=one, changed=REDO)


def test_a_data_set_is_appended_under_a_prefix(
    extract: Extract,
    tmp_path: Path,
    videos: list[Path],
    summaries: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    a = make_project(tmp_path / "a", videos[:2])
    b = make_project(tmp_path / "b", videos[2:5], group=["g", "g", ""])
    extract(root=a)
    assert extract(root=b, append="b") == 0
    store = open_store(tmp_path / "store")
    assert store.ids == ["0.mp4", "1.mp4", "b/0.mp4", "b/1.mp4", "b/2.mp4"]
    assert [row.group for row in store.clips()] == ["", "", "b/g", "b/g", ""]
    assert (summaries[-1]["done"], summaries[-1]["not_listed"]) == (3, 0)
    for again, count in ((b, 3), (a, 2)):
        assert extract(root=again, append="b" if again == b else "") == 0
        assert (summaries[-1]["done"], summaries[-1]["not_listed"]) == (count, 0)
    with pytest.raises(UsageError, match=r"with --append b; give it again$"):
        extract(root=b)
    with pytest.raises(UsageError, match=r"already, without --append instead of --append c$"):
        extract(root=a, append="c")
    c = make_project(tmp_path / "c", videos[1:3])
    with pytest.raises(UsageError, match="this run is on"):
        extract(root=c, append="b")
    capsys.readouterr()
    b.write_text("path,label,split\n0.mp4,a,train\n")
    assert extract(root=b, append="b", prune=True) == 0
    assert summaries[-1]["not_listed"] == 2
    rows = {row.id for row in open_store(tmp_path / "store").clips()}
    assert rows == {"0.mp4", "1.mp4", "b/0.mp4"}
    for prefix in ("/x", "x/", " x"):
        with pytest.raises(UsageError, match="--append"):
            extract(root=c, append=prefix)


@pytest.mark.parametrize("keep_times", [True, False])
def test_a_data_set_on_another_disk_is_still_the_same(
    keep_times: bool,
    extract: Extract,
    tmp_path: Path,
    videos: list[Path],
    summaries: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = make_project(tmp_path / "a", videos[:3])
    extract(root=table, limit=2)
    copy = shutil.copy2 if keep_times else shutil.copyfile
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=copy)
    shutil.rmtree(tmp_path / "a")
    assert extract(root=tmp_path / "b" / "clips.csv") == 0
    assert (summaries[-1]["done"], summaries[-1]["not_listed"]) == (3, 0)
    shown = capsys.readouterr().err
    assert f"note: the data set has moved from {tmp_path / 'a'} to {tmp_path / 'b'}" in shown
    assert "1 clips -> " in shown
    assert extract(root=tmp_path / "b" / "clips.csv") == 0
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "b")
    capsys.readouterr()
    assert extract(root=link / "clips.csv") == 0
    assert "moved" not in capsys.readouterr().err
    # Clips that were read from the old root are of this data set still.
    write_list(tmp_path / "b" / "clips.csv", ["2.mp4"])
    assert extract(root=tmp_path / "b" / "clips.csv") == 0
    assert (summaries[-1]["done"], summaries[-1]["not_listed"]) == (1, 2)


def test_a_moved_list_with_one_replaced_video_is_still_checked(
    extract: Extract, tmp_path: Path, videos: list[Path]
) -> None:
    extract(root=make_project(tmp_path / "a", videos[:3]))
    moved = make_project(tmp_path / "b", [videos[0], videos[1], videos[4]])
    with pytest.raises(UsageError, match=r"1 clip of 3 stored ones .*'2\.mp4' from .*/a/2\.mp4"):
        extract(root=moved)


@pytest.mark.parametrize("same_size", [False, True])
def test_a_replaced_video_is_refused_redone_or_kept(
    same_size: bool,
    extract: Extract,
    tmp_path: Path,
    videos: list[Path],
    summaries: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = make_project(tmp_path / "a", videos[:3])
    extract(root=table)
    store, video = tmp_path / "store", tmp_path / "a" / "1.mp4"
    relabel(store, write_labels(tmp_path / "mine.csv", "1.mp4", "mine"))
    before, times = tokens_of(store), video.stat()
    replace_video(video, videos[4], same_size=same_size)
    with pytest.raises(UsageError) as refused:
        extract(root=table)
    text = str(refused.value)
    assert "1 clip of 3 stored ones were made from another source" in text
    assert text.count(str(video)) == 2
    assert f"{times.st_size:,} bytes" in text
    assert f"{video.stat().st_size:,} bytes" in text
    assert "\n" not in text
    assert tokens_of(store).keys() == before.keys()
    assert extract(root=table, changed=KEEP) == 0
    assert np.array_equal(tokens_of(store)["1.mp4"], before["1.mp4"])
    assert extract(root=table, changed=REDO) == 0
    after = tokens_of(store)
    assert [np.array_equal(after[n], before[n]) for n in sorted(after)] == [True, False, True]
    alone = make_project(tmp_path / "alone", [video])
    extract(root=alone, store=tmp_path / "truth")
    np.testing.assert_array_equal(after["1.mp4"], tokens_of(tmp_path / "truth")["0.mp4"])
    # What the user said of the clip stays, and its new source is on record.
    assert {row.id: row.label for row in open_store(store).clips()}["1.mp4"] == "mine"
    assert extract(root=table) == 0
    assert (summaries[-1]["done"], summaries[-1]["changed"]) == (3, [])
    compact_store(store)
    assert extract(root=table) == 0
    assert summaries[-1]["done"] == 3


def write_labels(table: Path, clip: str, label: str) -> Path:
    table.write_text(f"id,label\n{clip},{label}\n")
    return table


def replace_video(path: Path, other: Path, *, same_size: bool) -> None:
    data = other.read_bytes()
    if same_size:  # a box that players skip
        size = path.stat().st_size
        both = max(size, len(data) + 8)
        path.write_bytes(path.read_bytes())
        missing = both - len(data)
        data += missing.to_bytes(4, "big") + b"free" + bytes(missing - 8)
    path.write_bytes(data)


def test_a_video_of_the_same_size_and_time_is_found_by_the_full_check(
    extract: Extract, tmp_path: Path, videos: list[Path], summaries: list[dict[str, Any]]
) -> None:
    table = make_project(tmp_path / "a", videos[:2])
    video = tmp_path / "a" / "1.mp4"
    size = max(path.stat().st_size for path in videos) + 64
    for path in (video, other := tmp_path / "other.mp4"):
        data = videos[1 if path == video else 2].read_bytes()
        rest = size - len(data)
        path.write_bytes(data + rest.to_bytes(4, "big") + b"free" + bytes(rest - 8))
    extract(root=table)
    status = video.stat()
    shutil.copyfile(other, video)
    os.utime(video, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert video.stat().st_size == status.st_size
    assert extract(root=table) == 0  # as documented: nothing tells, without reading it
    with pytest.raises(UsageError, match=r"'1\.mp4' from"):
        extract(root=table, check_sources=True)
    os.utime(video, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(UsageError, match=r"'1\.mp4' from"):
        extract(root=table)
    video.unlink()
    assert extract(root=table) == 0
    assert (summaries[-1]["done"], summaries[-1]["source_missing"]) == (2, 1)


def test_touched_videos_are_the_same(
    extract: Extract,
    tmp_path: Path,
    videos: list[Path],
    summaries: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = make_project(tmp_path / "a", videos[:2])
    extract(root=table)
    for path in (tmp_path / "a").glob("*.mp4"):
        os.utime(path, (1.0, 1.0))
    read: list[str] = []
    digest = compare._digest
    monkeypatch.setattr(compare, "_digest", lambda path: (read.append(path), digest(path))[1])
    assert extract(root=table) == 0
    assert (summaries[-1]["done"], summaries[-1]["changed"]) == (2, [])
    assert len(read) == 2
    assert extract(root=table) == 0  # what was read once is known
    assert len(read) == 2
    assert verify_store(tmp_path / "store").problems == []
    (kept,) = (tmp_path / "store" / ".cache").glob("digests-*.parquet")
    kept.write_bytes(b"damaged")
    assert extract(root=table) == 0
    assert len(read) == 4
    shutil.copy(videos[3], tmp_path / "a" / "1.mp4")
    os.utime(tmp_path / "a" / "1.mp4", (1.0, 1.0))
    with pytest.raises(UsageError, match="another source"):
        extract(root=table, check_sources=True)


def test_a_new_video_that_cannot_be_read_leaves_no_old_tokens_in_training(
    extract: Extract,
    tmp_path: Path,
    videos: list[Path],
    summaries: list[dict[str, Any]],
) -> None:
    table = make_project(tmp_path / "a", videos[:3])
    extract(root=table)
    video = tmp_path / "a" / "1.mp4"
    video.write_bytes(b"no video at all")
    assert extract(root=table, changed=REDO) == 3
    assert (summaries[-1]["done"], summaries[-1]["quarantined"]) == (2, 1)
    rows = {row.id for row in open_store(tmp_path / "store").clips()}
    assert rows == {"0.mp4", "2.mp4"}
    with pytest.raises(UsageError, match="another source"):
        extract(root=table)
    shutil.copy(videos[3], video)
    assert extract(root=table, changed=REDO) == 0
    assert len(open_store(tmp_path / "store").clips()) == 3


def test_another_stretch_of_the_same_video_is_another_source(
    extract: Extract, tmp_path: Path, videos: list[Path]
) -> None:
    columns = {"id": ["x", "y"], "start_frame": ["0", "0"], "end_frame": ["2", "2"]}
    table = make_project(tmp_path / "a", videos[:2], **columns)
    extract(root=table)
    columns["end_frame"] = ["2", "3"]
    write_list(table, ["0.mp4", "1.mp4"], **columns)
    with pytest.raises(UsageError, match=r"'y' from .*end_frame=2\), now .*end_frame=3\)"):
        extract(root=table)
    columns["end_frame"] = ["2.0", "2"]
    write_list(table, ["0.mp4", "1.mp4"], **columns)


def test_another_file_under_the_same_id_is_another_source(
    extract: Extract, tmp_path: Path, videos: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    table = make_project(tmp_path / "a", videos[:3], id=["x", "y", "z"])
    extract(root=table, limit=2)  # x and y
    (tmp_path / "a" / "elsewhere").mkdir()
    shutil.move(tmp_path / "a" / "0.mp4", tmp_path / "a" / "elsewhere" / "moved.mp4")
    capsys.readouterr()
    write_list(table, ["elsewhere/moved.mp4", "1.mp4"], id=["x", "y"])
    assert extract(root=table) == 0
    note = "note: the videos of 1 clip moved (e.g. 0.mp4 is elsewhere/moved.mp4 now)"
    assert note in capsys.readouterr().err
    write_list(table, ["2.mp4", "1.mp4"], id=["x", "y"])
    with pytest.raises(UsageError, match=r"'x' from .*/a/0\.mp4 .*, now .*/a/2\.mp4 "):
        extract(root=table)


def test_a_moved_video_without_an_id_is_no_second_clip(
    extract: Extract,
    tmp_path: Path,
    videos: list[Path],
    summaries: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = make_project(tmp_path / "a", videos[:3])
    extract(root=table)
    shutil.move(tmp_path / "a" / "1.mp4", tmp_path / "a" / "renamed.mp4")
    write_list(table, ["0.mp4", "renamed.mp4", "2.mp4"])
    capsys.readouterr()
    for _ in range(2):
        assert extract(root=table) == 0
        assert (summaries[-1]["done"], summaries[-1]["not_listed"]) == (3, 0)
        assert "'renamed.mp4' is stored as '1.mp4'" in capsys.readouterr().err
    assert open_store(tmp_path / "store").ids == ["0.mp4", "1.mp4", "2.mp4"]
    # Listed beside the first one it is a copy, and a clip of its own.
    shutil.copy(tmp_path / "a" / "renamed.mp4", tmp_path / "a" / "1.mp4")
    write_list(table, ["0.mp4", "1.mp4", "renamed.mp4", "2.mp4"])
    assert extract(root=table) == 0
    assert len(open_store(tmp_path / "store")) == 4


def test_views_and_shares_compare_and_move_alike(
    extract: Extract, tmp_path: Path, videos: list[Path], summaries: list[dict[str, Any]]
) -> None:
    settings = {"views": "center,flip", "mirrors": Path("none")}
    table = make_project(tmp_path / "a", videos[:4])
    for rank in range(2):
        extract(root=table, rank=rank, world_size=2, **settings)
        assert summaries[-1]["not_listed"] == 0
    shutil.move(tmp_path / "a" / "3.mp4", tmp_path / "a" / "x.mp4")
    write_list(table, ["0.mp4", "1.mp4", "2.mp4", "x.mp4"])
    for rank in range(2):
        assert extract(root=table, rank=rank, world_size=2, **settings) == 0
        assert (summaries[-1]["done"], summaries[-1]["not_listed"]) == (4, 0)
    assert len(open_store(tmp_path / "store")) == 8
    shutil.copy(videos[5], tmp_path / "a" / "1.mp4")
    assert extract(root=table, rank=0, world_size=2, **settings) == 0  # not of this share
    with pytest.raises(UsageError, match="2 clips of 4 stored ones"):
        extract(root=table, rank=1, world_size=2, **settings)
    assert extract(root=table, rank=1, world_size=2, changed=REDO, **settings) == 0
    assert extract(root=table, **settings) == 0
    assert (summaries[-1]["done"], summaries[-1]["changed"]) == (8, [])


def test_a_shorter_run_is_no_shorter_list(
    extract: Extract, tmp_path: Path, videos: list[Path], summaries: list[dict[str, Any]]
) -> None:
    table = make_project(tmp_path / "a", videos)
    extract(root=table)
    assert extract(root=table, limit=2, prune=True) == 0
    assert extract(root=table, rank=1, world_size=3, prune=True) == 0
    assert [summary["not_listed"] for summary in summaries] == [0, 0, 0]
    assert len(open_store(tmp_path / "store").clips()) == 6


def test_clips_that_the_list_no_longer_names_are_counted_and_pruned(
    extract: Extract,
    tmp_path: Path,
    videos: list[Path],
    summaries: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = make_project(tmp_path / "a", videos[:4])
    extract(root=table)
    store = tmp_path / "store"
    relabel(store, write_labels(tmp_path / "mine.csv", "2.mp4", "mine"))
    write_list(table, ["0.mp4", "3.mp4"])
    capsys.readouterr()
    extract(root=table)
    assert "note: 2 clips of the store are not in the list now (1.mp4, 2.mp4); they stay in" in (
        capsys.readouterr().err
    )
    assert extract(root=table, prune=True, dry_run=True) == 0
    assert "would be taken out of training: 1.mp4" in capsys.readouterr().err
    assert len(open_store(store).clips()) == 4
    parts = sorted((store / "parts").iterdir())
    assert extract(root=table, prune=True) == 0
    shown = capsys.readouterr().err
    assert "(1.mp4, 2.mp4); no probe takes them" in shown
    (kept,) = (store / "pruned").iterdir()
    assert f"stepcli store labels --store {store} --from {kept}" in shown
    found = open_store(store)
    assert [row.id for row in found.clips()] == ["0.mp4", "3.mp4"]
    assert sorted((store / "parts").iterdir()) == parts
    assert (summaries[-1]["done"], summaries[-1]["not_listed"], len(found)) == (2, 2, 4)
    assert verify_store(store).problems == []
    # Back by the file, with what the user had said of them ...
    relabel(store, kept)
    assert {row.id: row.label for row in open_store(store).clips()}["2.mp4"] == "mine"
    # ... or by the list.
    extract(root=table, prune=True)
    write_list(table, ["0.mp4", "1.mp4", "3.mp4"])
    assert extract(root=table) == 0
    assert {row.id for row in open_store(store).clips()} == {"0.mp4", "1.mp4", "3.mp4"}


def test_all_clips_may_be_pruned(
    extract: Extract, tmp_path: Path, videos: list[Path], summaries: list[dict[str, Any]]
) -> None:
    table = make_project(tmp_path / "a", videos[:2])
    extract(root=table, limit=1)
    write_list(table, ["1.mp4"])
    assert extract(root=table, prune=True) == 0
    assert [row.id for row in open_store(tmp_path / "store").clips()] == ["1.mp4"]
    take_out(open_store(tmp_path / "store"), ["1.mp4"])
    assert open_store(tmp_path / "store").clips() == []
    assert extract(root=table) == 0
    assert [row.id for row in open_store(tmp_path / "store").clips()] == ["1.mp4"]
    assert verify_store(tmp_path / "store").problems == []


def test_a_dry_run_writes_nothing(
    extract: Extract, tmp_path: Path, videos: list[Path], summaries: list[dict[str, Any]]
) -> None:
    table = make_project(tmp_path / "a", videos[:2])
    assert extract(root=table, dry_run=True) == 0
    assert not (tmp_path / "store").exists()
    assert summaries[-1]["left"] == 2
    extract(root=table, limit=1)
    before = sorted((tmp_path / "store").rglob("*"))
    assert extract(root=table, dry_run=True) == 0
    assert (summaries[-1]["done"], summaries[-1]["left"]) == (1, 1)
    assert sorted((tmp_path / "store").rglob("*")) == before


def forget_sources(store: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[[], Any]) -> None:
    """Extract as a version did that recorded no sources."""
    with monkeypatch.context() as patch:
        patch.setattr(
            "stepcli.extract.pipeline.backbone_runner.source_of", lambda clip, facts: None
        )
        run()
    assert not list(store.rglob(part_sources.SOURCES))


def test_a_store_of_an_earlier_version_goes_on_and_says_what_it_cannot_tell(
    extract: Extract,
    tmp_path: Path,
    videos: list[Path],
    summaries: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table, store = make_project(tmp_path / "a", videos[:4]), tmp_path / "store"
    forget_sources(store, monkeypatch, lambda: extract(root=table, limit=2))
    shutil.copy(videos[5], tmp_path / "a" / "0.mp4")
    capsys.readouterr()
    assert extract(root=table) == 0
    shown = capsys.readouterr().err
    assert "2 clips were stored by an earlier version, which did not record sources" in shown
    assert "read from another path" not in shown
    assert (summaries[-1]["done"], summaries[-1]["source_unknown"]) == (4, 2)
    assert len(origins.origins_of(open_store(store))) == 2
    compact_store(store)
    assert len(origins.origins_of(open_store(store))) == 2
    old = tmp_path / "old"
    forget_sources(old, monkeypatch, lambda: extract(root=table, store=old))
    capsys.readouterr()
    extract(root=make_project(tmp_path / "b", videos[2:4]), store=old)
    assert "2 of them were read from another path than the list names (e.g. '0.mp4' from " in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("recorded", [False, True])
def test_an_earlier_default_store_is_gone_on_with(
    recorded: bool,
    extract: Extract,
    tmp_path: Path,
    videos: list[Path],
    summaries: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("STEPCLI_STORES", str(tmp_path / "stores"))
    table = make_project(tmp_path / "a", videos[:3])
    earlier = tmp_path / "stores" / "csv-hf-tiny-dinov2-4f-grid2"
    if recorded:
        extract(root=table, store=earlier, limit=2)
    else:
        forget_sources(earlier, monkeypatch, lambda: extract(root=table, store=earlier, limit=2))
    capsys.readouterr()
    assert extract(root=table, store=None) == 0
    assert summaries[-1]["store"] == str(earlier)
    assert f"note: going on with the store {earlier}, which is" in capsys.readouterr().err
    other = make_project(tmp_path / "b", videos[3:5])
    assert extract(root=other, store=None) == 0
    assert summaries[-1]["store"] != str(earlier)
    assert f"{earlier} " not in capsys.readouterr().err
    if recorded:
        return
    # Spelt relatively, an earlier version's paths tell nothing: the user is told.
    shutil.rmtree(tmp_path / "stores")
    monkeypatch.chdir(tmp_path)
    short = table.relative_to(tmp_path)
    forget_sources(earlier, monkeypatch, lambda: extract(root=short, store=earlier))
    capsys.readouterr()
    assert extract(root=short, store=None) == 0
    assert f"to go on with it give --store {earlier}" in capsys.readouterr().err
    assert summaries[-1]["store"] != str(earlier)


def test_a_moved_data_set_is_told_of_its_default_store(
    extract: Extract,
    tmp_path: Path,
    videos: list[Path],
    summaries: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("STEPCLI_STORES", str(tmp_path / "stores"))
    extract(root=make_project(tmp_path / "a", videos[:3]), store=None)
    first = summaries[-1]["store"]
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    capsys.readouterr()
    assert extract(root=tmp_path / "b" / "clips.csv", store=None, dry_run=True) == 0
    assert f"{first} holds the same videos, read from {tmp_path / 'a'}; to go on" in (
        capsys.readouterr().err
    )
    assert summaries[-1]["store"] != first
    shutil.rmtree(tmp_path / "a")  # moved, not copied
    assert extract(root=tmp_path / "b" / "clips.csv", store=None) == 0
    assert (summaries[-1]["store"], summaries[-1]["done"]) == (first, 3)
    assert f"the data set has moved from {tmp_path / 'a'}" in capsys.readouterr().err


def test_sources_survive_what_is_done_to_a_store(
    extract: Extract, tmp_path: Path, videos: list[Path], summaries: list[dict[str, Any]]
) -> None:
    table, store = make_project(tmp_path / "a", videos[:4]), tmp_path / "store"
    for rank in range(2):
        extract(root=table, rank=rank, world_size=2, store=tmp_path / f"share{rank}")
    merge_stores(tmp_path / "share0", [tmp_path / "share1"])
    convert_store(tmp_path / "share0", store, form="hdf5", dtype="float16")
    compact_store(store)
    recorded = origins.origins_of(open_store(store))
    assert sorted(recorded) == [f"{n}.mp4" for n in range(4)]
    assert recorded == origins.origins_of(open_store(tmp_path / "share0"))
    shutil.copy(videos[5], tmp_path / "a" / "2.mp4")
    with pytest.raises(UsageError, match=r"'2\.mp4' from"):
        extract(root=table, store=store, dtype="float16")


def test_a_damaged_record_of_sources_is_found_and_repaired(
    extract: Extract, tmp_path: Path, videos: list[Path], summaries: list[dict[str, Any]]
) -> None:
    table, store = make_project(tmp_path / "a", videos[:2]), tmp_path / "store"
    extract(root=table)
    (file,) = store.rglob(part_sources.SOURCES)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(DamagedStore, match=r"sources\.parquet.*stepcli store repair"):
        extract(root=table)
    assert any("sources.parquet" in problem.place for problem in verify_store(store).problems)
    repair_store(store)
    assert verify_store(store).problems == []
    assert extract(root=table) == 0
    assert (summaries[-1]["done"], summaries[-1]["source_unknown"]) == (2, 2)


def test_missing_videos_are_counted_before_the_first_is_decoded(
    extract: Extract, tmp_path: Path, videos: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    table = make_project(tmp_path / "a", videos[:3])
    (tmp_path / "a" / "1.mp4").unlink()
    assert extract(root=table) == 3
    lines = capsys.readouterr().err.splitlines()
    (note,) = [line for line in lines if "are missing" in line]
    assert note.startswith("note: the videos of 1 of 3 clips to extract are missing (e.g. ")
    assert lines.index(note) < next(i for i, line in enumerate(lines) if " -> " in line)


def test_folders_of_images_have_a_digest_of_their_own(
    extract: Extract, tmp_path: Path, summaries: list[dict[str, Any]]
) -> None:
    from PIL import Image

    folder = tmp_path / "a"
    for clip in ("x", "y"):
        (folder / clip).mkdir(parents=True)
        for number in range(3):
            image = Image.new("RGB", (64, 64), (40 * number, 9 * ord(clip) % 255, 0))
            image.save(folder / clip / f"{number}.png")
    table = write_list(folder / "clips.csv", ["x", "y"], frames_per_second=["5", "5"])
    assert extract(root=table) == 0
    recorded = origins.origins_of(open_store(tmp_path / "store"))
    assert all(source.digest.startswith("images:") for source in recorded.values())
    assert recorded["x"].size == sum(path.stat().st_size for path in (folder / "x").iterdir())
    (folder / "x" / "._0.png").write_bytes(b"of another system")
    (folder / "x" / "notes.txt").write_text("no frame")
    assert extract(root=table) == 0
    Image.new("RGB", (64, 64), (1, 2, 3)).save(folder / "x" / "1.png")
    with pytest.raises(UsageError, match="'x' from"):
        extract(root=table, check_sources=True)
    (folder / "x" / "2.png").unlink()
    with pytest.raises(UsageError, match="'x' from"):
        extract(root=table)


def test_digests_of_large_files_are_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origin, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(origin, "BLOCK_BYTES", 10)
    monkeypatch.setattr(origin, "ENDS_BYTES", 10)
    file = tmp_path / "large.mp4"

    def digest_with(place: int | None) -> str:
        data = bytearray(5000)
        if place is not None:
            data[place] = 1
        file.write_bytes(data)
        origin._facts.cache_clear()
        return origin.facts_of(file).digest

    plain = digest_with(None)
    assert plain.startswith("sampled:")
    starts = [number * 4990 // 15 for number in range(16)]
    assert starts[-1] == 4990
    for start in starts:
        assert digest_with(start) != plain != digest_with(start + 9)
    assert digest_with(20) == plain  # between the blocks: what it can miss
    file.write_bytes(bytes(5001))
    assert origin.facts_of(file).digest != plain
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(bytes(600))
    origin._facts.cache_clear()
    before = origin.facts_of(folder)
    assert (before.size, before.digest.split(":")[0]) == (1800, "images-sampled")
    (folder / "1.jpg").write_bytes(bytes(599) + b"\1")
    origin._facts.cache_clear()
    assert origin.facts_of(folder).digest != before.digest
    (folder / "1.jpg").rename(folder / "11.jpg")
    origin._facts.cache_clear()
    assert origin.facts_of(folder).digest != before.digest


def test_a_long_video_is_digested_once_for_all_of_its_clips(
    tmp_path: Path, videos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    whole = origin._file_digest
    monkeypatch.setattr(
        origin, "_file_digest", lambda path, size: (read.append(path), whole(path, size))[1]
    )
    file = shutil.copy(videos[0], tmp_path / "long.mp4")
    first = [origin.facts_of(Path(file)) for _ in range(5)]
    assert len(set(first)) == len(read) == 1
    shutil.copy(videos[1], file)
    assert origin.facts_of(Path(file)) not in first


def test_a_video_that_is_replaced_while_it_is_read_is_not_stored(
    tmp_path: Path, videos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from stepcli.runtime.errors import VideoError

    file = Path(shutil.copy(videos[0], tmp_path / "a.mp4"))
    task = DecodeTask(Clip("a", file, "x"), 0)

    def replacing(*given: Any) -> None:
        file.write_bytes(videos[1].read_bytes() + b"\0")

    monkeypatch.setattr("stepcli.extract.decode.worker.decode_into", replacing)
    with pytest.raises(VideoError, match="changed while it was read"):
        decode_known(np.empty(0, np.uint8), task, None)  # type: ignore[arg-type]

    monkeypatch.setattr("stepcli.extract.decode.worker.decode_into", lambda *given: file.unlink())
    with pytest.raises(VideoError, match="vanished"):
        decode_known(np.empty(0, np.uint8), task, None)  # type: ignore[arg-type]


def test_the_bundled_clips_move_with_the_installation(
    extract: Extract,
    tmp_path: Path,
    project: Path,
    summaries: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their root lies in site-packages, which differs between environments."""
    monkeypatch.setenv("STEPCLI_STORES", str(tmp_path / "stores"))
    here = {"dataset": "openclose", "root": None, "store": None}
    assert extract(**here, limit=2) == 0
    store = Path(summaries[-1]["store"])
    assert store.name == "openclose-hf-tiny-dinov2-4f-grid2"
    recorded = origins.origins_of(open_store(store))
    assert all(source.path.startswith("clips/") for source in recorded.values())
    elsewhere = tmp_path / "site-packages" / "openclose"
    shutil.copytree(project / "examples" / "openclose", elsewhere, copy_function=os.link)
    info = replace(DATASETS["openclose"], bundled_root=lambda: elsewhere)
    monkeypatch.setitem(DATASETS, "openclose", info)
    assert extract(**here, limit=3) == 0
    assert summaries[-1]["store"] == str(store)
    assert (summaries[-1]["done"], summaries[-1]["not_listed"]) == (3, 0)
