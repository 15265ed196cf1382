"""CSV lists as people, pandas and spreadsheets write them."""

from pathlib import Path
from typing import Any

import pytest

from stepcli.extract.datasets.clip import Clip, Dataset
from stepcli.extract.datasets.columns import meant_columns
from stepcli.extract.datasets.registry import load_dataset
from stepcli.extract.sources.stock import missing_note
from stepcli.runtime.csv_tables import SHOWN_LINES, read_csv
from stepcli.runtime.errors import UsageError


def read(folder: Path, text: str | bytes) -> Dataset:
    table = folder / "clips.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_dataset("csv", table, {})


def test_every_cell_is_stripped_and_splits_are_normalised_with_a_note(tmp_path: Path) -> None:
    dataset = read(
        tmp_path,
        " path , label ,split, id,group\n"
        "1.mp4, a ,train , x ,  g\n 2.mp4,a,Training,y,\n3.mp4,b,test ,z,\n"
        '4.mp4,b,Test,w,\n5.mp4,b," VALIDATION ",v,\n6.mp4,b,,u,\n7.mp4,b,holdout,t,\n',
    )
    assert [clip.split for clip in dataset.clips] == [
        *("train", "train", "test", "test", "val", "", "holdout")
    ]
    assert [clip.id for clip in dataset.clips] == list("xyzwvut")
    assert dataset.clips[1].path == tmp_path / "2.mp4"
    assert (dataset.clips[0].label, dataset.clips[0].group) == ("a", "g")
    assert [row.name for row in dataset.classes] == ["a", "b"]
    notes = "\n".join(dataset.notes)
    assert "'train ' as 'train' (1 clip)" in notes
    assert "'Training' as 'train' (1 clip)" in notes
    assert "'Test' as 'test' (1 clip)" in notes
    assert "1 clip of 7 in clips.csv without a split" in notes


def test_a_file_with_blanks_in_its_name_is_found(tmp_path: Path) -> None:
    (tmp_path / "b .mp4").write_bytes(b"")
    first, second = read(tmp_path, "label,path\na, b.mp4\na,b .mp4 \n").clips
    assert (first.path.name, second.path.name) == ("b.mp4", "b .mp4")
    (tmp_path / " c.mp4").write_bytes(b"")
    (clip,) = read(tmp_path, "label,path\na, c.mp4\n").clips
    assert (clip.path.name, clip.id) == (" c.mp4", " c.mp4")


def test_unicode_forms_of_a_name_are_one(tmp_path: Path) -> None:
    """macOS decomposes names of files; keyboards and most programs do not."""
    nfd, nfc = "ferme\u0301r", "ferm\u00e9r"
    (tmp_path / f"{nfd}.mp4").write_bytes(b"")
    (tmp_path / f"x{nfc}.mp4").write_bytes(b"")
    dataset = read(
        tmp_path, f"path,label,group\n{nfc}.mp4,{nfd},{nfd}\nx{nfd}.mp4,{nfc},{nfc}\ny.mp4,z,z\n"
    )
    assert [row.name for row in dataset.classes] == [nfc, "z"]
    assert [clip.group for clip in dataset.clips] == [nfc, nfc, "z"]
    assert [clip.path.exists() for clip in dataset.clips] == [True, True, False]


@pytest.mark.parametrize(
    "text",
    [
        "path,label,start_frame,end_frame\na.mp4,x,0.0,10.0\n",
        "path;label;start_frame;end_frame\r\na.mp4;x;0;10\r\n",
        "path\tlabel\tstart_frame\tend_frame\na.mp4\tx\t0.\t1e1\n",
        '\ufeffpath,label,start_frame,end_frame\r\n"a.mp4","x","0","10"\r\n',
        "path,label,start_frame,end_frame,\na.mp4,x,+0,10,\n , , ,\n",
        "\n ,\n\npath,label,start_frame,end_frame\n\na.mp4,x,0,10\n\n",
    ],
)
def test_spellings_of_one_list_give_one_clip(text: str, tmp_path: Path) -> None:
    (clip,) = read(tmp_path, text).clips
    assert (clip.id, clip.start_frame, clip.end_frame) == ("a.mp4@0-10", 0, 10)
    assert isinstance(clip.end_frame, int)


@pytest.mark.parametrize(
    ("column", "text", "message"),
    [
        ("start_frame", "1.5", "expected a whole number"),
        ("start_frame", "-1", "expected a number of at least 0"),
        ("start_frame", "1_0", "expected a number of at least 0"),
        ("end_frame", "nan", "expected a number of at least 0"),
        ("end_seconds", "inf", "expected a number of at least 0"),
        ("end_seconds", "1e999", "expected a number that is not so large"),
        ("end_seconds", '"1,5"', "expected a number with a point, not a comma"),
        ("end_seconds", "00:01", "expected a number of at least 0"),
        ("end_seconds", "٣", "expected a number of at least 0"),
        ("frames_per_second", "0.0", "frames_per_second is 0, expected more"),
    ],
)
def test_numbers_that_are_none(column: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        read(tmp_path, f"path,label,{column}\na.mp4,x,{text}\n")
    assert f"clips.csv, line 2: {column} is " in str(refused.value)
    assert message in str(refused.value)


def test_a_path_that_no_file_can_have_is_named(tmp_path: Path) -> None:
    """By its line; in lists of other data sets by its clip."""
    with pytest.raises(UsageError, match=r"line 2: the path is 'a\\x00.mp4', which holds a NUL"):
        read(tmp_path, "path,label\na\0.mp4,x\n")
    with pytest.raises(
        UsageError, match=r"mine: the path of clip 'c' is 'a\\x00.mp4', which holds"
    ):
        Dataset("mine", (Clip("c", Path("a\0.mp4"), "x"),), ())


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("C:\\videos\\a.mp4", "a.mp4), a path of Windows: write it with /"),
        ("videos\\a.mp4", "a.mp4), a path of Windows: write it with /"),
        ("~/videos/a.mp4", "a.mp4): ~ and variables are not replaced in lists"),
        ("$DATA/a.mp4", "a.mp4): ~ and variables are not replaced in lists"),
        ("https://example.org/a.mp4", "a.mp4), a URL: download the videos first"),
        ("file:///data/a.mp4", "a.mp4), a URL: download the videos first"),
        ("videos/a.mp4", "a.mp4); such clips are quarantined"),
        ("a/b:c/d$e~f.mp4", "f.mp4); such clips are quarantined"),
    ],
)
def test_a_missing_video_is_named_with_what_may_be_wrong(
    path: str, hint: str, tmp_path: Path
) -> None:
    assert hint in missing_note(read(tmp_path, f"path,label\n{path},x\n").clips)


