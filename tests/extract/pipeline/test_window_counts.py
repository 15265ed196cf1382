"""How many windows a run will store is known before it, or estimated, and checked for space."""

import shutil
from collections import namedtuple
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepcli.cache import open_store
from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.schema.spec import StoreSpec
from stepcli.extract.config import ExtractConfig
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.decode.length import Length
from stepcli.extract.pipeline import window_counts
from stepcli.extract.pipeline.clip_list import load_list
from stepcli.extract.pipeline.plan_recordings import Survey
from stepcli.extract.pipeline.progress import ExtractionProgress
from stepcli.extract.pipeline.window_counts import WindowCounts
from stepcli.extract.sources.windows import with_windows
from stepcli.runtime.errors import UsageError, VideoError

Extract = Callable[..., int]
Usage = namedtuple("Usage", "total used free")
RULE = "4@5fps/2"
WINDOWS = {"long.mp4": 9, "short.mp4": 1, "live.mkv": 4}


@pytest.fixture
def table(write_numbered: Callable[..., Path], tmp_path: Path) -> Path:
    """Recordings of 4, 0.48 and 2 seconds; the last one does not tell its length."""
    write_numbered(tmp_path / "long.mp4", 100)
    write_numbered(tmp_path / "short.mp4", 12)
    write_numbered(tmp_path / "live.mkv", 30, rate=15, container_options={"live": "1"})
    return listing(tmp_path / "all.csv", WINDOWS)


def listing(path: Path, names: Sequence[str] | dict[str, int]) -> Path:
    path.write_text("path,label\n" + "".join(f"{name},x\n" for name in names))
    return path


@pytest.fixture
def windows(extract: Extract, table: Path) -> Extract:
    def run(**changes: Any) -> int:
        return extract(**{"root": table, "windows": RULE, "frames": 4, **changes})

    return run


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def set_free(count: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(1 << 40, 0, count))

    return set_free


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of recordings whose length is asked for; "17.mp4" has 17 steps at 1 per second."""
    asked: list[str] = []

    def told(path: Path, rate: float | None = None) -> Length:
        asked.append(path.stem)
        if path.stem == "broken":
            raise VideoError("damaged")
        return Length(float(path.stem), 25, told=path.suffix != ".mkv")

    monkeypatch.setattr(window_counts, "recording_length", told)
    return asked


def recordings(*names: str) -> list[Clip]:
    return [Clip(name, Path(f"{name}.mp4"), "x") for name in names]


@pytest.fixture
def spec() -> StoreSpec:
    given = {
        "backbone": "b",
        "preprocess": "p",
        "frames": 1,
        "sampling": "windows1fps/1",
        "segments": [{"name": "grid", "count": 1}],
        "dim": 4,
        "layers": (-1,),
        "dtype": "float32",
    }
    return StoreSpec.model_construct(**given)


def test_what_a_dry_run_and_a_run_announce_is_what_is_stored(
    windows: Extract, tmp_path: Path, summaries: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert windows(dry_run=True) == 0
    told = "about 14 windows of 3 recordings, about "
    why = " (1 recording without a length in the file)"
    said = capsys.readouterr().err
    assert f"to extract: {told}" in said
    assert f"{why}; no store at" in said
    assert summaries[-1]["left"] == 14
    assert windows(root=listing(tmp_path / "some.csv", ["short.mp4", "long.mp4"])) == 0
    store = open_store(tmp_path / "store")
    size = store.read(store.ids).astype(np.float16 if store.spec.dtype == "float16" else np.float32)
    assert f"10 windows of 2 recordings, {size.nbytes / 1e3:.1f} kB -> " in capsys.readouterr().err
    assert windows(dry_run=True) == 0
    said = capsys.readouterr().err
    assert (
        "10 windows of 3 recordings done, 0 quarantined; to extract: about 4 windows of 1" in said
    )
    assert summaries[-1]["left"] == 4
    assert summaries[-1]["left_bytes"] == 4 * part_layout(store.spec).clip_bytes
    assert windows() == 0
    assert len(open_store(tmp_path / "store")) == 14
    assert windows(dry_run=True) == 0
    assert "to extract: nothing; store" in capsys.readouterr().err


def test_windows_that_do_not_fit_are_refused_before_the_store_is_made(
    windows: Extract, tmp_path: Path, free: Callable[[int], None], summaries: list[Any]
) -> None:
    known = listing(tmp_path / "known.csv", ["long.mp4", "short.mp4"])
    assert windows(dry_run=True, root=known) == 0
    size = summaries[-1]["left_bytes"]
    free(size - 1)
    with pytest.raises(UsageError, match=r"^10 windows need .*store, where .* are free; ask for"):
        windows(root=known)
    assert not (tmp_path / "store").exists()
    free(size)
    assert windows(root=known) == 0
    free(1)  # a store that is there: what is left counts
    with pytest.raises(UsageError, match=r"^about 4 windows \(1 recording without a length in the"):
        windows()
    assert len(open_store(tmp_path / "store")) == 10


def test_an_estimate_that_may_be_too_high_is_a_warning(
    windows: Extract, tmp_path: Path, free: Callable[[int], None], summaries: list[Any]
) -> None:
    assert windows(dry_run=True) == 0
    clip_bytes = summaries[-1]["left_bytes"] // 14
    free(11 * clip_bytes)  # the one that does not tell has one window at least
    assert windows() == 0
    warnings = [line for line in summaries[-1]["warnings"] if "when the disk is full" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith(
        "about 14 windows (1 recording without a length in the file) need"
    )
    assert len(open_store(tmp_path / "store")) == 14


def test_a_long_list_is_estimated_from_a_sample_that_is_opened_once(
    spec: StoreSpec, lengths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_counts, "SAMPLE", 50)
    clips = recordings(*(str(10 + n) for n in range(1000)))
    counts = WindowCounts(spec)
    amount, each = counts.expected(clips)
    assert len(lengths) == len(set(lengths)) == 50
    truth = sum(10 + n for n in range(1000))
    assert amount.at_least is not None
    assert 0.5 * truth < amount.at_least < truth < amount.ids / 0.7
    assert amount.at_least < amount.ids
    assert amount.basis == "estimated from the lengths of 50 recordings"
    assert set(each) == {clip.id for clip in clips}
    assert sum(each.values()) == pytest.approx(amount.ids, rel=0.02)
    assert all(each[name] == int(name) for name in lengths)
    again, _ = counts.expected(clips)
    assert again == amount
    assert len(lengths) == 50
    # A list of equal recordings leaves no doubt.
    same, _ = WindowCounts(spec).expected([replace(c, path=Path("7.mp4")) for c in clips])
    assert same.ids == same.at_least == 7000


def test_broken_recordings_count_for_nothing(spec: StoreSpec, lengths: list[str]) -> None:
    amount, each = WindowCounts(spec).expected(recordings("3", "broken", "5"))
    assert (amount.ids, amount.at_least, amount.basis) == (8, 8, "")
    assert each == {"3": 3, "broken": 0, "5": 5}
    nothing, each = WindowCounts(spec).expected([])
    assert (nothing.ids, each) == (0, {})


def test_recordings_whose_clock_jumped_are_named(
    windows: Extract,
    write_numbered: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Their windows show one frame for as long as a player would."""
    times = [40 * n + (120_000 if n >= 20 else 0) for n in range(40)]
    write_numbered(tmp_path / "jump.mkv", 40, ticks=times)
    both = listing(tmp_path / "jumps.csv", ["long.mp4", "jump.mkv"])
    assert windows(root=both, dry_run=True) == 0
    (note,) = [one for one in capsys.readouterr().err.splitlines() if "check whether" in one]
    assert note.startswith("note: 1 recording (jump.mkv: 40 frames in 2 min 02 s) with less than")
    plan = Survey(
        load_list(ExtractConfig(dataset="csv", root=both, windows=RULE)).clips, "windows5fps/2", 4
    ).recordings
    assert note in plan.notes()


