"""Official lists with videos that were re-encoded, behind links, beside a Mac's hidden files."""

import json
from pathlib import Path

import pytest
from official_roots import load, write

DRIVER = "participant_id,file_id,annotation_id,frame_start,frame_end,activity,chunk_id\n"
EPIC = "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class\n"
CHUNKS = "activities_3s/kinect_color/midlevel.chunks_90.split_0"

ROOTS: dict[str, tuple[dict[str, str], str, str]] = {
    "ssv2": (
        {
            "labels/labels.json": '{"Opening something": "0"}',
            "labels/train.json": json.dumps([{"id": "3", "template": "Opening [something]"}]),
            "labels/validation.json": "[]",
        },
        "20bn-something-something-v2/3",
        ".webm",
    ),
    "hmdb51": (
        {"splits/wave_test_split1.txt": "Film_wave_0.avi 1\n"},
        "videos/wave/Film_wave_0",
        ".avi",
    ),
    "ucf101": (
        {
            "classInd.txt": "1 Archery\n",
            "trainlist01.txt": "Archery/v_Archery_g08_c01.avi 1\n",
            "testlist01.txt": "",
        },
        "UCF-101/Archery/v_Archery_g08_c01",
        ".avi",
    ),
    "diving48": (
        {
            "Diving48_vocab.json": '[["Back", "FREE"]]',
            "Diving48_V2_train.json": '[{"vid_name": "a_1", "label": 0}]',
            "Diving48_V2_test.json": "[]",
        },
        "rgb/a_1",
        ".mp4",
    ),
    "charades": (
        {
            "Charades_v1_classes.txt": "c006 Closing a door\n",
            "Charades_v1_train.csv": "id,subject,actions\nYSKX3,HR43,c006 4.50 9.00\n",
            "Charades_v1_test.csv": "id,subject,actions\n",
        },
        "Charades_v1_480/YSKX3",
        ".mp4",
    ),
    "jester": (
        {
            "jester-v1-labels.csv": "Swiping Left\n",
            "jester-v1-train.csv": "7;Swiping Left\n",
            "jester-v1-validation.csv": "",
        },
        "20bn-jester-v1/7",
        ".webm",
    ),
    "driveact": (
        {
            f"{CHUNKS}.train.csv": f"{DRIVER}1,vp1/run1.kinect_color,0,0,90,eating,0\n",
            f"{CHUNKS}.val.csv": DRIVER,
            f"{CHUNKS}.test.csv": DRIVER,
        },
        "kinect_color/vp1/run1.kinect_color",
        ".mp4",
    ),
    "hri30": (
        {"annotations/train_set_labels.csv": "CID1.avi,PickUpDrill\n"},
        "train_set/CID1",
        ".avi",
    ),
    "epic-kitchens": (
        {
            "EPIC_100_train.csv": f"{EPIC}P01_01_0,P01,P01_01,00:00:01.00,00:00:02.00,3,1\n",
            "EPIC_100_validation.csv": EPIC,
            "EPIC_100_verb_classes.csv": "id,key\n3,open\n",
        },
        "videos/P01/P01_01",
        ".MP4",
    ),
    "ntu60": ({}, "rgb/S001C001P001R001A005_rgb", ".avi"),
}


@pytest.mark.parametrize("name", ROOTS)
def test_a_listed_video_is_found_under_another_ending(name: str, tmp_path: Path) -> None:
    files, video, official = ROOTS[name]
    root, disk = tmp_path / "root", tmp_path / "disk"
    top, _, below = video.partition("/")
    write(disk, {f"{below}.mkv": "", f"{Path(below).parent}/._{Path(below).name}{official}": ""})
    write(root, files)
    root.mkdir(exist_ok=True)
    (root / top).symlink_to(disk)
    (clip,) = load(name, root).clips
    assert clip.path == root / f"{video}.mkv"
    expected = f"1 video taken under another ending than the official {official} (.mkv 1)"
    assert expected in load(name, root).notes
    write(disk, {f"{below}{official}": ""})
    again = load(name, root)
    assert [(found.id, found.path) for found in again.clips] == [
        (clip.id, root / f"{video}{official}")
    ]
    assert not any("another ending" in note for note in again.notes)
