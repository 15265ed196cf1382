"""A plan of recordings says what extraction then stores."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from stepcli.cache import open_store
from stepcli.cli import app
from stepcli.extract.config import ExtractConfig
from stepcli.extract.pipeline import plan_recordings
from stepcli.extract.pipeline.backbone_runner import BackboneRunner, Encoded
from stepcli.extract.pipeline.plan import Plan, describe, make_plan
from stepcli.extract.pipeline.plan_recordings import Survey
from stepcli.extract.pipeline.prepare import prepare
from stepcli.runtime.errors import UsageError

RULE = "4@5fps/2"
WINDOWS = {"long.mp4": 9, "short.mp4": 1, "fast.mkv": 7, "slow.avi": 14, "live.mkv": 4}


@pytest.fixture
def table(write_numbered: Callable[..., Path], tmp_path: Path) -> Path:
    """Recordings of 4, 0.48, 3.1, 6 and 2 seconds; at 3 frames per second steps show one twice."""
    write_numbered(tmp_path / "long.mp4", 100)
    write_numbered(tmp_path / "short.mp4", 12)
    write_numbered(tmp_path / "fast.mkv", 93, rate=30)
    write_numbered(tmp_path / "slow.avi", 18, rate=3, codec="mpeg4")
    write_numbered(tmp_path / "live.mkv", 30, rate=15, container_options={"live": "1"})
    path = tmp_path / "recordings.csv"
    path.write_text("path,label\n" + "".join(f"{name},x\n" for name in WINDOWS))
    return path


@pytest.fixture
def asked(
    table: Path, model_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., ExtractConfig]:
    monkeypatch.setattr(plan_recordings, "FIRST_STEPS", 100)  # one trial, of all of them

    def make(family: str = "dinov2", **changes: Any) -> ExtractConfig:
        backbone = f"hf:{model_folder(family)}"
        settings = {"dataset": "csv", "root": table, "backbone": backbone, "windows": RULE}
        return ExtractConfig(**{**settings, "device": "cpu", "workers": 1, **changes})

    return make


def test_windows_frames_and_bytes_are_those_of_the_extraction(
    asked: Callable[..., ExtractConfig],
    extract: Callable[..., int],
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = make_plan(asked(), tmp_path, 1, ("grid2",))
    passes: list[int] = []
    frames = BackboneRunner.encoded_frames

    def noted(self: BackboneRunner, pictures: torch.Tensor) -> list[Encoded]:
        passes.append(len(pictures))
        return frames(self, pictures)

    monkeypatch.setattr(BackboneRunner, "encoded_frames", noted)
    assert extract(root=table, windows=RULE, tokens="grid2", dtype="float32") == 0
    store = open_store(tmp_path / "store")
    assert len(store) == sum(WINDOWS.values()) == made.stored
    (cost,) = (cost for cost in made.layouts if cost.dtype == "float32")
    assert cost.total_bytes == store.read(store.ids).nbytes
    assert made.recordings is not None
    assert made.recordings.frames == sum(passes)
    assert made.recordings.seconds == pytest.approx(4 + 0.48 + 3.1 + 6 + 2)
    assert made.recordings.estimated == ("live.mkv",)
    assert made.clips == 5
    assert made.hours > 0


def plan(config: ExtractConfig, *more: str) -> str:
    words = f"plan --dataset csv --root {config.root} --backbone {config.backbone} --device cpu"
    said = CliRunner().invoke(app, [*words.split(), "--windows", RULE, "--tokens", "cls", *more])
    assert said.exit_code == 0, said.output
    return said.stdout


def test_the_command_names_recordings_that_it_cannot_count(
    asked: Callable[..., ExtractConfig], table: Path, tmp_path: Path
) -> None:
    (tmp_path / "noise.mp4").write_bytes(b"no video at all")
    with table.open("a") as file:
        file.write("noise.mp4,x\ngone.mp4,x\n")
    place = ("--stores", str(tmp_path / "stores"))
    lines = plan(asked(), *place).splitlines()
    assert lines[0] == "5 recordings, 16 s in all, give 35 windows"
    assert lines[1].startswith("67 frames for the backbone, ")
    assert "1 recording (live.mkv)" in lines[2]
    assert "2 recordings (noise.mp4: not a video" in lines[3]
    assert "gone.mp4: cannot be read" in lines[3]
    assert "recommended: --tokens cls --dtype float16" in lines[-1]
    found = json.loads(plan(asked(), *place, "--json", "--limit", "3"))
    assert found["stored"] == found["recordings"]["windows"]
    assert (
        found["clips"] == found["recordings"]["count"] == 3 - len(found["recordings"]["unreadable"])
    )
    assert found["hours"] == pytest.approx(found["clips"] * found["clip_seconds"] / 3600)
    assert not (tmp_path / "stores").exists()


def test_recordings_nobody_can_open_are_an_error(
    asked: Callable[..., ExtractConfig], tmp_path: Path
) -> None:
    (tmp_path / "bad.csv").write_text("path,label\ngone.mp4,x\n")
    with pytest.raises(UsageError, match="none of 1 recordings tried could be read"):
        make_plan(asked(root=tmp_path / "bad.csv"), tmp_path, 4)


@pytest.mark.parametrize(
    ("family", "changes", "named"),
    [
        ("dinov2", {"views": "three-crops"}, "--views"),
        ("dinov2", {"sampling": "dense2"}, "--sampling"),
        ("dinov2", {"train_views": 2}, "--train-views"),
        ("dinov2", {"frames": 7}, "leave --frames out"),
        ("videomae", {}, "depend on the whole clip"),
    ],
)
def test_what_windows_cannot_do_is_refused(
    asked: Callable[..., ExtractConfig],
    tmp_path: Path,
    family: str,
    changes: dict[str, Any],
    named: str,
) -> None:
    with pytest.raises(UsageError, match=named):
        make_plan(asked(family, **changes), tmp_path, 1)


@pytest.mark.parametrize(("start", "each"), [(0.5, 0.2), (1.0, 0.05), (0.0, 2.0)])
def test_hours_are_those_of_all_frames_and_all_starts(
    asked: Callable[..., ExtractConfig],
    monkeypatch: pytest.MonkeyPatch,
    start: float,
    each: float,
) -> None:
    """On a machine of known speed, where a trial takes as long as its recordings and frames."""
    config = asked()
    prepared = prepare(config)
    from stepcli.extract.pipeline.clip_list import load_list

    survey = Survey(load_list(config).clips, prepared.spec.sampling, 4)
    untils: list[float] = []

    def timed(prepared: Any, clips: Any, until: float) -> tuple[float, set[str]]:
        untils.append(until)
        frames = sum(survey.frames_of(clip.id, until) for clip in clips)
        return start * len(clips) + each * frames, {clip.id for clip in clips}

    monkeypatch.setattr(plan_recordings, "_trial", timed)
    monkeypatch.setattr(plan_recordings, "FIRST_STEPS", 2)
    seconds = survey.extraction_seconds(prepared, 5)
    assert seconds == pytest.approx(5 * start + 67 * each)
    # Longer and longer, until the frames take long enough or all were read.
    assert untils == ([0.4, 0.4] if each == 2 else [0.4, 0.4, 1.6, 6.4])


def test_text_of_a_plan_counts_frames_not_clips() -> None:
    found = plan_recordings.Recordings(2, 7200.0, 1797, 28_800, (), {})
    first, second = describe(Plan(2, 1797, 1440.0, 10**9, (), found)).splitlines()[:2]
    assert first == "2 recordings, 2 h 00 min in all, give 1,797 windows"
    assert second == (
        "28,800 frames for the backbone, 100 ms each on this machine: 48 min 00 s; 1.0 GB free"
    )
