"""`predict` over folders, patterns and many videos; how its answers are headed and named."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from command_line import call, invoke

CLIPS = Path(__file__).parents[3] / "examples" / "openclose" / "clips"


@pytest.fixture(scope="module")
def folder_of_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of one name, one that is cut off, and a file that is no video."""
    folder = tmp_path_factory.mktemp("folder") / "videos"
    for label in ("handle-press", "handle-pull"):
        (folder / label).mkdir(parents=True)
        shutil.copy(CLIPS / label / "004.mp4", folder / label)
    whole = (folder / "handle-pull" / "004.mp4").read_bytes()
    (folder / "handle-pull" / "cut.mp4").write_bytes(whole[: len(whole) // 8])
    (folder / "notes.txt").write_text("no video")
    return folder


def test_a_broken_video_costs_its_own_answer(
    runs: dict[str, Path], folder_of_videos: Path, tmp_path: Path
) -> None:
    rest = ("--video", folder_of_videos, "--out", tmp_path / "out")
    done = invoke("predict", runs["linear"], *rest)
    assert done.exit_code == 3
    whole = [folder_of_videos / label / "004.mp4" for label in ("handle-press", "handle-pull")]
    assert all(
        f"{path}\n  linear, task classify, seed 0, store store (unc" in done.stdout
        for path in whole
    )
    assert f"error: {folder_of_videos / 'handle-pull' / 'cut.mp4'}: not a video" in done.stderr
    assert "1 of 3 videos could not be read" in done.stderr
    written = sorted((tmp_path / "out").glob("*/004.*.json"))
    assert [path.parent.name for path in written] == ["handle-press", "handle-pull"]
    found = [json.loads(path.read_text())[0]["video"] for path in written]
    assert found == [str(path) for path in whole]
    alone = call("predict", runs["linear"], "--video", folder_of_videos / "gone.mp4", code=3)
    assert (
        alone == f"error: {folder_of_videos}/gone.mp4: cannot be read (No such file or directory)\n"
    )


def test_videos_are_folders_patterns_and_what_a_shell_expands(
    runs: dict[str, Path], folder_of_videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [str(folder_of_videos / label / "004.mp4") for label in ("handle-press", "handle-pull")]
    form = ("--format", "csv", "--top", 1)
    pattern = folder_of_videos / "**" / "0*.mp4"
    first = call("predict", runs["linear"], "--video", pattern, *form)
    rows = list(csv.DictReader(io.StringIO(first)))
    assert [row["video"] for row in rows] == whole
    # As after `--video folder/*/0*.mp4`: the first is the option's, the others are arguments.
    expanded = call("predict", runs["linear"], "--video", whole[0], whole[1], *form)
    assert sorted(expanded.splitlines()) == sorted(first.splitlines())
    # A run by the beginning of its name, and every run of a folder.
    monkeypatch.setenv("STEPCLI_RUNS", str(runs["linear"].parent))
    assert call("predict", "linear", *whole, *form) == first
    every = json.loads(call("predict", runs["linear"].parent, whole[0], "--format", "json"))
    assert sorted(each["method"] for each in every) == ["duration", "linear", "step"]
    assert {(each["task"], each["seed"]) for each in every} == {("classify", 0)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("linear nothing", "nothing is neither a run"),
        ("{clip}", "no run given; start with one: stepcli predict runs/<run> {clip}"),
        ("linear --video {clips}/*.txt", "the pattern matches no file"),
        ("linear --video {empty}", "the folder holds no video"),
        ("missing-0123 {clip}", "missing-0123 is neither a run"),
    ],
)
def test_words_that_name_nothing_are_one_line(
    words: str,
    message: str,
    runs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STEPCLI_RUNS", str(runs["linear"].parent))
    places = {"clip": CLIPS / "handle-pull" / "004.mp4", "clips": CLIPS, "empty": tmp_path}
    said = call("predict", *words.format(**places).split(), code=2)
    assert message.format(**places) in said
    assert len(said.strip().splitlines()) == 1


def test_probes_that_a_heading_cannot_tell_apart_are_named_by_their_run(
    work: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    copy = tmp_path / "linear-copy"
    shutil.copytree(runs["linear"], copy)
    record = json.loads((copy / "run.json").read_text()) | {"run": copy.name}
    (copy / "run.json").write_text(json.dumps(record))
    video = CLIPS / "handle-pull" / "004.mp4"
    said = call("predict", runs["linear"], copy, "--video", video)
    assert f"store store, run {runs['linear'].name} (uncalibrated)" in said
    assert "store store, run linear-copy (uncalibrated)" in said
    # Tuning runs on slices of train lie beside them, and are left out where a shell names all.
    record["config"]["task"]["slice_seed"] = 0
    (copy / "run.json").write_text(json.dumps(record))
    done = invoke("predict", runs["linear"], copy, "--video", video)
    assert "left out 1 run on held-out slices" in done.stderr
    assert done.stdout.count("linear, task") == 1
