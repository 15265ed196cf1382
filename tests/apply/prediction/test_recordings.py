"""Probes of recordings on videos: the frames, windows and labels of extraction and `dense`."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from command_line import call, invoke

from stepcli.apply.prediction.probes import Applied
from stepcli.apply.prediction.stream import recording_windows
from stepcli.cache import open_store
from stepcli.cache.schema.windows import window_rule
from stepcli.extract.decode.live import Offer
from stepcli.probe.analysis.dense import TruthTable, label_recordings, score
from stepcli.probe.analysis.dense_scores import read_scores, write_scores
from stepcli.probe.analysis.frame_scores import Smoothing
from stepcli.probe.runs.predictions import read_predictions
from stepcli.runtime.errors import VideoError

HOW = Smoothing(reach=1, shortest=2)


def write_recording(path: Path, clips: list[Path]) -> None:
    """Clips one after the other, at 10 frames per second."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=10)
        stream.pix_fmt, stream.height, stream.width = "yuv420p", 224, 224
        for clip in clips:
            with av.open(str(clip)) as source:
                for number, frame in enumerate(source.decode(video=0)):
                    if number == 20:
                        break
                    image = av.VideoFrame.from_ndarray(
                        frame.to_ndarray(format="rgb24"), format="rgb24"
                    )
                    container.mux(stream.encode(image))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Path:
    """Two recordings to train on, one to test: a store, a run, and its choice of smoothing; a run
    that foretells."""
    folder = tmp_path_factory.mktemp("recordings")
    clips = project / "examples" / "openclose" / "clips"
    lines = ["path,label,start_seconds,end_seconds,split"]
    for number, split in enumerate(("train", "train", "test")):
        names = ("door-open", "drawer-close", "door-open")
        write_recording(
            folder / f"r{number}.mp4", [clips / name / f"00{number}.mp4" for name in names]
        )
        spans = (("open", 0, 2), ("close", 2, 4), ("open", 4, 6))
        lines += [f"r{number}.mp4,{name},{a},{b},{split}" for name, a, b in spans]
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    call(
        *("extract", "--dataset", "csv", "--root", folder / "list.csv", "--windows", "5@4fps/2"),
        *("--backbone", "mobilenet_v2-bundled", "--tokens", "grid2", "--dtype", "float32"),
        *("--store", folder / "store", "--device", "cpu"),
    )
    call(
        *("probe", "--task", "dense", "--method", "linear", "--epochs", "5", "--device", "cpu"),
        *("--store", folder / "store", "--runs", folder / "runs"),
    )
    (run,) = (folder / "runs").iterdir()
    store, said = open_store(folder / "store"), read_predictions(run)
    classes = json.loads((run / "run.json").read_text())["classes"]
    write_scores(run, score(said, TruthTable(store, classes), classes, 5, HOW, "a test"))
    call(
        *("probe", "--task", "anticipate", "--horizon", "0.5", "--method", "linear,step"),
        *("--epochs", "3", "--device", "cpu"),
        *("--store", folder / "store", "--runs", folder / "next"),
    )
    return folder


def run_of(folder: Path) -> Path:
    (run,) = (folder / "runs").iterdir()
    return run


def test_a_video_gets_the_labels_of_its_extracted_recording(made: Path) -> None:
    run = run_of(made)
    found = json.loads(
        call("predict", run, "--video", made / "r2.mp4", "--format", "json", "--device", "cpu")
    )
    said = read_predictions(run)
    classes = json.loads((run / "run.json").read_text())["classes"]
    table = TruthTable(open_store(made / "store"), classes)
    (expected,) = label_recordings(said, table, 5, HOW)
    steps = found[0]["windows"]
    assert len(steps) == len(expected.labels) == 24
    assert [step["said"] for step in steps] == [classes[label] for label in expected.labels]
    for step, scores in zip(steps, expected.scores, strict=True):
        chances = {each["label"]: each["probability"] for each in step["top"]}
        assert chances == pytest.approx(
            {classes[i]: scores[i] for i in np.argsort(-scores)}, abs=1e-4
        )
    kept = json.loads((run / "dense.json").read_text())["recordings"]["r2"]["predicted"]
    timeline = [[t["start_seconds"], t["end_seconds"], t["said"]] for t in found[0]["timeline"]]
    assert [each for each in timeline if each[2] != "background"] == kept


STREAMS = {
    "every frame": [],
    "fewer frames than steps": ["-r", "3"],
    "no frame on a step": ["-r", "7"],
    "shorter than a window": ["-t", "0.8"],
    "one frame": ["-frames:v", "1"],
}


