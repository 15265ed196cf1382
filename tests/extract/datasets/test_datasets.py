"""Roots as users have them give their clips; what is missing is reported before any work."""

import json
from pathlib import Path

import pytest

from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip, Dataset
from stepcli.extract.datasets.list_warnings import list_warnings
from stepcli.extract.datasets.registry import DATASETS, find_dataset, load_dataset
from stepcli.extract.datasets.required_files import MissingData
from stepcli.runtime.errors import UnknownName, UsageError


def load(name: str, root: Path | None, **options: str) -> Dataset:
    return load_dataset(name, root, options)


def test_csv_with_every_column(tmp_path: Path) -> None:
    table = tmp_path / "clips.csv"
    table.write_text(
        "\ufeffid,path,label,split,start_seconds,end_seconds,group,view,remark\n"
        "a,videos/a.mp4,open,train,0.5,2,s1,front,x\n"
        'b,"/abs/b, c.mp4",close,test,,,s2,,y\n',
        encoding="utf-8",
    )
    dataset = load("csv", table)
    assert dataset.clips == (
        Clip("a", tmp_path / "videos/a.mp4", "open", "train", 0.5, 2.0, group="s1", view="front"),
        Clip("b", Path("/abs/b, c.mp4"), "close", "test", group="s2"),
    )
    assert [(row.name, row.index) for row in dataset.classes] == [("close", 0), ("open", 1)]
    assert "remark" in dataset.notes[0]


def test_csv_needs_only_path_and_label(tmp_path: Path) -> None:
    table = tmp_path / "clips.csv"
    table.write_text(
        "label,path,start_frame,end_frame,frames_per_second\n"
        "x,a.mp4,,,\nx,b.mp4,3,9,\nx,b.mp4,9,20,\nx,frames/,,,12.5\n"
    )
    clips = load("csv", tmp_path).clips
    assert [clip.id for clip in clips] == ["a.mp4", "b.mp4@3-9", "b.mp4@9-20", "frames/"]
    assert [clip.frames_per_second for clip in clips] == [None, None, None, 12.5]
    assert (clips[1].start_frame, clips[1].end_frame, clips[0].start_frame) == (3, 9, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,name\na.mp4,x\n", "the column 'label' is missing; found 'path', 'name'"),
        ("", "the columns 'path' and 'label' are missing; found no header line at all"),
        ("path,label\n", "no clips were found"),
        ("path,label\na.mp4,\n", "line 2: the column 'label' is empty"),
        ("path,label,start_seconds\na,x,1:30\n", "line 2: start_seconds is '1:30'"),
        ("path,label,end_frame\na,x,-4\n", "end_frame is '-4'"),
        ("path,label,start_frame,end_frame\na,x,9,9\n", "ends at 9 and starts at 9"),
        ("path,label,start_frame,end_seconds\na,x,1,2\n", "seconds or in frames, not in both"),
        ("path,label,frames_per_second\na,x,0\n", "frames_per_second is 0"),
        ("path,label\na,x\na,y\n", "line 3: the clip id 'a' appears twice, in line 2 too"),
    ],
)
def test_csv_that_cannot_be_read_names_the_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text(text)
    with pytest.raises(UsageError, match=message.replace(".", r"\.")) as caught:
        load("csv", tmp_path)
    assert "\n" not in str(caught.value)


