"""Tiny data sets in their official layouts, of the bundled clips, and a tiny backbone."""

import json
import shutil
import sqlite3
from pathlib import Path

CLIPS = Path(__file__).resolve().parents[1] / "examples" / "openclose" / "clips"
EACH = 8
"""Videos per class."""


def copy(kind: str, number: int, target: Path) -> None:
    """One of the bundled clips, under another name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(CLIPS / kind / f"{number:03}.mp4", target)


def write_ssv2(root: Path, each: int = EACH) -> None:
    """Two opposite classes; every fourth of the videos is for validation."""
    names = {"Opening something": "open", "Closing something": "close"}
    lists: dict[str, list[dict[str, str]]] = {"train": [], "validation": []}
    for index, (name, kind) in enumerate(names.items()):
        for number in range(each):
            clip = f"{index}{number:03}"
            split = "validation" if number % 4 == 3 else "train"
            template = name.replace("something", "[something]")
            lists[split].append({"id": clip, "template": template})
            # Read by content: the ending is the data set's, the codec the bundled clips'.
            place = root / f"20bn-something-something-v2/{clip}.webm"
            copy(f"door-{kind}", number, place)
    (root / "labels").mkdir()
    numbers = {name: str(index) for index, name in enumerate(names)}
    (root / "labels/labels.json").write_text(json.dumps(numbers))
    for split, entries in lists.items():
        (root / f"labels/{split}.json").write_text(json.dumps(entries))


def write_ucf101(root: Path) -> None:
    """Two classes of eight groups; split n tests the groups n, n + 3 and n + 6."""
    kinds = {"OpenDoor": "open", "CloseDoor": "close"}
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text("1 OpenDoor\n2 CloseDoor\n")
    for label, kind in kinds.items():
        for group in range(EACH):
            name = f"{label}/v_{label}_g{group:02}_c01.avi"
            copy(f"door-{kind}", group, root / "UCF-101" / name)
    for number in (1, 2, 3):
        tested = [group for group in range(EACH) if group % 3 == number % 3]
        for split in ("train", "test"):
            lines = [
                f"{label}/v_{label}_g{group:02}_c01.avi" + (f" {index}" if split == "train" else "")
                for index, label in enumerate(kinds, 1)
                for group in range(EACH)
                if (group in tested) == (split == "test")
            ]
            (lists / f"{split}list0{number}.txt").write_text("\r\n".join(lines) + "\r\n")


def write_hmdb51(root: Path) -> None:
    """Two classes of eight films; of each split one clip is left out."""
    lists = root / "testTrainMulti_7030_splits"
    lists.mkdir(parents=True)
    for kind in ("open", "close"):
        names = [f"film{film}_{kind}_u_cm_np1_fr_med_0.avi" for film in range(EACH)]
        for film, name in enumerate(names):
            copy(f"door-{kind}", film, root / "videos" / kind / name)
        for number in (1, 2, 3):
            uses = [0 if n == number + 4 else 2 if n % 3 == number % 3 else 1 for n in range(EACH)]
            lines = [f"{name} {use} " for name, use in zip(names, uses, strict=True)]
            (lists / f"{kind}_test_split{number}.txt").write_text("\n".join(lines) + "\n")


def write_driveact(root: Path) -> None:
    tables = root / "activities_3s/kinect_color"
    tables.mkdir(parents=True)
    header = "participant_id,file_id,annotation_id,frame_start,frame_end,activity,chunk_id"
    lines = []
    for person in range(6):
        run = f"vp{person}/run1.kinect_color"
        copy("drawer-open", person, root / f"kinect_color/{run}.mp4")
        for part, activity in enumerate(("opening_bottle", "closing_bottle")):
            lines.append(f"{person},{run},{part},{8 * part},{8 * part + 8},{activity},0")
    for number in range(3):
        turned = lines[4 * number :] + lines[: 4 * number]
        for split, part in (("train", turned[:6]), ("val", turned[6:8]), ("test", turned[8:])):
            name = f"midlevel.chunks_90.split_{number}.{split}.csv"
            (tables / name).write_text("\n".join([header, *part]) + "\n")


def write_ikea_asm(root: Path) -> None:
    root.mkdir(parents=True)
    scans = [f"Lack_TV_Bench/{number:04}" for number in range(6)]
    (root / "atomic_action_list.txt").write_text("pick up leg\nlay down leg\n")
    (root / "action_object_relation_list.txt").write_text("1 1\n2 1\n")
    (root / "train_cross_env.txt").write_text("\n".join(scans[:4]) + "\n")
    (root / "test_cross_env.txt").write_text("\n".join(scans[4:]) + "\n")
    base = sqlite3.connect(root / "ikea_annotation_db_full")
    base.execute("CREATE TABLE videos (id, video_path, camera, annotated, nframes)")
    base.execute(
        "CREATE TABLE annotations "
        "(video_id, starting_frame, ending_frame, atomic_action_id, object_id)"
    )
    for number, scan in enumerate(scans):
        copy("door-open", number, root / scan / "dev3/images/scan_video.avi")
        path = f"{scan}/dev3/images/scan_video.avi"
        base.execute("INSERT INTO videos VALUES (?, ?, 'dev3', 1, 16)", (number, path))
        for action, start in ((1, 0), (2, 8)):
            row = (number, start, start + 8, action, 1)
            base.execute("INSERT INTO annotations VALUES (?, ?, ?, ?, ?)", row)
    base.commit()
    base.close()


def write_hri30(root: Path) -> None:
    """Two opposite classes; the authors keep the test labels back, their owner may have them."""
    kinds = {"PickUpDrill": "open", "PutDownDrill": "close"}
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for label, kind in kinds.items():
        for number in range(EACH):
            split = "test" if number % 4 == 3 else "train"
            name = f"{label}_{number}.avi"
            copy(f"drawer-{kind}", number, root / f"{split}_set" / name)
            lines[split].append(f"{name},{label}")
    (root / "annotations").mkdir()
    for split, rows in lines.items():
        (root / f"annotations/{split}_set_labels.csv").write_text("\n".join(rows) + "\n")


def write_backbone(folder: Path) -> None:
    """A DINOv2 of random weights with 4 x 4 patches, in place of the one from a hub."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=64, patch_size=16
    )
    transformers.Dinov2Model(config).save_pretrained(folder)
    side = {"height": 64, "width": 64}
    processor = transformers.BitImageProcessorPil(size={"shortest_edge": 64}, crop_size=side)
    processor.save_pretrained(folder)
