"""Each data set on a tiny root that is true to its official format."""

import json
from pathlib import Path

import numpy as np
import pytest
from official_roots import load, partners, splits, write
from PIL import Image

from stepcli.extract.datasets import jester, ssv2
from stepcli.extract.datasets.ntu_classes import NAMES
from stepcli.extract.datasets.registry import DATASETS
from stepcli.extract.datasets.required_files import MissingData
from stepcli.extract.decode.clip_bounds import ClipBounds
from stepcli.extract.decode.image_folder import read_image_folder
from stepcli.runtime.errors import UsageError


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
    assert list(splits(dataset).values()) == ["split1=train split2=test", "split1=test", ""]
    assert dataset.notes == ("official splits: 1, 2; the lists of 3 are not here",)
    assert list(splits(load("hmdb51", root, split="1")).values()) == ["train", "test", ""]
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
    assert "the lists of 2, 3 are not here" in dataset.notes[0]
    for number, (train, test) in {2: ("Archery_g08_c01", "Archery_g09_c01")}.items():
        place = f"ucfTrainTestlist/{{}}list0{number}.txt"
        write(root, {place.format("train"): f"Archery/v_{train}.avi 2\n"})
        write(root, {place.format("test"): f"Archery/v_{test}.avi\n"})
    write(root, {"ucfTrainTestlist/trainlist03.txt": "Archery/v_Archery_g09_c01.avi 2\n"})
    write(root, {"ucfTrainTestlist/testlist03.txt": "Archery/v_Archery_g08_c01.avi\n"})
    every = load("ucf101", root)
    assert splits(every) == {
        "Archery/v_Archery_g08_c01.avi": "split1=train split2=train split3=test",
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c02.avi": "split1=test",
        "Archery/v_Archery_g09_c01.avi": "split2=test split3=train",
    }
    assert set(splits(load("ucf101", root, split="3")).values()) == {"train", "test"}
    bad = "Archery/x.avi 2\nArchery/v_Archery_g08_c01.avi 2\ny\n"
    write(root, {"ucfTrainTestlist/trainlist02.txt": bad})
    with pytest.raises(UsageError, match=r"2 wrong lines: line 1: .*; line 3: "):
        load("ucf101", root)
    twice = "Archery/v_Archery_g08_c01.avi 2\n" * 2
    write(root, {"ucfTrainTestlist/trainlist02.txt": twice})
    with pytest.raises(UsageError, match="appears twice in the lists of split 2"):
        load("ucf101", root)
    assert [row.name for row in dataset.classes] == ["ApplyEyeMakeup", "Archery"]


def test_ntu(tmp_path: Path) -> None:
    files = ["S001C001P001R001A005_rgb.avi", "S002C002P003R002A006_rgb.avi"]
    root = write(tmp_path, {f"nturgb+d_rgb/{name}": "" for name in files})
    assert list(splits(load("ntu60", root)).values()) == ["train", "test"]
    assert list(splits(load("ntu60", root, protocol="xview")).values()) == ["test", "train"]
    write(root, {"S018C001P103R001A120_rgb.avi": "", "extra_rgb.avi": ""})
    larger = load("ntu120", root, protocol="xset")
    assert splits(larger)["S018C001P103R001A120"] == "train"
    assert splits(larger)["S001C001P001R001A005"] == "test"
    assert "left out: 1 video of other classes or names" in larger.notes[0]
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


def test_kinetics_says_which_rows_share_a_file(tmp_path: Path) -> None:
    head = "label,youtube_id,time_start,time_end,split\n"
    root = write(
        tmp_path,
        {
            "annotations/train.csv": f"{head}abseiling,twicetwice,5,15,train\n"
            "zumba,twicetwice,30,40,train\nzumba,once,1,11,train\n",
            "annotations/val.csv": f"{head}zumba,cut,0,10,val\nzumba,cut,20,30,val\n",
            "train/twicetwice.mp4": "",
            "train/once.mp4": "",
            "val/cut_000000_000010.mp4": "",
            "val/cut_000020_000030.mp4": "",
        },
    )
    dataset = load("kinetics400", root)
    assert len(dataset.clips) == 5
    (note,) = dataset.notes
    assert note.startswith("2 rows share 1 file of the bare id (e.g. twicetwice.mp4): each row")


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
    clip = read_image_folder(frames, 12.0, ClipBounds(), lambda n: [0, n - 1], lambda image: image)
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
    assert not dataset.several
    (root / "Charades_v1_480/46GP8.mp4").touch()
    whole = load("charades", root, clips="videos")
    assert whole.several
    assert [(c.id, c.label, c.split, c.group, c.start_seconds) for c in whole.clips] == [
        ("YSKX3", "Closing a door;Opening a door", "train", "HR43", None),
        ("46GP8", "", "test", "HR44", None),
    ]
    assert [row.name for row in whole.classes] == ["Closing a door", "Opening a door"]
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
        *("epic-kitchens", "charades", "utd_mhad"),
    }