def test_only_recordings_without_a_stored_window_are_opened(
    windows: Extract, tmp_path: Path, lengths: list[str]
) -> None:
    lengths.clear()
    known = listing(tmp_path / "known.csv", ["long.mp4"])
    store = tmp_path / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window_counts, "recording_length", lambda *_: Length(4.0, 100, told=True))
        assert windows(root=known) == 0
    opened = open_store(store)
    share = with_windows(opened, recordings("long.mp4", "5"))
    left = [replace(share[0], views=share[0].views[3:]), share[1]]
    amount, each = WindowCounts(opened.spec).expected(left, share)
    assert lengths == ["5"]
    assert each["long.mp4"] == 6
    assert amount.ids == 6 + each["5"]


def test_the_total_of_the_progress_begins_at_the_estimate_and_becomes_right(
    windows: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with a recording that is broken, and one whose estimate was wrong."""
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    wrong = {"live.mkv": Length(100.0, 1500, told=False), "long.mp4": Length(1.0, 25, told=True)}
    real = window_counts.recording_length
    monkeypatch.setattr(
        window_counts,
        "recording_length",
        lambda path, rate=None: wrong.get(path.name) or real(path, rate),
    )
    totals: list[tuple[int, int]] = []
    begin, end = ExtractionProgress.__init__, ExtractionProgress.__exit__

    def begun(self: ExtractionProgress, total: int, *rest: Any) -> None:
        totals.append((total, 0))
        begin(self, total, *rest)

    def ended(self: ExtractionProgress, *error: object) -> None:
        totals.append((self._total or 0, self.done))
        end(self, *error)

    monkeypatch.setattr(ExtractionProgress, "__init__", begun)
    monkeypatch.setattr(ExtractionProgress, "__exit__", ended)
    assert windows(root=listing(tmp_path / "four.csv", [*WINDOWS, "broken.mp4"])) == 3
    assert totals == [(249 + 2 + 1, 0), (9 + 1 + 4 + 1, 15)]
