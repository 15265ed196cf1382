"""Videos for predict, reports and streams are read in a process that they may crash or exhaust."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from command_line import call
from plain_pixels import plain_pixels

from stepcli.cache.schema.clips import Failure
from stepcli.cache.store.store import open_store
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.datasets.roots import (
    MOST,
    folders_of,
    is_below,
    known_roots,
    remember_roots,
)
from stepcli.extract.decode import isolated
from stepcli.extract.decode.isolated import end_idle, video_frames, video_seconds
from stepcli.extract.decode.live import live_video
from stepcli.extract.decode.pool import DecodePool
from stepcli.extract.decode.process import VARIABLE, DecodeSettings
from stepcli.runtime.errors import UsageError, VideoError

PLAN = plain_pixels(0, 64, 96)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No reader that an earlier test has left, with that one's environment."""
    end_idle()
    yield
    end_idle()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, write_numbered: Any) -> Path:
    made: Path = write_numbered(tmp_path_factory.mktemp("isolated") / "a.mp4", 40, first=0)
    return made


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file whose frames take 27 MB each."""
    path = tmp_path_factory.mktemp("huge") / "huge.mov"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("png", rate=25)
        stream.height = stream.width = 3000
        stream.pix_fmt = "rgb24"
        image = np.zeros((3000, 3000, 3), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode())
    return path


def test_frames_and_times_are_those_of_the_video(video: Path, read_number: Any) -> None:
    seconds = video_seconds(video)
    assert len(seconds) == 40
    assert (np.diff(seconds) > 0).all()
    found = {}
    for numbers, pictures in video_frames(video, [0, 3, 4, 39], PLAN, batch=3):
        assert pictures.shape == (len(numbers), 64, 96, 3)
        found |= dict(zip(numbers, map(read_number, pictures), strict=True))
    assert found == {0: 0, 3: 3, 4: 4, 39: 39}
    plain = [picture.shape for _, picture in video_frames(video, [1])]
    assert plain == [(1, 64, 96, 3)]


def test_one_process_serves_one_video_after_the_other(video: Path) -> None:
    video_seconds(video)
    (first,) = isolated._idle
    video_seconds(video)
    assert isolated._idle == [first]
    next(frames := video_frames(video, range(40)))
    frames.close()  # left early: what the process still has to send is nobody's
    assert not isolated._idle
    assert first.process.poll() is not None
    assert len(video_seconds(video)) == 40


@pytest.mark.parametrize("ending", [signal.SIGSEGV, signal.SIGKILL, signal.SIGSTOP])
def test_a_crash_or_a_hang_is_one_line(
    ending: signal.Signals, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolated, "PATIENCE_SECONDS", 0.5 if ending == signal.SIGSTOP else 60.0)
    video_seconds(video)
    (child,) = isolated._idle
    os.kill(child.process.pid, ending)
    if ending != signal.SIGSTOP:
        os.waitid(os.P_PID, child.process.pid, os.WEXITED | os.WNOWAIT)
    said = "no sign of life" if ending == signal.SIGSTOP else "its decoder process ended"
    with pytest.raises(VideoError, match=said):
        video_seconds(video)
    assert child.process.poll() is not None
    monkeypatch.undo()
    assert len(video_seconds(video)) == 40


def test_a_video_that_needs_more_memory_than_allowed_is_refused(
    huge: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(video_seconds(huge)) == 1
    end_idle()
    monkeypatch.setenv(VARIABLE, "0.02")
    said = rf"do not fit in the 0\.02 GiB of memory .* may take; {VARIABLE} raises that"
    with pytest.raises(VideoError, match=said):
        video_seconds(huge)
    with pytest.raises(VideoError, match=said), live_video(str(huge), None) as frames:
        next(frames)
    assert len(video_seconds(video)) == 40
    # The decoders of an extraction are held to the same.
    with DecodePool(
        DecodeSettings(PLAN, "uniform", 2), workers=1, slots=2, clip_seconds=60.0
    ) as pool:
        clips = [Clip("huge", huge, "x"), Clip("small", video, "x")]
        results = list(pool.decode(clips))
    failed = [result for result in results if isinstance(result, Failure)]
    assert [failure.id for failure in failed] == ["huge"]
    assert "the 0.02 GiB of memory" in failed[0].message
    assert len(results) == 2


@pytest.mark.parametrize("value", ["much", "0", "-1", "nan", "inf"])
def test_a_limit_that_is_none_is_named(
    value: str, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(UsageError, match=f"{VARIABLE}={value}: expected GiB"):
        video_seconds(video)


def test_a_stream_sends_only_what_is_asked_for(video: Path, read_number: Any) -> None:
    times, numbers = [], []
    with live_video(str(video), None) as frames:
        for count, frame in enumerate(frames):
            times.append(frame.time)
            if count % 7 == 0 and not frame.ended:
                numbers.append(read_number(frame.picture()))
            if count % 11 == 7:
                numbers.append(read_number(frame.before()))
        assert frame.ended
        assert read_number(frame.before()) == 39
    assert len(times) == 40 + 1
    assert numbers == [0, 7, 6, 14, 17, 21, 28, 28, 35, 39]
    with pytest.raises(VideoError, match="not a stream"), live_video("/nowhere", None):
        pass


def test_a_stream_comes_through_a_pipe(video: Path, project: Path) -> None:
    """`stepcli predict --stream -`: the decoder's process has our standard input."""
    import subprocess
    import sys

    remuxed = video.with_suffix(".mkv")
    with av.open(str(video)) as source, av.open(str(remuxed), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    code = (
        "from stepcli.extract.decode.live import live_video\n"
        "with live_video('-', None) as frames:\n"
        "    print(sum(not frame.ended for frame in frames))"
    )
    with remuxed.open("rb") as file:
        said = subprocess.run([sys.executable, "-c", code], stdin=file, capture_output=True)
    assert said.stdout.split() == [b"40"], said.stderr


@pytest.fixture
def untrusted(tmp_path: Path, video: Path, write_numbered: Any) -> tuple[Path, Path]:
    """A store whose index names a file of this user's that is no part of any data set."""
    from stepcli.cache.schema.clips import ClipRecord, ClipRow
    from stepcli.cache.schema.spec import Producer, Segment, StoreSpec
    from stepcli.cache.store.store import create_store

    (tmp_path / "home").mkdir()
    private = write_numbered(tmp_path / "home" / "private.mp4", 20, first=0)
    spec = StoreSpec(
        backbone="made-up",
        weights_digest="0" * 64,
        segments=(Segment(name="grid2", kind="grid", count=4, grid=(2, 2)),),
        dim=8,
        frames=2,
        sampling="uniform",
        preprocessing=PLAN.to_spec(),
        dtype="float32",
    )
    store = create_store(tmp_path / "store", spec, dataset="made-up")
    with store.writer(Producer(source="x", device="cpu", numerics="x", versions={})) as writer:
        tokens = np.random.default_rng(0).normal(size=(2, 4, 8)).astype(np.float32)
        link = tmp_path / "videos" / "link.mp4"
        link.parent.mkdir()
        link.symlink_to(private)
        for name, path in {
            "a": private,
            "link": link,
            "dots": link.parent / "../home/private.mp4",
        }.items():
            writer.add(ClipRecord(name, str(path), (0.0, 0.5), 2, 64, 96), tokens)
    store.add_clips([ClipRow("a", "x")])
    return tmp_path / "store", private


@pytest.mark.parametrize("clip", ["a", "link", "dots"])
def test_a_file_that_an_index_names_is_opened_only_in_named_folders(
    clip: str, untrusted: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPCLI_STATE", str(tmp_path / "state"))
    store, private = untrusted
    words = ("picture", clip, "--store", store, "--out", tmp_path / "clip.png")
    said = call(*words)
    assert f"without frames: {private} is in no folder that you have named" in said
    assert "without frames" in call(*words, "--videos", tmp_path / "videos")
    assert "without frames" in call(*words, "--videos", tmp_path / "hom")
    assert "without frames" not in call(*words, "--videos", private.parent)
    monkeypatch.setenv("STEPCLI_DATA", str(tmp_path))
    assert "without frames" not in call(*words)


def test_folders_named_to_an_extraction_are_remembered(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPCLI_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("STEPCLI_DATA", raising=False)
    clips = project / "examples" / "openclose" / "clips" / "coffee-pull"
    (tmp_path / "list.csv").write_text(f"id,path,label\na,{clips / '000.mp4'},x\n")
    words = ("--backbone", "mobilenet_v2-bundled", "--frames", 2, "--tokens", "grid1")
    place = ("--root", tmp_path / "list.csv", "--store", tmp_path / "store")
    call("extract", "--dataset", "csv", *place, *words)
    file = tmp_path / "state" / "video-folders.jsonl"
    assert file.read_text() == f'"{clips}"\n'
    assert file.stat().st_mode & 0o777 == 0o600
    picture = ("picture", "a", "--store", tmp_path / "store", "--out", tmp_path / "a.png")
    assert "without frames" not in call(*picture)
    remember_roots([clips / "001.mp4"])
    assert len(file.read_text().splitlines()) == 1
    file.write_text('{"cut off\n')
    assert "without frames" in call(*picture)
    file.unlink()
    file.parent.rmdir()
    file.parent.write_text("no folder: nothing is remembered, and nothing fails")
    remember_roots([clips / "001.mp4"])
    assert known_roots() == []


def test_a_moved_video_is_found_below_the_folder_that_is_named(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPCLI_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("STEPCLI_DATA", raising=False)
    clips = project / "examples" / "openclose" / "clips" / "coffee-pull"
    videos = tmp_path / "old" / "train" / "pull"
    videos.mkdir(parents=True)
    for name in ("000.mp4", "001.mp4"):
        (videos / name).write_bytes((clips / name).read_bytes())
    words = ("--backbone", "mobilenet_v2-bundled", "--frames", 2, "--tokens", "grid1")
    place = ("--root", tmp_path / "old", "--store", tmp_path / "store")
    call("extract", "--dataset", "folder", *place, *words)
    (tmp_path / "new").mkdir()
    (tmp_path / "old").rename(tmp_path / "new" / "set")
    clip = min(open_store(tmp_path / "store").ids)
    picture = ("picture", clip, "--store", tmp_path / "store", "--out", tmp_path / "a.png")
    assert "without frames" in call(*picture)
    assert "without frames" in call(*picture, "--videos", tmp_path)
    for root in ("set", "set/train", "set/train/pull"):
        assert "without frames" not in call(*picture, "--videos", tmp_path / "new" / root)
    moved = tmp_path / "new" / "set" / "train" / "pull" / "000.mp4"
    moved.write_bytes((clips / "002.mp4").read_bytes())
    said = call(*picture, "--videos", tmp_path / "new" / "set")
    assert f"{moved} is another video than the one of the clip {clip}" in said
    outside = tmp_path / "000.mp4"
    outside.write_bytes((clips / "000.mp4").read_bytes())
    moved.unlink()
    moved.symlink_to(outside)
    assert "without frames" in call(*picture, "--videos", tmp_path / "new" / "set")


def test_many_folders_become_their_common_parents() -> None:
    classes = [Path(f"/data/set/videos/{number:03d}/a.mp4") for number in range(3 * MOST)]
    assert folders_of(classes) == [Path("/data/set/videos")]
    homes = [Path(f"/home/{number:03d}/a.mp4") for number in range(3 * MOST)]
    assert len(folders_of(homes)) == 3 * MOST
    assert folders_of([Path("/a/b/c.mp4"), Path("/a/c.mp4")]) == [Path("/a")]
    assert is_below(Path("/a/b"), [Path("/a")])
    assert not is_below(Path("/ab"), [Path("/a")])
