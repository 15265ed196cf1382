"""What a decoder process answers, message by message; here it serves from a thread."""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from plain_pixels import plain_pixels

from stepcli.extract.datasets.clip import Clip
from stepcli.extract.decode import worker
from stepcli.extract.decode.process import DecodeSettings, DecodeTask, shared_memory
from stepcli.extract.decode.sampling import uniform

PLAN = plain_pixels(0, 64, 96)
SETTINGS = DecodeSettings(PLAN, "uniform", 4)
SLOTS = 2


class Decoder:
    """The other end of a decoder's pipe."""

    def __init__(self, pipe: Connection, memory: int) -> None:
        self.pipe = pipe
        self._bytes = np.memmap(f"/proc/self/fd/{memory}", np.uint8, "r")

    def ask(self, clip: Clip, slot: int = 0) -> dict[str, Any]:
        self.pipe.send_bytes(json.dumps(DecodeTask(clip, slot).to_json()).encode())
        reply: dict[str, Any] = json.loads(self.pipe.recv_bytes())
        return reply

    def images(self, slot: int, count: int) -> np.ndarray:
        """[count, height, width, 3] that lie in a slot."""
        start = slot * SETTINGS.slot_bytes
        return self._bytes[start : start + count * 64 * 96 * 3].reshape(count, 64, 96, 3)


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Decoder]:
    """One that has said that it is ready, and ends when its pipe is closed."""
    ours, theirs = Pipe()
    memory = shared_memory(SLOTS * SETTINGS.slot_bytes)
    monkeypatch.setattr(sys, "argv", ["worker", str(os.dup(theirs.fileno())), str(memory)])
    theirs.close()
    # A thread of the tests' own process must not end it.
    monkeypatch.setattr(worker, "end_with_parent", lambda parent: None)
    level = av.logging.get_level()
    server = threading.Thread(target=worker.main)
    server.start()
    ours.send_bytes(json.dumps(SETTINGS.to_json()).encode())
    assert json.loads(ours.recv_bytes()) == {"ready": True}
    yield Decoder(ours, memory)
    ours.close()
    server.join(60)
    assert not server.is_alive()
    av.logging.set_level(level)


def test_clips_are_answered_one_after_another_each_in_its_slot(
    decoder: Decoder, write_numbered: Callable[..., Path], read_number: Any, tmp_path: Path
) -> None:
    long = Clip("long", write_numbered(tmp_path / "long.mp4", 9, first=100), "x")
    short = Clip("short", write_numbered(tmp_path / "short.mp4", 2, first=200), "x")
    reply = decoder.ask(long, slot=1)
    assert [reply["read"][name] for name in ("images", "frame_height", "frame_width")] == [
        4,
        64,
        96,
    ]
    assert reply["read"]["pts_seconds"] == pytest.approx([i / 25 for i in uniform(9, 4)])
    again = decoder.ask(short, slot=0)
    assert (again["read"]["images"], again["read"]["positions"]) == (2, [0, 0, 1, 1])
    assert [read_number(image) for image in decoder.images(0, 2)] == [200, 201]
    shown = [read_number(image) for image in decoder.images(1, 4)]
    assert shown == [100 + index for index in uniform(9, 4)]


def test_a_part_of_a_video_and_a_folder_of_images_are_clips_too(
    decoder: Decoder, write_numbered: Callable[..., Path], read_number: Any, tmp_path: Path
) -> None:
    video = write_numbered(tmp_path / "v.mp4", 12)
    reply = decoder.ask(Clip("part", video, "x", start_frame=5, end_frame=9))
    assert reply["read"]["images"] == 4
    assert [read_number(image) for image in decoder.images(0, 4)] == [5, 6, 7, 8]
    folder = tmp_path / "images"
    folder.mkdir()
    for number, name in ((1, "2.png"), (2, "10.png")):
        Image.fromarray(np.full((64, 96, 3), number, np.uint8)).save(folder / name)
    reply = decoder.ask(Clip("folder", folder, "x", frames_per_second=2.0))
    assert reply["read"]["pts_seconds"] == [0.0, 0.0, 0.5, 0.5]
    assert decoder.images(0, 2)[:, 0, 0, 0].tolist() == [1, 2]


def test_what_cannot_be_read_is_answered_with_its_reason(
    decoder: Decoder, write_numbered: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.jpg").write_bytes(b"no image")
    for name, reason in (
        ("empty", "a folder without images"),
        ("images", "damaged: 1.jpg is no readable image"),
        ("gone.mp4", "No such file"),
    ):
        reply = decoder.ask(Clip(name, tmp_path / name, "x", frames_per_second=1.0))
        assert reply["error"] == "VideoError"
        assert reason in reply["message"]
    fine = Clip("fine", write_numbered(tmp_path / "fine.mp4", 4), "x")
    assert decoder.ask(fine)["read"]["images"] == 4


def test_frames_that_do_not_fit_into_memory_are_the_clips_error(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def greedy(*given: object, **options: object) -> None:
        np.empty(1 << 60, np.uint8)

    monkeypatch.setattr(worker, "read_whole", greedy)
    reply = decoder.ask(Clip("large", tmp_path / "large.mp4", "x"))
    assert (reply["error"], reply["message"]) == ("VideoError", "its frames do not fit in memory")
