"""Each data set on a tiny root that is true to its official format."""

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stepcli.cache.clips import ClassRow
from stepcli.cache.errors import UsageError
from stepcli.extract.datasets import driveact, hri30, ikea_asm, jester, ssv2
from stepcli.extract.datasets.checklist import MissingData
from stepcli.extract.datasets.clip import Dataset
from stepcli.extract.datasets.ntu_classes import NAMES
from stepcli.extract.datasets.registry import DATASETS, load_dataset
from stepcli.extract.decode.image_folder import read_image_folder
from stepcli.extract.decode.segments import Segment


def load(name: str, root: Path, **options: str) -> Dataset:
    return load_dataset(name, root, options)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def splits(dataset: Dataset) -> dict[str, str]:
    return {clip.id: clip.split for clip in dataset.clips}


def partners(rows: tuple[ClassRow, ...]) -> dict[str, str]:
    return {row.name: row.partner for row in rows if row.partner}


def test_hmdb51(tmp_path: Path) -> None:
    names = [f"Film_{i}_wave_u_cm_np1_fr_med_0.avi" for i in range(3)]
    root = write(
        tmp_path,
        {
            "testTrainMulti_7030_splits/wave_test_split1.txt": "".join(
                f"{name} {use} \n" for name, use in zip(names, "120", strict=True)
            ),
            "testTrainMulti_7030_splits/wave_test_split2.txt": f"{names[0]} 2 \n",
            f"videos/wave/{names[0]}": "",
        },
    )
    dataset = load("hmdb51", root)
    assert list(splits(dataset).values()) == ["train", "test", ""]
    assert dataset.clips[0].path == tmp_path / "videos/wave" / names[0]
    assert dataset.clips[0].group == "Film_0"
    assert splits(load("hmdb51", root, split="2")) == {f"wave/{names[0]}": "test"}


def test_ucf101(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "ucfTrainTestlist/classInd.txt": "1 ApplyEyeMakeup\n2 Archery\n",
            "ucfTrainTestlist/trainlist01.txt": "Archery/v_Archery_g08_c01.avi 2\r\n",
            "ucfTrainTestlist/testlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c02.avi\r\n",
            "UCF-101/Archery/v_Archery_g08_c01.avi": "",
        },
    )
    dataset = load("ucf101", root)
    assert [clip.split for clip in dataset.clips] == ["train", "test"]
    assert dataset.clips[0].group == "v_Archery_g08"
    assert [row.name for row in dataset.classes] == ["ApplyEyeMakeup", "Archery"]


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
    assert [clip.id for clip in other.clips] == [clip.id for clip in dataset.clips]
    assert "dev1" in str(other.clips[0].path)
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
    part = Segment(start_frame=first.start_frame, end_frame=first.end_frame)
    clip = read_image_folder(frames, 25.0, part, lambda n: [0, n - 1], lambda image: image)
    assert [round(float(image.mean()) / 20) for image in clip.images] == [10, 11]
    assert clip.pts_seconds == [10 / 25, 11 / 25]
    write(root, {"Lack_TV_Bench/0001_a/dev3/images/scan_video.avi": ""})
    assert load("ikea_asm", root).clips[0].path == frames / "scan_video.avi"


def test_frames_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        Image.fromarray(np.full((8, 8, 3), 20 * number, np.uint8)).save(tmp_path / f"{number}.png")
    clip = read_image_folder(tmp_path, 1.0, Segment(), lambda n: list(range(n)), lambda i: i)
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


def test_ntu(tmp_path: Path) -> None:
    files = ["S001C001P001R001A005_rgb.avi", "S002C002P003R002A006_rgb.avi"]
    root = write(tmp_path, {f"nturgb+d_rgb/{name}": "" for name in files})
    assert list(splits(load("ntu60", root)).values()) == ["train", "test"]
    assert list(splits(load("ntu60", root, protocol="xview")).values()) == ["test", "train"]
    write(root, {"S018C001P103R001A120_rgb.avi": "", "extra_rgb.avi": ""})
    larger = load("ntu120", root, protocol="xset")
    assert splits(larger)["S018C001P103R001A120"] == "train"
    assert splits(larger)["S001C001P001R001A005"] == "test"
    assert "1 videos are of other classes or names" in larger.notes[0]
    assert len(load("ntu60", root).clips) == 2
    assert partners(load("ntu60", root).classes)["drop"] == "pickup"
    assert len(set(NAMES)) == 120
    assert partners(larger.classes)[NAMES[89]] == NAMES[88]


@pytest.mark.parametrize("name", ["kinetics400", "kinetics600", "kinetics700"])
def test_kinetics_leaves_out_what_is_gone_and_says_so(name: str, tmp_path: Path) -> None:
    head = "label,youtube_id,time_start,time_end,split\n"
    root = write(
        tmp_path,
        {
            "annotations/train.csv": f"{head}abseiling,abcdefghijk,5,15,train\n"
            "abseiling,-gone-gone-,0,10,train\n",
            "annotations/validate.csv": f"{head}air drumming,lmnopqrstuv,0,10,validate\n",
            "annotations/test.csv": "youtube_id,time_start,time_end,split\nzzzzzzzzzzz,0,10,test\n",
            "train/abseiling/abcdefghijk_000005_000015.mp4": "",
            "flat/lmnopqrstuv.mp4": "",
        },
    )
    dataset = load(name, root)
    assert splits(dataset) == {
        "abcdefghijk_000005_000015": "train",
        "lmnopqrstuv_000000_000010": "val",
    }
    assert [row.name for row in dataset.classes] == ["abseiling", "air drumming"]
    assert dataset.notes == ("1 of 3 listed videos are not on the disk and are left out",)


