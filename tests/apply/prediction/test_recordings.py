"""Probes of recordings on videos: the frames, windows and labels of extraction and `dense`."""

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from command_line import call, invoke

from stepcli.cache import open_store
from stepcli.probe.analysis.dense import TruthTable, label_recordings, score
from stepcli.probe.analysis.dense_scores import write_scores
from stepcli.probe.analysis.frame_scores import Smoothing
from stepcli.probe.runs.predictions import read_predictions

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
    """Two recordings to train on, one to test: a store, a run, and its choice of smoothing."""
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


def test_a_stream_looks_at_windows_of_the_same_length(made: Path) -> None:
    printed = call("predict", run_of(made), "--stream", made / "r2.mp4", "--device", "cpu")
    lines = [json.loads(line) for line in printed.splitlines()]
    assert lines
    assert all(
        line["end_seconds"] - line["start_seconds"] == pytest.approx(1.0, abs=0.11)
        for line in lines
    )


def test_another_window_is_refused(made: Path) -> None:
    done = invoke(
        *("predict", run_of(made), "--video", made / "r2.mp4", "--window", "3", "--device", "cpu")
    )
    assert done.exit_code == 2
    assert "windows of 5 frames at 4 per second" in done.stderr


def test_a_choice_of_smoothing_that_is_none_is_refused(made: Path, tmp_path: Path) -> None:
    import shutil

    run = tmp_path / run_of(made).name
    shutil.copytree(run_of(made), run)
    (run / "dense.json").write_text('{"smoothing": {"reach": -1, "shortest": 1}}')
    done = invoke("predict", run, "--video", made / "r2.mp4", "--device", "cpu")
    assert done.exit_code == 2
    assert "stepcli dense" in done.stderr
