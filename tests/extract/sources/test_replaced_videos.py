"""Videos replaced, touched, moved or renamed after their clips were stored."""

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
from stepcli.cache.maintenance.relabel import relabel
from stepcli.cache.maintenance.verify import verify_store
from stepcli.extract.sources import compare
from stepcli.runtime.errors import UsageError

Extract = Callable[..., int]


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
    assert extract(root=table, changed="keep") == 0
    assert np.array_equal(tokens_of(store)["1.mp4"], before["1.mp4"])
    assert extract(root=table, changed="redo") == 0
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
    assert extract(root=table, changed="redo") == 3
    assert (summaries[-1]["done"], summaries[-1]["quarantined"]) == (2, 1)
    rows = {row.id for row in open_store(tmp_path / "store").clips()}
    assert rows == {"0.mp4", "2.mp4"}
    with pytest.raises(UsageError, match="another source"):
        extract(root=table)
    shutil.copy(videos[3], video)
    assert extract(root=table, changed="redo") == 0
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