def test_diving48(tmp_path: Path) -> None:
    entry = {"start_frame": 0, "end_frame": 48}
    root = write(
        tmp_path,
        {
            "Diving48_vocab.json": json.dumps(
                [["Back", "15som", "05Twis", "FREE"], ["Back", "15som", "15Twis", "FREE"]]
            ),
            "Diving48_V2_train.json": json.dumps([{"vid_name": "a_00001", "label": 1, **entry}]),
            "Diving48_V2_test.json": json.dumps([{"vid_name": "b_00002", "label": 0, **entry}]),
            "rgb/a_00001.mp4": "",
        },
    )
    dataset = load("diving48", root)
    assert splits(dataset) == {"a_00001": "train", "b_00002": "test"}
    assert dataset.clips[0].label == "Back+15som+15Twis+FREE"
    assert dataset.clips[0].group == "a"


def test_jester_as_images_or_webm(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "jester-v1-labels.csv": "Swiping Left\nSwiping Right\nDrumming Fingers\n",
            "jester-v1-train.csv": "34870;Drumming Fingers\n56557;Swiping Left\n",
            "jester-v1-validation.csv": "9;Swiping Right\n",
            "20bn-jester-v1/56557.webm": "",
        },
    )
    frames = root / "20bn-jester-v1/34870"
    frames.mkdir()
    for number in range(1, 13):
        image = np.full((100, 132, 3), 20 * number, np.uint8)
        Image.fromarray(image).save(frames / f"{number:05d}.jpg")
    dataset = load("jester", root)
    first, second, _ = dataset.clips
    assert (first.path, first.frames_per_second) == (frames, 12.0)
    assert (second.path.name, second.frames_per_second) == ("56557.webm", None)
    assert partners(dataset.classes) == {
        "Swiping Left": "Swiping Right",
        "Swiping Right": "Swiping Left",
    }
    assert dataset.classes[0].mirror == "Swiping Right"
    clip = read_image_folder(frames, 12.0, Segment(), lambda n: [0, n - 1], lambda image: image)
    assert [round(float(image.mean()) / 20) for image in clip.images] == [1, 12]
    assert clip.pts_seconds == [0, 11 / 12]
    names = {name for pair in jester.PAIRS for name in pair}
    assert len(names) == 20


def test_epic_kitchens(tmp_path: Path) -> None:
    columns = ("narration_id", "participant_id", "video_id", "start_timestamp", "stop_timestamp")
    head = ",".join((*columns, "verb_class", "noun_class\n"))
    root = write(
        tmp_path,
        {
            "EPIC_100_train.csv": f"{head}P01_01_0,P01,P01_01,00:01:02.50,00:01:03.00,3,1\n",
            "EPIC_100_validation.csv": f"{head}P02_01_0,P02,P02_01,01:00:00.00,01:00:09.00,4,1\n",
            "EPIC_100_verb_classes.csv": "id,key,instances,category\n"
            "3,open,[],access\n4,close,[],block\n65,turn-down,[],monitor\n70,increase,[],monitor\n",
            "P01/videos/P01_01.MP4": "",
        },
    )
    dataset = load("epic-kitchens", root)
    (clip,) = dataset.clips
    assert (clip.id, clip.label, clip.start_seconds, clip.end_seconds) == (
        *("P01_01_0", "open", 62.5, 63.0),
    )
    assert partners(dataset.classes) == {
        "open": "close",
        "close": "open",
        "increase": "turn-down",
        "turn-down": "increase",
    }
    assert dataset.notes == ("1 of 2 listed segments are not on the disk and are left out",)


def test_charades(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "Charades_v1_classes.txt": "c006 Closing a door\nc008 Opening a door\n",
            "Charades_v1_train.csv": 'id,subject,script,actions\nYSKX3,HR43,"A, b",'
            "c008 0.00 4.50;c006 4.50 9.00\n",
            "Charades_v1_test.csv": "id,subject,script,actions\n46GP8,HR44,x,\n",
            "Charades_v1_480/YSKX3.mp4": "",
        },
    )
    dataset = load("charades", root)
    assert [(clip.id, clip.label, clip.start_seconds) for clip in dataset.clips] == [
        ("YSKX3/0", "Opening a door", 0.0),
        ("YSKX3/1", "Closing a door", 4.5),
    ]
    assert partners(dataset.classes)["Opening a door"] == "Closing a door"
    write(root, {"Charades_v1_test.csv": "id,subject,actions\nX,HR1,c999 0 1\n"})
    with pytest.raises(UsageError, match="found 'c999 0 1'"):
        load("charades", root)


def test_the_pairs_of_ssv2_are_those_of_the_list() -> None:
    names = [name for pair in ssv2.STRICT_PAIRS for name in pair]
    assert len(names) == len(set(names)) == 26
    loose = [name for pair in ssv2.LOOSE_PAIRS for name in pair]
    assert not set(names) & set(loose)
    assert len(loose) == len(set(loose)) == 18


OFFICIAL = sorted(set(DATASETS) - {"csv", "folder", "openclose"})


@pytest.mark.parametrize("name", OFFICIAL)
def test_an_empty_root_gives_a_checklist(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=f"stepcli datasets show {name}") as caught:
        load(name, tmp_path)
    assert "MISSING" in str(caught.value)


def test_all_that_was_promised_is_there() -> None:
    assert set(OFFICIAL) == {
        *("ssv2", "driveact", "ikea_asm", "hri30", "ntu60", "ntu120", "kinetics400"),
        *("kinetics600", "kinetics700", "ucf101", "hmdb51", "diving48", "jester"),
        *("epic-kitchens", "charades"),
    }
