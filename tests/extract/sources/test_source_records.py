"""Records of sources in earlier stores, default stores and damaged files; digests; images."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from source_projects import make_project, write_list

from stepcli.cache import open_store
from stepcli.cache.maintenance.compact import compact_store
from stepcli.cache.maintenance.convert import convert_store
from stepcli.cache.maintenance.merge import merge_stores
from stepcli.cache.maintenance.repair import repair_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.parts import sources as part_sources
from stepcli.cache.store import origins
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.datasets.registry import DATASETS
from stepcli.extract.decode.process import DecodeTask
from stepcli.extract.decode.worker import decode_known
from stepcli.extract.sources import origin
from stepcli.runtime.errors import DamagedStore, UsageError

Extract = Callable[..., int]


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
