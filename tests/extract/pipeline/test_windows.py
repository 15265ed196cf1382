"""Whole recordings in windows: each frame through the backbone once, resumed, checked, refused."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stepcli.cache import open_store
from stepcli.cache.schema.windows import split_steps
from stepcli.cache.store.origins import origins_of
from stepcli.extract.decode import isolated
from stepcli.extract.decode.process import Child
from stepcli.extract.pipeline.backbone_runner import BackboneRunner, Encoded
from stepcli.runtime.errors import UsageError

Extract = Callable[..., int]
COUNTS = {"long": 100, "short": 12}
"""Frames at 25 per second: 20 and 3 steps at 5 per second."""


@pytest.fixture
def table(write_numbered: Callable[..., Path], tmp_path: Path) -> Path:
    """Two recordings, one of them listed by two segments."""
    for name, count in COUNTS.items():
        write_numbered(tmp_path / f"{name}.mp4", count)
    path = tmp_path / "recordings.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "start_seconds", "end_seconds", "split", "group"])
        writer.writerow(["long.mp4", "wave", 0.5, 1.5, "train", "p1"])
        writer.writerow(["long.mp4", "nod", 2, 3, "train", "p1"])
        writer.writerow(["short.mp4", "wave", "", "", "test", "p2"])
    return path


@pytest.fixture
def windows(extract: Extract, table: Path, tmp_path: Path) -> Extract:
    def run(rule: str = "4@5fps/2", **changes: Any) -> int:
        settings = {"root": table, "windows": rule, "frames": int(rule.partition("@")[0])}
        return extract(**{**settings, "batch": 3, **changes})

    return run


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Frames of each forward pass."""
    counts: list[int] = []
    frames = BackboneRunner.encoded_frames

    def counted(self: BackboneRunner, pictures: torch.Tensor) -> list[Encoded]:
        counts.append(len(pictures))
        return frames(self, pictures)

    monkeypatch.setattr(BackboneRunner, "encoded_frames", counted)
    return counts


def test_each_frame_passes_once_and_windows_share_it(
    windows: Extract, passes: list[int], tmp_path: Path
) -> None:
    assert windows("4@5fps/1", store=tmp_path / "dense") == 0
    assert sum(passes) == 20 + 3
    passes.clear()
    assert windows("4@5fps", store=tmp_path / "apart") == 0
    assert sum(passes) == 20 + 3
    dense, apart = open_store(tmp_path / "dense"), open_store(tmp_path / "apart")
    assert len(apart) == 5 + 1
    assert len(dense) == 17 + 1
    for number in range(5):
        np.testing.assert_array_equal(
            apart.read([f"long@w{number:06d}"]), dense.read([f"long@w{4 * number:06d}"])
        )
    first, second = dense.read(["long@w000000", "long@w000001"])
    np.testing.assert_array_equal(first[1:], second[:-1])


@pytest.mark.parametrize(
    ("dtype", "layers", "step"),
    # Half a step of the dtype, and one step where batches of other sizes round to the other side.
    [
        ("float32", (-1,), 1e-6),
        ("float16", (-2, -1), 1e-3),
        ("bfloat16", (-1,), 1e-2),
        ("int8", (-2, -1), 1 / 80),
        ("int8-channel", (-1,), 1 / 40),
        ("int8-channel", (-2, -1), 1 / 40),
    ],
)
def test_a_window_has_the_tokens_of_the_same_clip(
    windows: Extract, tmp_path: Path, dtype: str, layers: tuple[int, ...], step: float
) -> None:
    """Extracted as a clip of its own, by time, with as many frames as it has."""
    assert windows("4@25fps", store=tmp_path / "w", layers=layers, dtype=dtype) == 0
    table = tmp_path / "clips.csv"
    table.write_text("id,path,label,start_frame,end_frame\na,long.mp4,x,8,12\n")
    run = {
        "root": table,
        "windows": None,
        "layers": layers,
        "dtype": dtype,
        "store": tmp_path / "c",
    }
    assert windows("4@25fps", **run) == 0
    window, clip = open_store(tmp_path / "w"), open_store(tmp_path / "c")
    tokens = clip.read(["a"])
    np.testing.assert_allclose(
        window.read(["long@w000002"]), tokens, rtol=0, atol=step * np.abs(tokens).max()
    )
    assert window.record("long@w000002").pts_seconds == clip.record("a").pts_seconds