def test_csv_in_another_encoding_says_so(tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_bytes("path,label\na.mp4,öffnen\n".encode("latin-1"))
    with pytest.raises(UsageError, match="expected a CSV file in UTF-8"):
        load("csv", tmp_path)


def test_csv_folder_must_hold_exactly_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found 0; give the file itself"):
        load("csv", tmp_path)
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("path,label\n")
    with pytest.raises(UsageError, match=r"found 2 \(a\.csv, b\.csv\)"):
        load("csv", tmp_path)


def make(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folder_with_and_without_splits(tmp_path: Path) -> None:
    make(tmp_path / "a/open/1.mp4", tmp_path / "a/open/deep/2.WEBM", tmp_path / "a/close/1.avi")
    make(tmp_path / "a/close/notes.txt", tmp_path / "a/.cache/x.mp4", tmp_path / "a/close/.x.mp4")
    plain = load("folder", tmp_path / "a")
    assert [(clip.id, clip.label, clip.split) for clip in plain.clips] == [
        ("close/1.avi", "close", ""),
        ("open/1.mp4", "open", ""),
        ("open/deep/2.WEBM", "open", ""),
    ]
    make(tmp_path / "b/train/open/1.mp4", tmp_path / "b/validation/open/1.mp4")
    split = load("folder", tmp_path / "b")
    assert [(clip.id, clip.label, clip.split) for clip in split.clips] == [
        ("train/open/1.mp4", "open", "train"),
        ("validation/open/1.mp4", "open", "val"),
    ]


def test_folder_without_videos_says_what_was_looked_for(tmp_path: Path) -> None:
    make(tmp_path / "open/readme.txt")
    with pytest.raises(UsageError, match=r"found no videos in .*<class>/.*1 folders"):
        load("folder", tmp_path)


def test_openclose_ships_with_its_pairs() -> None:
    dataset = load("openclose", None)
    assert len(dataset.clips) == 384
    assert len(dataset.classes) == 16
    assert all(clip.path.is_file() for clip in dataset.clips)
    names = {row.name for row in dataset.classes}
    assert all(row.kind == "equivariant" and row.partner in names for row in dataset.classes)
    windows = load("openclose", None, table="openclose-windows")
    assert all(clip.start_seconds is not None for clip in windows.clips)


SSV2_LABELS = {"Closing something": "1", "Holding something": "2", "Opening something": "0"}


def write_ssv2(root: Path, place: str, prefix: str = "") -> None:
    folder = root / place
    folder.mkdir(parents=True, exist_ok=True)
    (root / "20bn-something-something-v2").mkdir(exist_ok=True)
    entries = {
        "train": [("3", "Opening [something]"), ("4", "Closing [something]")],
        "validation": [("5", "Holding [something]")],
    }
    (folder / f"{prefix}labels.json").write_text(json.dumps(SSV2_LABELS))
    for name, pairs in entries.items():
        lines = [
            {"id": number, "label": "opening a box", "template": text, "placeholders": ["a box"]}
            for number, text in pairs
        ]
        (folder / f"{prefix}{name}.json").write_text(json.dumps(lines))


@pytest.mark.parametrize(
    ("place", "prefix"),
    [
        ("labels", ""),
        (".", ""),
        ("labels", "something-something-v2-"),
        (".", "something-something-v2-"),
    ],
)
def test_ssv2_in_either_naming(place: str, prefix: str, tmp_path: Path) -> None:
    write_ssv2(tmp_path, place, prefix)
    dataset = load("ssv2", tmp_path)
    assert [(clip.id, clip.label, clip.split) for clip in dataset.clips] == [
        ("3", "Opening something", "train"),
        ("4", "Closing something", "train"),
        ("5", "Holding something", "val"),
    ]
    assert dataset.clips[0].path == tmp_path / "20bn-something-something-v2" / "3.webm"
    assert [row.name for row in dataset.classes] == [
        "Opening something",
        "Closing something",
        "Holding something",
    ]
    assert [row.partner for row in dataset.classes] == [
        "Closing something",
        "Opening something",
        "",
    ]
    assert [row.kind for row in dataset.classes] == ["equivariant", "equivariant", ""]
    assert "test split is left out" in dataset.notes[0]


def test_ssv2_test_answers(tmp_path: Path) -> None:
    write_ssv2(tmp_path, "labels")
    (tmp_path / "labels" / "test-answers.csv").write_text("9;Holding something\n")
    assert load("ssv2", tmp_path).clips[-1].split == "test"
    (tmp_path / "labels" / "test-answers.csv").write_text("9;Juggling something\n")
    with pytest.raises(UsageError, match="clip 9 has the class 'Juggling something'"):
        load("ssv2", tmp_path)


def test_a_missing_piece_gives_a_checklist(tmp_path: Path) -> None:
    write_ssv2(tmp_path, "labels")
    (tmp_path / "labels" / "train.json").unlink()
    with pytest.raises(MissingData) as caught:
        load("ssv2", tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("ssv2: 1 of 4 pieces are missing")
    assert [line.split()[0] for line in lines[1:]] == ["found", "MISSING", "found", "found"]
    assert "train.json" in lines[2]


def test_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEPCLI_DATA", raising=False)
    with pytest.raises(UsageError, match="give its folder as --root, or put it into STEPCLI_DATA"):
        load("ssv2", None)
    with pytest.raises(UsageError, match="nowhere does not exist"):
        load("ssv2", tmp_path / "nowhere")
    write_ssv2(tmp_path / "ssv2", "labels")
    monkeypatch.setenv("STEPCLI_DATA", str(tmp_path))
    assert len(load("ssv2", None).clips) == 3


def test_names_nobody_knows_list_the_close_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean openclose"):
        find_dataset("openclosed")
    with pytest.raises(UnknownName, match="did you mean pairs"):
        load("ssv2", tmp_path, pair="loose")
    with pytest.raises(UsageError, match="option pairs='all' is not known; expected one of strict"):
        load("ssv2", tmp_path, pairs="all")


def test_a_class_has_one_partner() -> None:
    with pytest.raises(UsageError, match="'a' is paired with 'b' and with 'c'"):
        class_rows(["a", "b", "c"], partners=[("a", "b"), ("a", "c")])


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_says_what_it_expects(name: str) -> None:
    info = find_dataset(name)
    assert info.layout
    assert info.source
    assert all(info.options.values())


def test_a_csv_of_any_number_of_labels_per_clip(tmp_path: Path) -> None:
    table = tmp_path / "clips.csv"
    table.write_text(
        'path,labels,split\na.mp4,"run; jump",train\nb.mp4,jump;run;jump,test\nc.mp4,,test\n'
        "d.mp4,sit,train\n"
    )
    dataset = load("csv", table)
    assert dataset.several
    assert [clip.label for clip in dataset.clips] == ["jump;run", "jump;run", "", "sit"]
    assert [row.name for row in dataset.classes] == ["jump", "run", "sit"]
    assert list_warnings(dataset.clips, several=True) == []
    table.write_text("path,label\na.mp4,run; jump\n")
    plain = load("csv", table)
    assert not plain.several
    assert [row.name for row in plain.classes] == ["run; jump"]
    table.write_text("path,label,labels\na.mp4,run,run\n")
    with pytest.raises(UsageError, match="two ways to label clips"):
        load("csv", table)
