"""Folders as they really are: hidden files, links, odd names, splits, other endings."""

import os
from pathlib import Path

import pytest
from official_roots import load, splits, write

from stepcli.extract.datasets.videos import VIDEO_SUFFIXES, Videos
from stepcli.extract.datasets.walking import Walk, is_hidden
from stepcli.runtime.errors import UsageError


def videos(root: Path, *names: str) -> Path:
    return write(root, dict.fromkeys(names, ""))


def labels(root: Path) -> dict[str, str]:
    return {clip.id: clip.label for clip in load("folder", root).clips}


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "._1.mp4", ".ipynb_checkpoints", "__MACOSX", "Thumbs.db", "@eaDir", ".1.mp4"],
)
def test_what_no_user_put_there_is_hidden(name: str) -> None:
    assert is_hidden(name)
    assert not is_hidden(f"x{name}")


def test_hidden_files_and_folders_are_no_clips_at_any_depth(tmp_path: Path) -> None:
    videos(
        tmp_path,
        *("a/1.mp4", "a/._1.mp4", "a/.ipynb_checkpoints/1-checkpoint.mp4", "a/deep/2.mp4"),
        *("a/deep/__MACOSX/2.mp4", "__MACOSX/a/1.mp4", ".Trash/3.mp4", "b/1.mp4", "b/.DS_Store"),
    )
    dataset = load("folder", tmp_path)
    assert [clip.id for clip in dataset.clips] == ["a/1.mp4", "a/deep/2.mp4", "b/1.mp4"]
    assert dataset.notes == ()


def test_class_folders_of_a_mac_are_one_class(tmp_path: Path) -> None:
    nfd, nfc = "ferme\u0301r", "ferm\u00e9r"
    videos(tmp_path, f"train/{nfd}/1.mp4", f"test/{nfc}/2.mp4")
    dataset = load("folder", tmp_path)
    assert [row.name for row in dataset.classes] == [nfc]
    assert all(clip.path.is_file() for clip in dataset.clips)
    assert sorted(clip.id for clip in dataset.clips) == [f"test/{nfc}/2.mp4", f"train/{nfd}/1.mp4"]


def test_a_level_of_splits_is_seen_in_any_case_and_beside_folders_without_videos(
    tmp_path: Path,
) -> None:
    names = (
        "Train/open/1.mp4",
        "Train/close/1.mp4",
        "VALIDATION/open/2.mp4",
        "testing/close/3.mp4",
    )
    videos(tmp_path, *names, "annotations/train.csv", "docs/sub/readme.txt", "__MACOSX/x/1.mp4")
    dataset = load("folder", tmp_path)
    assert [row.name for row in dataset.classes] == ["close", "open"]
    assert splits(dataset) == {
        "Train/close/1.mp4": "train",
        "Train/open/1.mp4": "train",
        "VALIDATION/open/2.mp4": "val",
        "testing/close/3.mp4": "test",
    }
    assert any("Train as train, VALIDATION as val, testing as test" in n for n in dataset.notes)