@pytest.mark.parametrize(
    ("dtype", "value", "reason"),
    [
        ("float16", 1e5, "a value of 100000, too large for float16"),
        ("float16", np.nan, "4 values of its tokens are not finite"),
        ("int8", 3.401e38, "too large for int8"),
        ("int8-channel", np.nan, "4 values of its tokens are not finite"),
    ],
)
def test_a_frame_that_does_not_fit_costs_the_windows_that_show_it(
    windows: Extract,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dtype: str,
    value: float,
    reason: str,
) -> None:
    frames = BackboneRunner._frames
    seen = 0

    def loud(self: BackboneRunner, pictures: torch.Tensor) -> torch.Tensor:
        nonlocal seen
        tokens = frames(self, pictures)
        if seen <= 5 < seen + len(pictures):
            tokens[5 - seen].view(-1)[:4] = value
        seen += len(pictures)
        return tokens

    table = tmp_path / "one.csv"
    table.write_text("path,label\nlong.mp4,x\n")
    monkeypatch.setattr(BackboneRunner, "_frames", loud)
    assert windows("4@5fps/2", root=table, dtype=dtype) == 3
    store = open_store(tmp_path / "store")
    failures = store.quarantined()
    assert set(failures) == {"long.mp4@w000001", "long.mp4@w000002"}
    assert all(reason in failure.message for failure in failures.values())
    assert len(store) == 9 - 2


def test_rows_times_and_places(windows: Extract, tmp_path: Path, summaries: list[Any]) -> None:
    assert windows() == 0
    store = open_store(tmp_path / "store")
    assert store.spec.sampling == "windows5fps/2"
    assert summaries[-1]["done"] == len(store) == 9 + 1
    rows = {row.id: row for row in store.clips()}
    assert set(rows) == set(store.ids)
    assert {(rows[i].split, rows[i].group) for i in store.ids if i.startswith("long")} == {
        ("train", "p1")
    }
    assert rows["short.mp4@w000000"].label == "wave"
    origins = origins_of(store)
    assert split_steps(origins["long@w000008"].segment)[1] == (16, 20)
    assert store.record("long@w000008").pts_seconds == (3.2, 3.4, 3.6, 3.8)
    # Three steps stand for the last one too.
    short = store.record("short.mp4@w000000")
    assert short.pts_seconds == (0.0, 0.2, 0.4, 0.4)
    assert short.distinct_frames == 3
    assert windows() == 0
    assert summaries[-1]["seconds"] is None


