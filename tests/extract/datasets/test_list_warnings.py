"""What is odd about a list is reported before the first video is decoded, and in the summary."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepcli.extract.datasets.clip import Clip
from stepcli.extract.datasets.list_warnings import list_warnings
from stepcli.extract.engines import run


def clips(*splits: str, group: str = "") -> list[Clip]:
    """One clip of label a or b per split."""
    return [
        Clip(f"c{i}", Path(f"{i}.mp4"), "ab"[i % 2], split, group=group and f"{group}{i // 2}")
        for i, split in enumerate(splits)
    ]


SOUND = ("train", "train", "test", "test", "val", "val")


def test_a_sound_list_has_no_warning() -> None:
    assert list_warnings(clips(*SOUND, group="day")) == []
    assert list_warnings(clips("", "", "")) == []
    assert list_warnings(clips("Train", "TR", "testing", "Test", "dev", "eval", group="g")) == []


def test_groups_in_several_splits() -> None:
    found = clips("train", "test", "train", "val", "test", "", group="day")
    assert list_warnings(found)[0] == (
        "2 groups in more than one split (day0 in test and train, day1 in train and val), with 4 "
        "clips: test scores may be inflated; keep groups whole"
    )
    # A clip that is called like a group is not in it.
    assert (
        list_warnings([*clips("train", "train"), Clip("z", Path("z"), "a", "test", group="c0")])
        == []
    )


def test_labels_and_groups_that_look_alike() -> None:
    found = clips(*SOUND, group="day ")
    found[0] = replace(found[0], label="A")
    found[2] = replace(found[2], group="day_0", split="test")
    labels, groups, *_ = list_warnings(found)
    assert labels.startswith("labels that look alike count as different ones: 'A' (1 clip) and 'a'")
    assert groups.startswith("groups that look alike count as different ones: 'day 0' (2 clips)")


def test_rows_with_the_same_frames() -> None:
    found = clips(*SOUND)
    again = replace(found[0], id="again", label="b", split="test")
    conflict, torn = sorted(list_warnings([*found, again]))
    assert conflict == (
        "1 set of clips with the same frames and different labels: c0 (a) = again (b); at most one "
        "label of each can be right"
    )
    assert torn.startswith(
        "1 set of clips with the same frames in more than one split: c0 (train) = again (test)"
    )
    assert list_warnings([*found, replace(again, start_seconds=1.0)]) == []
    assert list_warnings([*found, replace(again, label="a", split="train")]) == []
    twins = [replace(found[0], id=name, label=name, start_frame=3) for name in "xy"]
    assert "x (x) = y (y)" in list_warnings([*found, *twins])[0]


def test_classes_and_splits() -> None:
    one = [replace(clip, label="only") for clip in clips(*SOUND)]
    assert list_warnings(one) == [
        "all 6 clips have one label ('only'), so the score says nothing; check the labels"
    ]
    far = [replace(c, label=f"{c.label}{c.split == 'test'}") for c in clips(*SOUND)]
    (warning,) = list_warnings(far)
    assert warning.startswith("train has 2 classes, test has 2, 0 in both (only in test: 'aTrue'")
    (warning,) = list_warnings(clips(*SOUND, "Fold1", "fold1"))
    assert warning == (
        "2 clips in splits that are not trained or tested on: 'Fold1' (1 clip), 'fold1' (1 clip)"
    )


def test_warnings_come_before_the_first_video(
    clip_table: Path,
    extract: Callable[..., int],
    summaries: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = clip_table.read_text().splitlines()
    clip_table.write_text(
        "\n".join([*rows, rows[1].replace("c0,", "c10,").replace("train", "test")])
    )
    said_before: list[str] = []
    plainly = run.extract_clips

    def watched(*args: Any, **kwargs: Any) -> Any:
        said_before.append(capsys.readouterr().err)
        return plainly(*args, **kwargs)

    monkeypatch.setattr(run, "extract_clips", watched)
    assert extract() == 0
    (err,) = said_before
    assert "warning: 1 group in more than one split (0 in test and train)" in err
    assert "warning: 1 set of clips with the same frames in more than one split: c0 (train)" in err
    assert len(summaries[0]["warnings"]) == 3  # the classes of the two splits differ as well
