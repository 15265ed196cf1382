"""Sources of stored clips: recorded, compared, moved; data sets appended."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from source_projects import make_project, tokens_of, write_list

from stepcli.cache import open_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.store import origins
from stepcli.extract.sources import origin
from stepcli.runtime.errors import UsageError

Extract = Callable[..., int]


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
    assert extract(root=a, store=None) == 0  # continues with its own
    assert summaries[-1]["done"] == 2
    with pytest.raises(UsageError, match=r"this run is on .*--append PREFIX"):
        extract(root=b, store=one)
    with pytest.raises(UsageError, match=r"this run is on .*--append PREFIX"):
        extract(root=b, store=one, changed="redo")


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
    assert "\n1 clip, " in shown
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