def rewritten(video: Path, out: Path, options: Sequence[str]) -> Path:
    """The video at another rate or length, as a player would read it from a pipe."""
    rate = int(options[1]) if options[:1] == ["-r"] else 10
    most = {"-t": 8, "-frames:v": 1}.get(options[0], 60 * rate // 10) if options else 60
    with av.open(str(video)) as source, av.open(str(out), "w") as target:
        pictures = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
        stream: Any = target.add_stream("ffv1", rate=rate)
        stream.pix_fmt, stream.height, stream.width = "bgr0", 224, 224
        for number in range(most):
            picture = pictures[number * 10 // rate]
            target.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        target.mux(stream.encode())
    return out


def windows_of(video: Path, runs: Sequence[Path]) -> list[dict[str, Any]]:
    """What runs say of a video's windows, as lines of a stream."""
    words = ("--video", video, "--format", "json", "--device", "cpu")
    found = json.loads(call("predict", *runs, *words))
    lines = [{"run": one["run"], **window} for one in found for window in one["windows"]]
    for line in lines:
        line["top"] = [[each["label"], each["probability"]] for each in line["top"]]
    return sorted(lines, key=lambda each: (each["start_seconds"], each["run"]))


def same_lines(lines: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    lines = sorted(lines, key=lambda each: (each["start_seconds"], each["run"]))
    for line, window in zip(lines, expected, strict=True):
        assert dict(line.pop("top")) == pytest.approx(dict(window.pop("top")), abs=1e-4)
        assert line == window


@pytest.mark.parametrize("how", STREAMS)
def test_a_stream_says_what_the_video_gets(how: str, made: Path, tmp_path: Path) -> None:
    """The same windows and answers, also foretold ones."""
    video = rewritten(made / "r2.mp4", tmp_path / "r2.mkv", STREAMS[how])
    runs = sorted((made / "next").glob("*-*"))
    expected = windows_of(video, runs)
    printed = call("predict", *runs, "--stream", video, "--device", "cpu")
    assert len(expected) >= 2
    if how == "every frame":
        # 0.5 s after the window's last frame, which is shown at 1 s.
        assert expected[0]["action_start_seconds"] == 1.5
    same_lines([json.loads(line) for line in printed.splitlines()], expected)


def test_a_pipe_is_answered_before_it_ends(made: Path, tmp_path: Path) -> None:
    """Each answer is about frames that have come: the pipe is still open."""
    (run,) = (made / "next").glob("linear-*")
    program = [sys.executable, "-m", "stepcli.cli", "predict", str(run), "--stream", "-"]
    video = rewritten(made / "r2.mp4", tmp_path / "live.mkv", [])
    content = video.read_bytes()
    with subprocess.Popen(
        [*program, "--device", "cpu"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(content[: 9 * len(content) // 10])
        running.stdin.flush()
        lines = [json.loads(running.stdout.readline())]
        running.stdin.write(content[9 * len(content) // 10 :])
        running.stdin.close()
        lines += [json.loads(line) for line in running.stdout]
    assert running.returncode == 0
    same_lines(lines, windows_of(video, [run]))


def test_a_stream_that_stands_still_begins_anew(made: Path) -> None:
    """Minutes without a frame are not answered about; the windows after them are whole."""
    applied = Applied([run_of(made)], "cpu")
    picture = np.zeros((224, 224, 3), np.uint8)

    class Shown(Offer):
        def picture(self) -> np.ndarray:
            return picture

        before = picture

    times = [*np.arange(20) / 10, *(300 + np.arange(20) / 10)]
    frames = [Shown(time, iter(())) for time in times] + [Shown(None, iter(()), ended=True)]
    rule = window_rule(applied.spec.sampling)
    assert rule is not None
    starts = [window.start for window in recording_windows(frames, applied, rule)]
    assert starts == [0, 0.5, 300, 300.5, 300.75]
    with pytest.raises(VideoError, match="without a frame"):
        list(recording_windows(frames[-1:], applied, rule))


def test_what_travels_predicts_the_same(made: Path, tmp_path: Path) -> None:
    """Exported, pushed and pulled: smoothing, temperature and horizon go with a probe."""
    run = tmp_path / "runs" / run_of(made).name
    shutil.copytree(run_of(made), run)
    kept = {"temperature": 3.0, "samples": 9, "thresholds": {"0.05": 0.3}}
    (run / "calibration.json").write_text(json.dumps(kept))
    (foretells,) = (made / "next").glob("step-*")
    call("export", run, foretells, "--out", tmp_path / "exported")
    call("push", run, "--to", tmp_path / "pushed")
    call("pull", tmp_path / "pushed" / run.name, "--out", tmp_path / "pulled")
    words = ("--video", made / "r2.mp4", "--format", "json", "--device", "cpu")
    expected = call("predict", run, *words, "--risk", "0.05")
    assert expected != call("predict", run_of(made), *words)
    for place in ("exported", "pushed", "pulled"):
        assert call("predict", tmp_path / place / run.name, *words, "--risk", "0.05") == expected
        # Whose recordings it was tested on is nobody's business.
        assert read_scores(tmp_path / place / run.name).recordings == {}  # type: ignore[union-attr]
    (tmp_path / "pulled" / run.name / "dense.json").unlink()
    assert call("predict", tmp_path / "pulled" / run.name, *words, "--risk", "0.05") != expected
    exported = tmp_path / "exported" / foretells.name
    assert call("predict", exported, *words) == call("predict", foretells, *words)
    assert "F1@50" in (tmp_path / "exported" / run.name / "README.md").read_text()
    # In its own folder nothing is taken away.
    call("export", run, "--out", run.parent)
    assert read_scores(run).recordings  # type: ignore[union-attr]


def test_another_window_is_refused(made: Path) -> None:
    done = invoke(
        *("predict", run_of(made), "--video", made / "r2.mp4", "--window", "3", "--device", "cpu")
    )
    assert done.exit_code == 2
    assert "windows of 5 frames at 4 per second" in done.stderr


def test_a_choice_of_smoothing_that_is_none_is_refused(made: Path, tmp_path: Path) -> None:
    run = tmp_path / run_of(made).name
    shutil.copytree(run_of(made), run)
    (run / "dense.json").write_text('{"smoothing": {"reach": -1, "shortest": 1}}')
    done = invoke("predict", run, "--video", made / "r2.mp4", "--device", "cpu")
    assert done.exit_code == 2
    assert "stepcli dense" in done.stderr