def test_classes_that_are_called_like_splits_stay_classes(tmp_path: Path) -> None:
    videos(tmp_path, "train/1.mp4", "car/1.mp4", "plane/1.mp4")
    assert set(labels(tmp_path).values()) == {"train", "car", "plane"}
    assert set(splits(load("folder", tmp_path)).values()) == {""}


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("train/a/1.mp4", "val/a/1.mp4", "extra/1.mp4"), "look like splits, extra/ like classes"),
        (("train/a/1.mp4", "extra/b/1.mp4"), "train/ in .* look like splits"),
        (("train/1.mp4", "Val/2.mp4"), "have the names of splits and hold videos directly"),
    ],
)
def test_what_may_be_splits_or_classes_is_refused(
    names: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    videos(tmp_path, *names)
    with pytest.raises(UsageError, match=reason):
        load("folder", tmp_path)


def test_files_that_are_left_out_are_counted(tmp_path: Path) -> None:
    videos(
        tmp_path,
        *("a/1.mp4", "a/cam.M2TS", "a/1.srt", "a/2.srt", "a/notes", "b/1.mkv", "loose.mp4"),
        "b/.hidden.txt",
    )
    dataset = load("folder", tmp_path)
    assert len(dataset.clips) == 3
    assert dataset.notes == (
        "left out 3 files of endings that are no video's (.srt 2, no ending 1)",
        "left out 1 video in no class's folder (first: loose.mp4)",
    )


def test_the_usual_endings_of_ffmpeg_are_known() -> None:
    usual = "3g2 3gp asf avi divx dv f4v flv gif h264 hevc ivf m1v m2t m2ts m2v m4v mjpeg mkv mov"
    usual += " mp4 mpeg mpg mts mxf nut ogm ogv qt rm rmvb ts vob webm wmv wtv y4m"
    assert {f".{ending}" for ending in usual.split()} <= VIDEO_SUFFIXES


def test_links_to_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    disk, root = tmp_path / "disk", tmp_path / "root"
    videos(disk, "open/1.mp4", "open/deep/2.mp4", "close/1.mp4")
    videos(root, "wave/1.mp4")
    (root / "open").symlink_to(disk / "open")
    (root / "wave" / "more").symlink_to(disk / "close")
    (root / "self").symlink_to(root)
    (root / "up").symlink_to(tmp_path)
    (disk / "open" / "deep" / "again").symlink_to(disk / "open")
    (root / "wave" / "gone").symlink_to(tmp_path / "nowhere")
    dataset = load("folder", root)
    ids = ["open/1.mp4", "open/deep/2.mp4", "wave/1.mp4", "wave/more/1.mp4"]
    assert [clip.id for clip in dataset.clips] == ids
    assert any(note.startswith("left out 3 links to a folder that holds") for note in dataset.notes)


def test_a_video_that_two_paths_lead_to_is_noted(tmp_path: Path) -> None:
    videos(tmp_path, "a/1.mp4", "b/2.mp4")
    (tmp_path / "b" / "same.mp4").symlink_to(tmp_path / "a" / "1.mp4")
    (tmp_path / "c").symlink_to(tmp_path / "b")
    dataset = load("folder", tmp_path)
    assert len(dataset.clips) == 5
    assert dataset.notes == (
        "3 videos reached by a second path and taken twice (first: b/same.mp4)",
    )


def test_names_that_are_not_utf8_cost_those_files_alone(tmp_path: Path) -> None:
    videos(tmp_path, "open/1.mp4", "close/1.mp4", "naïve/1.mp4")
    for name in (b"close/caf\xe9.mp4", b"caf\xe9/1.mp4", b"caf\xe9/deep/2.mp4"):
        path = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118 (bytes)
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        os.close(os.open(path, os.O_CREAT))
    dataset = load("folder", tmp_path)
    assert set(labels(tmp_path).values()) == {"open", "close", "naïve"}
    assert len(dataset.notes) == 1
    assert dataset.notes[0].startswith("left out 3 files with a name that is not UTF-8")
    dataset.notes[0].encode()


def test_a_folder_that_cannot_be_read_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an error of the operating system, since root may read everything."""
    videos(tmp_path, "a/1.mp4", "b/1.mp4")
    plain = os.scandir

    def scandir(folder: Path) -> object:
        if folder == tmp_path / "b":
            raise PermissionError(13, "Permission denied")
        return plain(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    walk = Walk(tmp_path)
    assert [path.name for path in walk.files()] == ["1.mp4"]
    assert walk.notes() == ("left out 1 folder that cannot be read (first: b)",)


def test_listed_videos_are_found_under_another_ending(tmp_path: Path) -> None:
    videos(tmp_path, "0.mp4", "1.webm", "1.mp4", "2.MKV", "._3.mp4", "4.txt", "deep/v1.2.avi")
    listed = Videos(tmp_path)
    found = [listed.find(f"{number}.webm").name for number in range(5)]
    assert found == ["0.mp4", "1.webm", "2.MKV", "3.webm", "4.webm"]
    assert listed.find("deep/v1.2.mp4") == tmp_path / "deep/v1.2.avi"
    assert listed.find("none/0.mp4") == tmp_path / "none/0.mp4"
    assert listed.notes() == (
        "3 videos taken under another ending than the official .mp4 or .webm "
        "(.avi 1, .mkv 1, .mp4 1)",
    )


def test_a_hidden_table_beside_the_list_does_not_count(tmp_path: Path) -> None:
    write(tmp_path, {"clips.csv": "path,label\na.mp4,x\n", "._clips.csv": "\0\5", "a.mp4": ""})
    assert [clip.id for clip in load("csv", tmp_path).clips] == ["a.mp4"]
