"""Drive&Act, IKEA ASM and HRI30, each on a tiny root that is true to its official format."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from official_roots import load, partners, splits, write
from PIL import Image

from stepcli.extract.datasets import driveact, hri30, ikea_asm
from stepcli.extract.datasets.required_files import MissingData
from stepcli.extract.decode.clip_bounds import ClipBounds
from stepcli.extract.decode.image_folder import read_image_folder
from stepcli.runtime.errors import UsageError

HEADER = "participant_id,file_id,annotation_id,frame_start,frame_end,activity,chunk_id\n"


@pytest.mark.parametrize("place", ["activities_3s", "iccv_activities_3s"])
def test_driveact(place: str, tmp_path: Path) -> None:
    run = "vp1/run1b_2018-05-29-14-02-47.kinect_color"
    table = f"{place}/kinect_color/midlevel.chunks_90.split_0"
    root = write(
        tmp_path,
        {
            f"{table}.train.csv": f"{HEADER}1,{run},0,0,90,opening_bottle,0\n"
            f"1,{run},0,90,104,opening_bottle,1\n",
            f"{table}.val.csv": f"{HEADER}2,{run},3,200,200,closing_bottle,0\n",
            f"{table}.test.csv": f"{HEADER}3,{run},5,7,9,eating,0\n",
            f"kinect_color/{run}.mp4": "",
        },
    )
    dataset = load("driveact", root)
    assert splits(dataset) == {
        f"{run}/0/0": "train",
        f"{run}/0/1": "train",
        f"{run}/3/0": "val",
        f"{run}/5/0": "test",
    }
    first = dataset.clips[0]
    assert (first.start_frame, first.end_frame, first.group) == (0, 90, "vp1")
    assert first.path == tmp_path / f"kinect_color/{run}.mp4"
    assert dataset.clips[2].end_frame == 201  # an empty chunk still shows its frame
    assert partners(dataset.classes)["opening_bottle"] == "closing_bottle"
    assert len(driveact.PAIRS) == 10
    with pytest.raises(MissingData, match="4 of 4 pieces are missing"):
        load("driveact", root, view="ceiling")


def write_ikea(root: Path) -> Path:
    write(
        root,
        {
            "atomic_action_list.txt": "pick up leg\nspin leg\nlay down leg\n",
            "action_object_relation_list.txt": "1 1\n5 1\n2 1\n",
            "train_cross_env.txt": "Lack_TV_Bench/0001_a\n",
            "test_cross_env.txt": "Lack_TV_Bench/0002_b\n",
        },
    )
    database = sqlite3.connect(root / "ikea_annotation_db_full")
    database.executescript("""
        CREATE TABLE videos (id INTEGER, video_name TEXT, video_path TEXT, furniture TEXT,
            nframes INTEGER, camera TEXT, annotated BOOLEAN);
        CREATE TABLE annotations (video_id INTEGER, atomic_action_id INTEGER, object_id INTEGER,
            starting_frame INTEGER, ending_frame INTEGER);
        INSERT INTO videos VALUES
            (1, 'a', 'Lack_TV_Bench/0001_a/dev3/images', 'Lack TV Bench', 900, 'dev3', 1),
            (2, 'a', 'Lack_TV_Bench/0001_a/dev1/images', 'Lack TV Bench', 900, 'dev1', 1),
            (3, 'b', 'Lack_TV_Bench/0002_b/dev3/images', 'Lack TV Bench', 900, 'dev3', 1),
            (4, 'c', 'Lack_TV_Bench/0003_c/dev3/images', 'Lack TV Bench', 900, 'dev3', 0);
        INSERT INTO annotations VALUES
            (1, 1, 1, 10, 60), (1, 5, 1, 60, 200), (1, 9, 9, 200, 210), (3, 2, 1, 0, 30),
            (4, 1, 1, 0, 9);
    """)
    database.close()
    return root


def test_ikea_asm(tmp_path: Path) -> None:
    dataset = load("ikea_asm", write_ikea(tmp_path))
    assert [
        (clip.label, clip.split, clip.start_frame, clip.end_frame) for clip in dataset.clips
    ] == [
        ("pick up leg", "train", 10, 60),
        ("spin leg", "train", 60, 200),
        ("lay down leg", "test", 0, 30),
    ]
    assert dataset.clips[0].path == (tmp_path / "Lack_TV_Bench/0001_a/dev3/images/scan_video.avi")
    assert partners(dataset.classes) == {
        "pick up leg": "lay down leg",
        "lay down leg": "pick up leg",
    }
    assert len(ikea_asm.PAIRS) == 7
    assert "1 annotated segments" in dataset.notes[0]
    other = load("ikea_asm", tmp_path, view="dev1")
    assert "dev1" in str(other.clips[0].path)
    assert dataset.clips[0].id == "Lack_TV_Bench/0001_a/dev3/10-60/pick up leg"
    # Cameras share no ids: one store may hold them all.
    assert not {clip.id for clip in other.clips} & {clip.id for clip in dataset.clips}
    assert {clip.group for clip in other.clips} == {clip.group for clip in dataset.clips}
    background = [clip for clip in load("ikea_asm", tmp_path, na="yes").clips if clip.label == "NA"]
    assert [(clip.start_frame, clip.end_frame) for clip in background] == [
        *((0, 10), (200, 900)),
        (30, 900),
    ]
    assert load("ikea_asm", tmp_path, na="yes").classes[0].name == "NA"
    (tmp_path / "ikea_annotation_db_full").write_text("no data base")
    with pytest.raises(UsageError, match="not the annotation data base"):
        load("ikea_asm", tmp_path)


def test_ikea_asm_as_folders_of_frames(tmp_path: Path) -> None:
    """As the authors' own tools leave them: frames numbered from 0 where the video was."""
    root = write_ikea(tmp_path)
    frames = root / "Lack_TV_Bench/0001_a/dev3/images"
    frames.mkdir(parents=True)
    for number in range(12):
        image = np.full((30, 40, 3), 20 * number, np.uint8)
        Image.fromarray(image).save(frames / f"{number:06d}.jpg")
    first, _, other = load("ikea_asm", root).clips
    assert (first.path, first.frames_per_second) == (frames, 25.0)
    assert (other.path.name, other.frames_per_second) == ("scan_video.avi", None)
    part = ClipBounds(start_frame=first.start_frame, end_frame=first.end_frame)
    clip = read_image_folder(frames, 25.0, part, lambda n: [0, n - 1], lambda image: image)
    assert [round(float(image.mean()) / 20) for image in clip.images] == [10, 11]
    assert clip.pts_seconds == [10 / 25, 11 / 25]
    write(root, {"Lack_TV_Bench/0001_a/dev3/images/scan_video.avi": ""})
    assert load("ikea_asm", root).clips[0].path == frames / "scan_video.avi"


