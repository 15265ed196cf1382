"""Trained probes on new videos: the answers that extracting and evaluating would have given."""

import csv
import io
import json
import shutil
import sys
import weakref
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from command_line import call

from stepcli.apply.pictures.stored_frames import frames_at, stored_frames
from stepcli.apply.prediction.api import load_probe, predict, train
from stepcli.apply.prediction.probes import Applied
from stepcli.apply.prediction.stream import RollingWindow, open_stream
from stepcli.apply.prediction.windows import plan_windows, video_times, window_tokens
from stepcli.cache.store.store import open_store
from stepcli.probe.analysis.calibration import softmax
from stepcli.probe.runs.predictions import read_predictions
from stepcli.runtime.errors import UsageError, VideoError

sys.path.insert(0, str(Path(__file__).parents[2]))  # for virtual_device.py

from virtual_device import virtual_cuda

CLIPS = Path(__file__).parents[3] / "examples" / "openclose" / "clips"


@pytest.fixture(scope="module")
def applied(runs: dict[str, Path]) -> Applied:
    return Applied([runs["linear"], runs["step"]], "cpu")


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two actions one after the other, 2 x 60 frames at 20 a second."""
    path = tmp_path_factory.mktemp("video") / "both.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width = stream.height = 224
        for label in ("handle-press", "handle-pull"):
            with av.open(str(CLIPS / label / "004.mp4")) as source:
                pictures = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
            for number in range(60):
                picture = pictures[number * len(pictures) // 60]
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_video_gets_the_answer_of_extraction_and_evaluation(
    work: Path, runs: dict[str, Path]
) -> None:
    videos = [CLIPS / label / "004.mp4" for label in ("handle-press", "handle-pull")]
    words = [word for video in videos for word in ("--video", video)]
    probes = [runs[name] for name in ("linear", "step", "duration")]
    found = json.loads(call("predict", *probes, *words, "--format", "json"))
    assert [Path(each["video"]).parent.name for each in found] == [
        *(["handle-press"] * 3 + ["handle-pull"] * 3)
    ]
    for each in found:
        said = read_predictions(work / "runs" / each["run"])
        clip = f"{Path(each['video']).parent.name}-4"
        expected = softmax(said.logits)[said.clips.index(clip)]
        classes = json.loads((work / "runs" / each["run"] / "run.json").read_text())["classes"]
        (window,) = each["windows"]
        got = {entry["label"]: entry["probability"] for entry in window["top"]}
        assert [got[name] for name in classes] == pytest.approx(expected, abs=2e-4)
        assert window["said"] == classes[int(expected.argmax())]


@pytest.mark.parametrize("chosen", [(), ("--temporal-crop",)], ids=["spread", "crops"])
def test_a_short_video_is_padded_as_in_the_store(chosen: tuple[str, ...], tmp_path: Path) -> None:
    rows = ["id,path,label,split"]
    random = np.random.default_rng(0)
    for number in range(8):
        path = tmp_path / f"{number}.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.width = stream.height = 64
            for _ in range(3 + number // 2):
                picture = random.integers(0, 256, (64, 64, 3)).astype(np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        rows.append(f"{number},{path},{'ab'[number % 2]},{'test' if number % 4 > 1 else 'train'}")
    (tmp_path / "clips.csv").write_text("\n".join(rows))
    call(
        *("extract", "--dataset", "csv", "--root", tmp_path / "clips.csv", "--frames", 6),
        *("--backbone", "mobilenet_v2-bundled", "--tokens", "grid1", "--short", "pad"),
        *("--store", tmp_path / "store"),
    )
    call(
        *("probe", "--method", "concat", "--epochs", 3, "--seeds", 1, "--clip-frames", 4, *chosen),
        *("--store", tmp_path / "store", "--runs", tmp_path / "runs"),
    )
    (folder,) = (tmp_path / "runs").glob("concat-*")
    said = read_predictions(folder)
    applied = Applied([folder], "cpu")
    for clip in dict.fromkeys(said.clips):
        video = tmp_path / f"{clip}.mp4"
        (window,) = plan_windows(video_times(video), applied, clip, None, None)
        ((_, tokens),) = window_tokens(video, [window], applied)
        logits = applied.probes[0].logits(tokens, applied.device)
        expected = said.logits[[row for row, name in enumerate(said.clips) if name == clip]]
        assert logits == pytest.approx(expected, abs=2e-3)


def test_probes_share_one_pass_of_the_backbone(applied: Applied) -> None:
    passes: list[int] = []
    frames = applied.frame_tokens
    video = CLIPS / "handle-pull" / "004.mp4"

    def counted(pictures: np.ndarray) -> np.ndarray:
        passes.append(len(pictures))
        return frames(pictures)

    applied.frame_tokens = counted  # type: ignore[method-assign]
    windows = plan_windows(video_times(video), applied, "x", 0.5, 0.125)
    clips = list(window_tokens(video, windows, applied))
    applied.frame_tokens = frames  # type: ignore[method-assign]
    assert len(clips) == len(windows) > 3
    # Overlapping windows look at some frames together; each is computed once.
    assert sum(passes) == len({frame for window in windows for frame in window.frames})
    assert sum(passes) < sum(len(window.frames) for window in windows)


def test_windows_cover_a_video_to_its_end(applied: Applied, long_video: Path) -> None:
    times = video_times(long_video)
    assert len(times) == 120
    windows = plan_windows(times, applied, "x", 2.0, None)
    assert [window.start for window in windows] == pytest.approx([0, 1, 2, 3, 4])
    assert windows[-1].end == pytest.approx(6)
    assert windows[-1].frames == (85, 95, 104, 114)
    (whole,) = plan_windows(times, applied, "x", None, None)
    assert whole.frames == (15, 45, 74, 104)


def test_a_long_video_becomes_a_timeline(
    runs: dict[str, Path], long_video: Path, tmp_path: Path
) -> None:
    words = ("--video", long_video, "--window", "2", "--out", tmp_path / "out")
    text = call("predict", runs["linear"], *words)
    assert "00:00:00.000 - " in text
    assert "- 00:00:06.000" in text
    assert max(map(len, text.splitlines())) <= 80
    (json_file,) = (tmp_path / "out").glob("both.linear-*.json")
    (found,) = json.loads(json_file.read_text())
    ends = [(each["start_seconds"], each["end_seconds"]) for each in found["timeline"]]
    assert ends[0][0] == 0
    assert ends[-1][1] == 6
    assert all(before[1] == after[0] for before, after in pairwise(ends))
    assert json_file.with_suffix(".srt").read_text().startswith("1\n00:00:00,000 --> ")
    assert b"<svg" in json_file.with_suffix(".svg").read_bytes()


def test_a_window_as_long_as_the_training_clips(runs: dict[str, Path], long_video: Path) -> None:
    rows = call(
        *("predict", runs["linear"], "--video", long_video, "--window", "auto"),
        *("--format", "csv", "--top", 1),
    )
    lines = list(csv.DictReader(io.StringIO(rows)))
    lengths = {round(float(r["end_seconds"]) - float(r["start_seconds"]), 2) for r in lines}
    assert len(lines) > 4
    assert max(lengths) < 3


def test_a_stream_gives_the_logits_of_the_same_frames(applied: Applied, long_video: Path) -> None:
    window = RollingWindow(applied, 2.0)
    taken: list[np.ndarray] = []
    seconds: list[float] = []
    with open_stream(str(long_video), None) as frames:
        for frame in frames:
            if frame.ended or not window.wants(frame.time or 0.0):
                continue
            taken.append(frame.picture())
            seconds.append(frame.time or 0.0)
            full = window.push(taken[-1], seconds[-1])
            assert full == (len(taken) >= 4)
            if not full:
                continue
            shaped = np.stack([applied.plan.shape_pixels(picture) for picture in taken[-4:]])
            batch = applied.clip(applied.frame_tokens(shaped), seconds[-4:])
            for probe in applied.probes:
                live = probe.logits(window.look().clip, applied.device)
                assert live == pytest.approx(probe.logits(batch, applied.device), abs=1e-4)
    assert seconds == pytest.approx(np.arange(12) * 0.5)
    looked = window.look()
    assert (looked.start, looked.end) == (seconds[-4], seconds[-1])


def test_a_stream_is_answered_line_by_line(runs: dict[str, Path], long_video: Path) -> None:
    text = call(
        *("predict", runs["linear"], runs["step"], "--stream", long_video),
        *("--window", "2", "--stride", "1"),
    )
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["run"] for line in lines} == {runs["linear"].name, runs["step"].name}
    assert [line["end_seconds"] for line in lines[::2]] == [1.5, 2.5, 3.5, 4.5, 5.5]


def test_a_stream_too_short_for_its_window_is_an_error(
    runs: dict[str, Path], long_video: Path
) -> None:
    said = call("predict", runs["linear"], "--stream", long_video, "--window", "60", code=1)
    assert "ended after 5.95 s, before its first window of 60 s was full" in said


def test_calibrated_probabilities_and_abstention(work: Path, runs: dict[str, Path]) -> None:
    video = CLIPS / "handle-pull" / "004.mp4"
    assert "no calibration" in call(
        *("predict", runs["linear"], "--video", video, "--risk", "0.05"), code=2
    )
    kept = runs["linear"] / "calibration.json"
    kept.write_text(
        json.dumps({"temperature": 2.0, "samples": 9, "thresholds": {"0.05": None, "0.1": 0.0}})
    )
    plain: dict[str, Any]
    (plain,) = json.loads(
        call("predict", runs["linear"], "--video", video, "--format", "json", "--risk", "0.1")
    )
    assert plain["temperature"] == 2
    assert plain["windows"][0]["said"] in ("handle-press", "handle-pull")
    text = call("predict", runs["linear"], "--video", video, "--risk", "0.05")
    assert "(unsure)" in text
    assert "choose one of 0.05, 0.1" in call(
        *("predict", runs["linear"], "--video", video, "--risk", "0.07"), code=2
    )
    kept.unlink()


def test_a_backbone_with_other_weights_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / runs["linear"].name
    shutil.copytree(runs["linear"], folder)
    record = json.loads((folder / "run.json").read_text())
    record["spec"]["weights_digest"] = "0" * 64
    (folder / "run.json").write_text(json.dumps(record))
    video = CLIPS / "handle-pull" / "004.mp4"
    said = call("predict", folder, "--video", video, code=2)
    assert "not the one that the probes were trained on" in said
    assert "weights_digest" in said
    assert "reads other tokens" in call("predict", runs["step"], folder, "--video", video, code=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "nothing to look at"),
        ("--video {video} --window soon", "expected seconds above 0, auto or all"),
        ("--video {video} --window -1", "expected seconds above 0"),
        ("--video {video} --stride 1", "--stride 1: only windows slide; give --window"),
        ("--video {video} --stream {video}", "are two inputs: give one"),
        ("--video {video} --risk 2", "--risk 2: expected a share above 0 and below 1"),
        ("--video {video} --risk 0", "--risk 0: expected a share above 0 and below 1"),
        ("--video {video} --risk nan", "--risk nan: expected a share above 0 and below 1"),
        ("--stream {video}", "needs the length of its window"),
        ("--stream {video} --window 2 --out x", "--out and csv need --video"),
        ("--stream {video} --window 2 --risk 0.05", "no calibration"),
    ],
)
def test_bad_input_is_one_line(words: str, message: str, runs: dict[str, Path]) -> None:
    video = CLIPS / "handle-pull" / "004.mp4"
    said = call("predict", runs["linear"], *words.format(video=video).split(), code=2)
    assert message in said
    assert len(said.strip().splitlines()) == 1


def test_no_answer_is_written_in_place_of_another(runs: dict[str, Path], tmp_path: Path) -> None:
    video = tmp_path / "004.mp4"
    shutil.copy(CLIPS / "handle-press" / "004.mp4", video)
    shutil.copy(video, tmp_path / "004.m4v")
    said = call("predict", runs["linear"], "--video", tmp_path, "--out", tmp_path / "out", code=2)
    assert f"004.{runs['linear'].name} would be written twice" in said
    assert not (tmp_path / "out").exists()


def test_stored_frames_are_what_the_backbone_saw(work: Path, applied: Applied) -> None:
    store = open_store(work / "store")
    pictures = stored_frames(store, "handle-pull-0")
    assert pictures.shape == (4, 224, 224, 3)
    again = applied.clip(applied.frame_tokens(pictures), (0.0, 0.5, 1.0, 1.5)).tokens.numpy()
    stored = store.read_floats(["handle-pull-0"])[0]
    assert np.abs(again - stored).max() < 0.01 * np.abs(stored).max()


def test_a_clip_whose_video_is_gone_has_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(VideoError):
        frames_at(tmp_path / "gone.mp4", [0.0])
    with pytest.raises(VideoError, match="another video now"):
        frames_at(CLIPS / "handle-pull" / "000.mp4", [0.0, 60.0])


def test_the_api_trains_loads_and_predicts(work: Path, applied: Applied) -> None:
    shared = {"epochs": 3}
    # The same settings as the command's: nothing is trained again.
    (record,) = train(work / "store", "linear", runs=work / "runs", shared=shared, device="cpu")
    assert record.run == applied.probes[0].name
    videos = [CLIPS / label / "004.mp4" for label in ("handle-press", "handle-pull")]
    found = predict(load_probe(work / "runs" / record.run, device="cpu"), videos, top=1)
    assert [Path(each["video"]).parent.name for each in found] == ["handle-press", "handle-pull"]
    assert [len(each["windows"][0]["top"]) for each in found] == [1, 1]
    assert predict(applied, videos[0])[0]["windows"][0]["said"] == found[0]["windows"][0]["said"]
    with pytest.raises(UsageError, match="needs the folder"):
        load_probe()


def test_a_long_video_is_never_kept(applied: Applied, long_video: Path) -> None:
    batches: list[weakref.ref[np.ndarray]] = []
    frames = applied.frame_tokens

    def watched(pictures: np.ndarray) -> np.ndarray:
        made = frames(pictures)
        batches.append(weakref.ref(made))
        return made

    windows = plan_windows(video_times(long_video), applied, "x", 0.4, 0.2)
    applied.frame_tokens = watched  # type: ignore[method-assign]
    alive = [
        sum(batch() is not None for batch in batches)
        for _ in window_tokens(long_video, windows, applied)
    ]
    applied.frame_tokens = frames  # type: ignore[method-assign]
    assert len(alive) == len(windows)
    # What later windows look at begins at most one batch before the newest.
    assert max(alive) <= 2 < len(batches)


def test_a_gpu_gives_the_answers_of_the_cpu(runs: dict[str, Path], long_video: Path) -> None:
    def chances(device: str) -> list[float]:
        answers = predict(load_probe(*runs.values(), device=device), long_video, 2, window=2.0)
        return [top["probability"] for e in answers for a in e["windows"] for top in a["top"]]

    with virtual_cuda():
        found = chances("cuda")
    assert found == pytest.approx(chances("cpu"), abs=1e-4)
