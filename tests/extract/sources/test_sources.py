"""Sources of stored clips: recorded, compared, refused, moved, appended, pruned."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from source_projects import make_project, replace_video, tokens_of, write_labels, write_list

from stepcli.cache import open_store
from stepcli.cache.maintenance.compact import compact_store
from stepcli.cache.maintenance.prune import take_out
from stepcli.cache.maintenance.relabel import relabel
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.store import origins
from stepcli.extract.sources import compare, origin
from stepcli.runtime.errors import UsageError

Extract = Callable[..., int]
REDO, KEEP = "redo", "keep"


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
    assert "1 clip -> " in shown
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