def test_a_run_that_was_ended_goes_on_within_a_recording(
    windows: Extract, passes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert windows(store=tmp_path / "whole") == 0
    whole, total = open_store(tmp_path / "whole"), sum(passes)
    passes.clear()
    frames = BackboneRunner.encoded_frames

    def ended(self: BackboneRunner, pictures: torch.Tensor) -> list[Encoded]:
        if len(passes) == 4:
            raise KeyboardInterrupt
        return frames(self, pictures)

    readers: list[Child] = []
    start = isolated.start_child

    def started(*words: Any, **how: Any) -> Child:
        readers.append(start(*words, **how))
        return readers[-1]

    isolated.end_idle()
    with monkeypatch.context() as patch:
        patch.setattr(BackboneRunner, "encoded_frames", ended)
        patch.setattr(isolated, "start_child", started)
        with pytest.raises(KeyboardInterrupt) as caught:
            windows(part_clips=1)
    # Ended at once, also while the exception is kept.
    assert caught.tb
    assert readers
    assert all(child.process.poll() is not None for child in readers)
    store = open_store(tmp_path / "store")
    done = len(store)
    assert 0 < done < 9
    passes.clear()
    assert windows() == 0
    assert sum(passes) == total - 2 * (done - 1)
    store.refresh()
    assert store.ids == whole.ids
    np.testing.assert_array_equal(store.read(store.ids), whole.read(whole.ids))
    assert {row.id for row in store.clips()} == set(store.ids)


def test_a_recording_that_is_cut_off_is_quarantined_and_can_be_mended(
    windows: Extract, table: Path, tmp_path: Path, summaries: list[Any]
) -> None:
    video = tmp_path / "long.mp4"
    content = video.read_bytes()
    video.write_bytes(content[: len(content) // 2])
    assert windows() == 3
    assert summaries[-1]["quarantined"] >= 1
    assert windows() == 3
    video.write_bytes(content)
    assert windows(retry_failed=True, changed="keep") == 0
    assert len(open_store(tmp_path / "store")) == 10
    assert windows() == 0


def test_another_video_under_the_same_name_is_noticed(
    windows: Extract, write_numbered: Callable[..., Path], tmp_path: Path
) -> None:
    assert windows() == 0
    write_numbered(tmp_path / "long.mp4", 90, first=7)
    with pytest.raises(UsageError, match="another source"):
        windows()


def test_shares_take_whole_recordings(windows: Extract, tmp_path: Path) -> None:
    assert windows(rank=0, world_size=2) == 0
    assert {i.partition("@")[0] for i in open_store(tmp_path / "store").ids} == {"long"}
    assert windows(rank=1, world_size=2) == 0
    assert len(open_store(tmp_path / "store")) == 10


@pytest.mark.parametrize(
    ("family", "changes", "named"),
    [
        ("dinov2", {"views": "three-crops"}, "--views"),
        ("dinov2", {"sampling": "dense2"}, "--sampling"),
        ("dinov2", {"changed": "redo"}, "--changed redo"),
        ("dinov2", {"frames": 7}, "leave --frames out"),
        ("videomae", {}, "depend on the whole clip"),
    ],
)
def test_what_windows_cannot_do_is_refused(
    windows: Extract, family: str, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        windows(family=family, **changes)


def test_numbered_images_are_a_recording_too(
    windows: Extract, tmp_path: Path, openclose_clips: list[Path]
) -> None:
    import av

    folder = tmp_path / "images"
    folder.mkdir()
    with av.open(str(openclose_clips[0])) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number == 8:
                break
            frame.to_image().save(folder / f"{number:04d}.png")
    table = tmp_path / "images.csv"
    table.write_text("path,label,frames_per_second\nimages,x,8\n")
    assert windows("2@4fps", root=table, store=tmp_path / "i") == 0
    store = open_store(tmp_path / "i")
    assert store.ids == ["images@w000000", "images@w000001"]
    assert store.record("images@w000001").pts_seconds == (0.5, 0.75)


def test_a_list_by_segments_labels_the_windows(windows: Extract, tmp_path: Path) -> None:
    assert windows() == 0
    store = open_store(tmp_path / "store")
    assert [(s.recording, s.start_seconds, s.end_seconds, s.label) for s in store.segments()] == [
        ("long", 0.5, 1.5, "wave"),
        ("long", 2, 3, "nod"),
    ]
    labels = [row.label for row in store.clips() if row.id.startswith("long")]
    # Middles at 0.4, 0.8, ... 3.6 s.
    assert labels == ["background", "wave", "wave", "background", *["nod"] * 3, *["background"] * 2]
    store.change_clips(lambda rows: [*rows[:-1], rows[-1]])
    assert windows() == 0
    assert [row.label for row in store.clips() if row.id.startswith("long")] == labels


def test_segments_by_frame_number_get_the_times_of_those_frames(
    windows: Extract,
    write_numbered: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_numbered(tmp_path / "v.mkv", 7, ticks=[0, 40, 80, 1000, 1040, 3000, 3040])
    table = tmp_path / "frames.csv"
    table.write_text("path,label,start_frame,end_frame\nv.mkv,a,1,3\nv.mkv,b,3,7\nv.mkv,c,5,\n")
    assert windows("2@1fps", root=table, store=tmp_path / "f") == 0
    found = open_store(tmp_path / "f").segments()
    assert [(s.start_seconds, s.label) for s in found] == [(0.04, "a"), (1.0, "b"), (3.0, "c")]
    assert [s.end_seconds for s in found[:2]] == pytest.approx([1.0, 3.08])
    assert found[2].end_seconds > 1000
    assert "warning" not in capsys.readouterr().out  # to the end, wherever that is


def test_segments_beyond_a_recording_s_end_are_stored_with_a_warning(
    windows: Extract, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with table.open("a") as file:
        file.write("long.mp4,nod,3.5,6,train,p1\nlong.mp4,wave,40,41,train,p1\n")
    assert windows() == 0
    said = capsys.readouterr().out
    assert (
        "warning: 1 segment beyond the end of the recording, where no frame is (first: 'wave' "
        "in long, 40 to 41 s; the recording has 4 s)" in said
    )
    assert (
        "warning: 1 segment more than 1 s too long for the recording (first: 'nod' in long, "
        in said
    )
    assert len(open_store(tmp_path / "store").segments()) == 4