def test_frames_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        Image.fromarray(np.full((8, 8, 3), 20 * number, np.uint8)).save(tmp_path / f"{number}.png")
    clip = read_image_folder(tmp_path, 1.0, ClipBounds(), lambda n: list(range(n)), lambda i: i)
    assert [int(image.mean()) // 20 for image in clip.images] == [1, 2, 10]


def test_hri30(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "annotations/train_set_labels.csv": "CID1.avi,PickUpDrill\nCID2,PutDownDrill\n",
            "train_set/CID1.avi": "",
        },
    )
    dataset = load("hri30", root)
    assert splits(dataset) == {"train/CID1": "train", "train/CID2": "train"}
    assert dataset.clips[1].path == tmp_path / "train_set/CID2.avi"
    assert partners(dataset.classes) == {
        "PickUpDrill": "PutDownDrill",
        "PutDownDrill": "PickUpDrill",
    }
    write(root, {"annotations/test_set_labels.csv": "CID9,PickUpDrill\n", "test_set/CID9.avi": ""})
    assert splits(load("hri30", root))["test/CID9"] == "test"
    assert len(hri30.PAIRS) == 10


def test_ikea_asm_under_another_ending(tmp_path: Path) -> None:
    root = write(write_ikea(tmp_path), {"Lack_TV_Bench/0001_a/dev3/images/scan_video.mp4": ""})
    dataset = load("ikea_asm", root)
    assert [clip.path.name for clip in dataset.clips] == ["scan_video.mp4"] * 2 + ["scan_video.avi"]
    assert "1 video taken under another ending" in dataset.notes[-1]
