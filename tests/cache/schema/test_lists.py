"""Lists against a store: split files, leakage between splits, classes, conflicting labels."""

import hashlib
from pathlib import Path

import pytest

from stepcli.cache.schema.class_sets import different_classes, single_class
from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.schema.leakage import find_leakage, label_conflicts
from stepcli.cache.schema.split_file import match_splits
from stepcli.runtime.errors import UsageError

CLIPS = [f"c{i}" for i in range(6)]


def split_file(folder: Path, *lines: str) -> Path:
    path = folder / "split.csv"
    path.write_text("\n".join(("clip,split", *lines)) + "\n")
    return path


def test_a_split_file_that_fits_says_nothing(tmp_path: Path) -> None:
    path = split_file(tmp_path, *(f"{clip},train" for clip in CLIPS))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert match_splits(path, CLIPS, digest) == (dict.fromkeys(CLIPS, "train"), [])
    path.write_text(path.read_text() + "\n")
    with pytest.raises(UsageError, match="has changed since"):
        match_splits(path, CLIPS, digest)
    with pytest.raises(UsageError, match="expected a CSV file"):
        match_splits(tmp_path / "none.csv", CLIPS, digest)


def test_lines_that_fit_nothing_are_counted(tmp_path: Path) -> None:
    path = split_file(
        tmp_path, " c0 ,Train ", "c1,TESTING", "c2,", "x.mp4,train", "y,test", ",train", "c3,odd"
    )
    found, notes = match_splits(path, CLIPS)
    assert found == {"c0": "train", "c1": "test", "c2": "", "c3": "odd"}
    assert [note.removeprefix(f"{path}: ") for note in notes] == [
        "2 of 7 lines name no clip of the store: 'x.mp4', 'y'",
        "1 line without a clip id ignored",
        "split names normalised: 'TESTING' as 'test' (1 clip), 'Train' as 'train' (1 clip)",
        "1 clip with a blank split, not trained or tested on",
        "2 of 6 clips of the store are not listed, so not trained or tested on",
    ]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["c0.mp4,train", "c1.mp4,test"], "none of 2 lines names a clip.*'c0.mp4'.*'c0'"),
        ([",train"], "none of 1 line names a clip"),
        (["c0,train", "c0,test"], "1 clip id appears more than once: 'c0'"),
        (["c0,train", "c1,test", "c1 ,test", "c0,train"], "2 clip ids appear more than once"),
        (
            ["c0,train", "c0,test", "no,test"],
            "once: 'c0'; 1 of 3 lines names no clip.*: 'no'; give",
        ),
    ],
)
def test_split_files_that_are_refused(tmp_path: Path, lines: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        match_splits(split_file(tmp_path, *lines), CLIPS)


def test_shared_groups_and_copies_are_counted_in_clips() -> None:
    train = [ClipRow("a@left", "x", group="g"), ClipRow("a@right", "x", group="g")]
    train += [ClipRow("b", "x"), ClipRow("c", "x", group="h")]
    test = [ClipRow("d@left", "x", group="g"), ClipRow("d@right", "x", group="g")]
    test += [ClipRow("e", "x", group="b"), ClipRow("f", "x"), ClipRow("h", "x")]
    none = find_leakage(train, test[2:])
    assert (none.warnings, none.test_clips) == ((), 3)
    found = find_leakage(train, test, [("b", "e", "f"), ("d", "h"), ("a", "b")])
    assert found.groups == ("g",)
    assert found.grouped == {"d"}
    assert found.copied == {"e", "f"}
    groups, copies = found.warnings
    assert "1 group in both train and test (g): 1 of 4 test clips shares a group" in groups
    assert "2 of 4 test clips are copies of training clips (e = b, f = b)" in copies
    # A clip whose views were put on both sides by hand.
    torn = find_leakage([ClipRow("a@left", "x")], [ClipRow("a@right", "x")])
    assert (torn.groups, torn.grouped, torn.copied) == (("a",), {"a"}, set())


def test_copies_with_several_labels_are_named() -> None:
    rows = [
        ClipRow("a@flip-center", "right"),
        ClipRow("a@center", "left"),
        ClipRow("b@center", "left"),
        ClipRow("c", "up"),
        ClipRow("d", "down"),
    ]
    assert label_conflicts(rows, [("a", "b"), ("c", "elsewhere")]) is None
    warning = label_conflicts(rows, [("a", "b"), ("c", "d")])
    assert warning is not None
    assert warning.startswith(
        "1 set of clips with the same frames and different labels: c (up) = d"
    )


def test_odd_class_sets() -> None:
    assert single_class(["a", "a"]) is not None
    assert single_class(["a", "b"]) is None
    assert single_class([]) is None
    assert single_class(["a"]) is None  # of a trial with --limit 1
    letters = list("abcdefgh")
    assert different_classes(letters, letters[:2]) is None
    assert different_classes(letters, ["a", "x"]) is None
    assert different_classes(letters, []) is None
    warning = different_classes(letters, ["a", "x", "y"])
    assert warning is not None
    assert "train has 8 classes, test has 3, 1 in both (only in test: 'x', 'y')" in warning
    assert different_classes(["Open"], ["open"]) is not None
