"""Lists that name fewer clips than the store holds: shares, limits, pruning, dry runs."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from source_projects import make_project, write_labels, write_list

from stepcli.cache import open_store
from stepcli.cache.maintenance.prune import take_out
from stepcli.cache.maintenance.relabel import relabel
from stepcli.cache.maintenance.verify import verify_store
from stepcli.runtime.errors import UsageError

Extract = Callable[..., int]


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
    assert extract(root=table, rank=1, world_size=2, changed="redo", **settings) == 0
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
