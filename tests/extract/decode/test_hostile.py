"""What real folders hold: each file ends as a right clip or in quarantine with a true reason."""

import csv
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from plain_pixels import plain_pixels

from stepcli.cache import open_store
from stepcli.cache.schema.clips import Failure
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.decode.pool import DecodedClip, DecodePool
from stepcli.extract.decode.process import DecodeSettings

PLAN = plain_pixels(64, 64, 64)
FUZZED = int(os.environ.get("STEPCLI_FUZZ", "50"))


class Makers:
    """Makes one file of each kind."""

    def __init__(self, folder: Path, write_video: Any, write_numbered: Any) -> None:
        self.folder = folder
        self.video = write_video
        self.numbered = write_numbered
        self.good = write_numbered(folder / "good.mp4", 40, options={"bf": "2"})

    def path(self, name: str) -> Path:
        return self.folder / name

    def right(self) -> Iterator[Path]:
        """Files that are unusual, and fine."""
        yield self.good
        yield self.numbered(self.path("one-frame.mp4"), 1)
        yield self.numbered(self.path("two-frames.mkv"), 2)
        yield self.numbered(self.path("ünï çødé 视频.mp4"), 9)
        yield self.numbered(self.path("new\nline.mp4"), 9)
        yield self.numbered(self.path("100% 'quoted' \"twice\";.mp4"), 9)
        yield self.numbered(self.path("colon:http:.mp4"), 9)
        yield self._renamed("no-suffix")
        yield self._renamed("wrong-suffix.avi")
        yield self.numbered(
            self.path("vfr.mkv"), 9, ticks=[0, 10, 400, 410, 500, 900, 901, 950, 999]
        )
        yield self.numbered(
            self.path("no-duration.webm"), 9, codec="libvpx-vp9", container_options={"live": "1"}
        )
        yield self.numbered(self.path("ten-bit.mkv"), 9, codec="libx265", pix_fmt="yuv420p10le")
        yield self.numbered(self.path("grey.mkv"), 9, codec="ffv1", pix_fmt="gray")
        yield self.numbered(self.path("planar-rgb.mkv"), 9, codec="ffv1", pix_fmt="bgr0")
        yield self.numbered(self.path("four-four-four.mp4"), 9, pix_fmt="yuv444p")
        yield self.numbered(self.path("animated.gif"), 9, codec="gif", pix_fmt="rgb8")
        yield self._odd_sides()
        yield self._narrow()
        yield self._huge()
        yield self._latin_metadata()
        yield self._two_streams()
        yield self._resolution_change()
        link = self.path("link.mp4")
        link.symlink_to(self.good)
        yield link

    def broken(self) -> Iterator[tuple[Path, str]]:
        """Files that cannot be clips, with words of the reason."""
        data = self.good.read_bytes()
        yield self._bytes("zero-bytes.mp4", b""), "empty"
        yield self._bytes("zeros.mp4", bytes(5000)), "not a video"
        yield self._bytes("text.mp4", b"404 Not Found\n" * 9), "not a video"
        yield self._bytes("page.mp4", b"<!DOCTYPE html><html>" * 50), "not a video"
        yield self._bytes("head-only.mp4", data[:40]), "not a video"
        yield self._bytes("no-index.mp4", data[: len(data) // 2]), "not a video"
        yield self._truncated(), "cut off|damaged"
        yield self._corrupt_middle(), "damaged"
        yield self._bytes("list.mp4", b"ffconcat version 1.0\nfile good.mp4\n"), "a playlist"
        yield (
            self._bytes("list.m3u8", b"#EXTM3U\n#EXTINF:1,\ngood.mp4\n#EXT-X-ENDLIST\n"),
            ("a playlist|not a video"),
        )
        yield self._picture("picture.mp4", "PNG"), "a picture"
        yield self._picture("photo.mp4", "JPEG"), "a picture"
        yield self._audio_only(), "holds no video stream"
        yield self._directory(), "a folder"
        yield self._fifo(), "a pipe"
        yield self._loop(), "cannot be read"
        yield self.path("missing.mp4"), "cannot be read"
        yield self.path("good.mp4/below-a-file.mp4"), "cannot be read"
        yield self.path("x" * 300 + ".mp4"), "cannot be read"
        yield Path("/dev/zero"), "a pipe, socket or device"
        dangling = self.path("dangling.mp4")
        dangling.symlink_to(self.path("nowhere.mp4"))
        yield dangling, "cannot be read"

    def _bytes(self, name: str, data: bytes) -> Path:
        path = self.path(name)
        path.write_bytes(data)
        return path

    def _renamed(self, name: str) -> Path:
        return Path(shutil.copy(self.good, self.path(name)))

    def _truncated(self) -> Path:
        """With its index in front, so that it opens and then ends early."""
        whole = self.numbered(
            self.path("faststart.mp4"), 60, container_options={"movflags": "faststart"}
        )
        data = whole.read_bytes()
        return self._bytes("truncated.mp4", data[: len(data) * 2 // 3])

    def _corrupt_middle(self) -> Path:
        data = bytearray(self.numbered(self.path("whole.mp4"), 60).read_bytes())
        start = data.index(b"mdat") + 4
        size = int.from_bytes(data[start - 8 : start - 4], "big")
        data[start + size // 3 : start + 2 * size // 3] = bytes(size // 3)
        return self._bytes("corrupt-middle.mp4", bytes(data))

    def _picture(self, name: str, kind: str) -> Path:
        from PIL import Image

        path = self.path(name)
        Image.fromarray(np.full((80, 80, 3), 99, np.uint8)).save(path, format=kind)
        return path

    def _odd_sides(self) -> Path:
        images = [np.full((67, 91, 3), 20 * i, np.uint8) for i in range(9)]
        return Path(self.video(self.path("odd.mkv"), images, codec="ffv1", pix_fmt="yuv444p"))

    def _narrow(self) -> Path:
        images = [np.full((2, 640, 3), 20 * i, np.uint8) for i in range(4)]
        return Path(self.video(self.path("narrow.mkv"), images, codec="ffv1", pix_fmt="bgr0"))

    def _huge(self) -> Path:
        """8K: one raw frame is 50 MB, so the frames do not fit and are decoded twice."""
        images = (np.full((4320, 7680, 3), 40 * i, np.uint8) for i in range(6))
        options = {"preset": "ultrafast"}
        return Path(self.video(self.path("eight-k.mp4"), images, options=options))

    def _latin_metadata(self) -> Path:
        path = self.path("latin.avi")
        with av.open(str(path), "w") as container:
            container.metadata["title"] = "M" * 20
            stream: Any = container.add_stream("mpeg4", rate=10)
            stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
            for i in range(9):
                image = np.full((64, 64, 3), 20 * i, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        data = path.read_bytes()
        assert b"M" * 20 in data
        path.write_bytes(data.replace(b"M" * 20, "Überraschung, fünf!!".encode("latin-1")))
        return path

    def _audio_only(self) -> Path:
        path = self.path("audio.mp4")
        with av.open(str(path), "w") as container:
            self._tone(container)
        return path

    def _two_streams(self) -> Path:
        """Sound and two pictures: the first video stream counts."""
        path = self.path("sound.mkv")
        with av.open(str(path), "w") as container:
            streams: Any = [container.add_stream("ffv1", rate=10) for _ in range(2)]
            for stream in streams:
                stream.height, stream.width, stream.pix_fmt = 64, 64, "bgr0"
            self._tone(container)
            for i in range(9):
                for number, stream in enumerate(streams):
                    image = np.full((64, 64, 3), 20 * i + 5 * number, np.uint8)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        return path

    def _tone(self, container: Any) -> None:
        stream = container.add_stream("aac", rate=16000)
        stream.layout = "mono"
        samples = np.sin(np.arange(16000) / 9).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())

    def _resolution_change(self) -> Path:
        """Two elementary streams one after the other: the picture's size changes midway."""
        parts = []
        for side in (64, 128):
            images = [np.full((side, side, 3), 20 * i, np.uint8) for i in range(6)]
            part = self.video(self.path(f"{side}.h264"), images)
            parts.append(part.read_bytes())
        return self._bytes("resolution-change.h264", b"".join(parts))

    def _directory(self) -> Path:
        path = self.path("directory.mp4")
        path.mkdir()
        return path

    def _fifo(self) -> Path:
        path = self.path("fifo.mp4")
        os.mkfifo(path)
        return path

    def _loop(self) -> Path:
        path = self.path("loop.mp4")
        path.symlink_to(path)
        return path


def decode_all(paths: list[Path], seconds: float = 60.0) -> dict[str, DecodedClip | Failure]:
    """Path -> its outcome; ids are the paths."""
    clips = [Clip(str(path), path, "x") for path in paths]
    outcome: dict[str, DecodedClip | Failure] = {}
    settings = DecodeSettings(PLAN, "uniform", 4)
    with DecodePool(settings, workers=1, slots=4, clip_seconds=seconds) as pool:
        for result in pool.decode(clips):
            if isinstance(result, Failure):
                outcome[result.id] = result
            else:
                (view,) = result.views
                assert result.images.shape == (len(set(view.positions)), 1, 64, 64, 3)
                outcome[result.clip.id] = result
                result.release()
    assert outcome.keys() == {str(path) for path in paths}
    return outcome


@pytest.fixture(scope="module")
def makers(
    tmp_path_factory: pytest.TempPathFactory, write_video: Any, write_numbered: Any
) -> Makers:
    return Makers(tmp_path_factory.mktemp("hostile"), write_video, write_numbered)


@pytest.fixture(scope="module")
def right(makers: Makers) -> list[Path]:
    """Unusual files that hold a right clip."""
    paths = list(makers.right())
    assert len(paths) >= 20
    return paths


@pytest.fixture(scope="module")
def broken(makers: Makers) -> list[tuple[Path, str]]:
    """Files that hold none, each with a part of the reason."""
    found = list(makers.broken())
    assert len(found) >= 15
    return found


def test_one_run_over_the_whole_corpus(
    right: list[Path],
    broken: list[tuple[Path, str]],
    extract: Callable[..., int],
    clip_table: Path,
    tmp_path: Path,
    summaries: list[dict[str, Any]],
) -> None:
    paths = [*right, *(path for path, _ in broken)]
    with clip_table.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["id", "path", "label"])
        writer.writerows([str(number), path, "x"] for number, path in enumerate(paths))
    assert extract() == 3
    (summary,) = summaries
    counts = {name: summary[name] for name in ("clips", "done", "quarantined", "left")}
    assert counts == {
        "clips": len(paths),
        "done": len(right),
        "quarantined": len(broken),
        "left": 0,
    }
    store = open_store(tmp_path / "store")
    assert set(store.ids) == {str(number) for number in range(len(right))}
    reasons = store.quarantined()
    for number, (path, reason) in enumerate(broken, len(right)):
        assert re.search(reason, reasons[str(number)].message), path


def test_unusual_videos_are_right_clips(right: list[Path]) -> None:
    for path, result in decode_all(right).items():
        assert isinstance(result, DecodedClip), (path, result)
        (view,) = result.views
        assert len(view.positions) == 4
        assert view.pts_seconds == sorted(view.pts_seconds)


def test_broken_files_are_quarantined_with_a_true_reason(broken: list[tuple[Path, str]]) -> None:
    outcome = decode_all([path for path, _ in broken])
    for path, reason in broken:
        failure = outcome[str(path)]
        assert isinstance(failure, Failure), path
        assert re.search(reason, failure.message), (path, failure.message)
        assert "\n" not in failure.message


def test_a_file_nobody_may_read(makers: Makers) -> None:
    path = makers._renamed("locked.mp4")
    path.chmod(0)
    result = decode_all([path])[str(path)]
    if os.access(path, os.R_OK):  # root reads everything
        assert isinstance(result, DecodedClip)
    else:
        assert isinstance(result, Failure)
        assert "Permission denied" in result.message


@pytest.mark.parametrize("name", ["h264.mp4", "vp9.webm", "mpeg4.avi"])
def test_mutated_videos_never_stop_the_run(
    name: str, tmp_path: Path, write_numbered: Callable[..., Path]
) -> None:
    """A seeded fuzz: bytes set, cut out and doubled at random; STEPCLI_FUZZ sets how many."""
    codec = {"h264.mp4": "libx264", "vp9.webm": "libvpx-vp9", "mpeg4.avi": "mpeg4"}[name]
    data = write_numbered(tmp_path / name, 24, codec=codec).read_bytes()
    generator = np.random.default_rng(len(name))
    paths = []
    for number in range(-(-FUZZED // 3)):
        mutated = bytearray(data)
        for _ in range(int(generator.integers(1, 20))):
            start = int(generator.integers(0, len(mutated)))
            kind = generator.integers(0, 3)
            if kind == 0:
                mutated[start] = int(generator.integers(0, 256))
            elif kind == 1:
                del mutated[start : start + int(generator.integers(1, 50))]
            else:
                mutated[start:start] = mutated[start : start + 50]
        path = tmp_path / f"{number}-{name}"
        path.write_bytes(mutated)
        paths.append(path)
    decode_all(paths, seconds=20.0)