def test_all_wrong_lines_are_named_up_to_twenty(tmp_path: Path) -> None:
    lines = ["path,label,start_frame,end_frame", "a.mp4,x,,", ",x,,", "b.mp4,,9,x"]
    lines += ["a.mp4,x,,", "c.mp4,x,1,2,3", "d.mp4"]
    with pytest.raises(UsageError) as refused:
        read(tmp_path, "\n".join(lines) + "\n")
    text = str(refused.value)
    assert "clips.csv: 6 wrong lines: line 3: the column 'path' is empty" in text
    assert "; line 4: the column 'label' is empty; line 4: end_frame is 'x', expected" in text
    assert "; line 5: the clip id 'a.mp4' appears twice, in line 2 too;" in text
    assert "; line 6: expected the 4 cells of the header, found 5; put quotes" in text
    assert text.endswith("; line 7: the column 'label' is empty")
    assert "\n" not in text
    with pytest.raises(UsageError) as refused:
        read(tmp_path, "path,label\n" + "".join(f"{n}.mp4,\n" for n in range(30)))
    assert "30 wrong lines" in str(refused.value)
    assert str(refused.value).count("is empty") == SHOWN_LINES
    assert str(refused.value).endswith("; and 10 more")
    table = tmp_path / "other.csv"
    table.write_text("clip,split\na\nb,train\nc,test,x\n")
    with pytest.raises(UsageError, match=r"2 wrong lines: line 2: .*; line 4: "):
        read_csv(table, ("clip", "split"))


def test_an_open_quote_swallows_no_lines(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected a CSV file, got: .* \(line 4\)"):
        read(tmp_path, 'path,label\na.mp4,x\n"b.mp4,x\nc.mp4,x\n')


def test_text_of_another_encoding_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found UTF-16; save it as CSV in UTF-8"):
        read(tmp_path, "path,label\na.mp4,x\n".encode("utf-16"))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("start,end", "'start' looks like 'start_seconds', 'end' looks like 'end_seconds'"),
        ("Split", "'Split' looks like 'split'"),
        ("start_secs", "'start_secs' looks like 'start_seconds'"),
        ("endframe", "'endframe' looks like 'end_frame'"),
        ("End Frame", "'End Frame' looks like 'end_frame'"),
        ("fps", "'fps' looks like 'frames_per_second'"),
        ("groups", "'groups' looks like 'group'"),
        ("ID", "'ID' looks like 'id'"),
        ("subset", "'subset' looks like 'split'"),
    ],
)
def test_a_column_that_looks_like_a_known_one_is_refused(
    columns: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"rename .* to something else if that is not") as refused:
        read(tmp_path, f"path,label,{columns}\na.mp4,x{',1' * (1 + columns.count(','))}\n")
    assert message in str(refused.value)


def test_a_missing_column_is_named_with_the_one_that_looks_like_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        read(tmp_path, "file,Label,remark\na.mp4,x,y\n")
    assert "the columns 'path' and 'label' are missing; found 'file', 'Label', 'remark'" in (
        str(refused.value)
    )
    assert str(refused.value).endswith("('file' looks like 'path', 'Label' looks like 'label')")


def test_other_columns_are_noted_and_left_alone(tmp_path: Path) -> None:
    dataset = read(
        tmp_path,
        "path,label,video,class,remark,start_frame,start,subject,cv_fold\na.mp4,x,1,2,3,4,5,6,7\n",
    )
    assert dataset.notes == (
        "columns of clips.csv that mean nothing here: "
        "video, class, remark, start, subject, cv_fold",
    )
    assert meant_columns(["Video", "viewed by"], ["label"]) == {"Video": "path"}


def test_ends_after_the_end_of_the_video_are_counted_once(
    extract: Any, tmp_path: Path, write_numbered: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    write_numbered(tmp_path / "v.mp4", 10)  # 25 frames per second: it ends at 0.4 s
    table = tmp_path / "list.csv"
    table.write_text(
        "path,label,start_seconds,end_seconds,start_frame,end_frame\n"
        "v.mp4,a,,,0,10\nv.mp4,a,,,5,11\nv.mp4,a,0,0.4,,\nv.mp4,a,0.1,0.41,,\nv.mp4,a,0,0.5,,\n"
        "v.mp4,a,,,2,\nv.mp4,a,,,,\n"
    )
    assert extract(root=table) == 0
    lines = capsys.readouterr().err.splitlines()
    (note,) = [line for line in lines if "whose video ends before" in line]
    assert note.startswith("note: 2 clips whose video ends before the segment does")
