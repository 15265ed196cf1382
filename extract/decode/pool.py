"""A pool of decoder processes that a poison clip can neither hang nor kill.

Each decoder has a pipe and works through at most two clips at a time; pixels come back in slots
of shared memory. A clip that takes too long, or ends its decoder, gets one more try in a fresh
process; after the second it becomes a `Failure`. One thread here serves all of them.
"""

import json
import mmap
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import connection
from typing import Self

import numpy as np

from stepcli.cache.schema.clips import Failure
from stepcli.cache.schema.padding import is_padded
from stepcli.cache.schema.views import is_reversed
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.decode.messages import ClipReply
from stepcli.extract.decode.process import (
    DecoderProcess,
    DecodersFailed,
    DecodeSettings,
    DecodeTask,
    pixel_bytes,
    shared_memory,
    start_decoder,
)
from stepcli.extract.decode.video import ReadClip
from stepcli.extract.decode.views import backward, space_and_time
from stepcli.extract.sources.origin import FileFacts
from stepcli.runtime.errors import VideoError

TRIES = 2
AHEAD = 2
"""Clips that a decoder is given at once: one to work on, one so that it never waits for us."""


@dataclass(frozen=True, slots=True)
class DecodedView:
    """Where the frames of one view of a clip are."""

    id: str
    """Under which it is stored."""
    space: int
    """Its place among the spatial views."""
    positions: list[int]
    """For each of the T time steps, which of the distinct frames it shows."""
    pts_seconds: list[float]


@dataclass(slots=True)
class DecodedClip:
    """A clip's pixels in shared memory; call `release` once they have been copied."""

    task: DecodeTask
    read: ReadClip
    """Its images: distinct frames in every spatial view, [U, spaces, height, width, 3] uint8."""
    source: FileFacts
    """Of the file, or folder of images, that was decoded."""
    seconds: float
    """Time that its decoder spent on it."""
    _pool: "DecodePool"
    _of_plan: tuple[np.ndarray, ...] = ()
    """Its images for each backbone, where there are several."""
    _wanted: frozenset[str] | None = None
    """Stored ids of the views that are wanted; None: all."""
    _users: list[bool] = field(default_factory=lambda: [True])
    """One entry per user of the pixels; who takes True, the first one, is the last user."""

    def for_plans(self, wanted: Sequence[frozenset[str] | None]) -> "list[DecodedClip | None]":
        """The clip as each of several backbones sees it, None for one that wants no view of it.

        The slot is given back when all of them have been released.

        Args:
            wanted: for each plan the stored ids of the views that are wanted; None: all.
        """
        ids = self.task.clip.stored_ids
        seen = [each is None or not each.isdisjoint(ids) for each in wanted]
        users = [True, *[False] * (sum(seen) - 1)]
        arrays = self._of_plan or (self.images,)
        return [
            replace(self, read=replace(self.read, images=images), _wanted=each, _users=users)
            if is_seen
            else None
            for images, each, is_seen in zip(arrays, wanted, seen, strict=True)
        ]

    @property
    def clip(self) -> Clip:
        """As the data set lists it."""
        return self.task.clip

    @property
    def images(self) -> np.ndarray:
        """[U, spaces, height, width, 3] uint8."""
        return np.asarray(self.read.images)

    @property
    def views(self) -> list[DecodedView]:
        """The views to be stored, in the clip's order."""
        clip, read = self.task.clip, self.read
        steps = len(read.positions) // len(self.task.times)
        found = []
        for view, stored_id in zip(clip.views or ("",), clip.stored_ids, strict=True):
            if self._wanted is not None and stored_id not in self._wanted:
                continue
            space, time_number = space_and_time(view)
            start = self.task.times.index(time_number) * steps
            run = slice(start, start + steps)
            place = self.task.spaces.index(space)
            positions, seconds = read.positions[run], read.pts_seconds[run]
            if is_reversed(view):
                order = backward(positions, padded=self._pool.pads)
                positions = [positions[step] for step in order]
                seconds = [seconds[step] for step in order]
            found.append(DecodedView(stored_id, place, positions, seconds))
        return found

    def release(self) -> None:
        """Give the slot back; `images` must not be read any more."""
        if self._users.pop():
            self._pool._release(self.task.slot)


class DecodePool:
    """Decodes clips in processes of its own; use it as a context manager, once.

    Args:
        settings: sampling and preprocessing.
        workers: decoder processes.
        slots: clips whose pixels may be in memory at once, those being decoded included.
        clip_seconds: time limit of one clip.
    """

    def __init__(
        self, settings: DecodeSettings, *, workers: int, slots: int, clip_seconds: float
    ) -> None:
        self._settings = settings
        self._clip_seconds = clip_seconds
        self.pads = is_padded(settings.sampling)
        slots = max(slots, 2 * workers)
        self._descriptor = shared_memory(slots * settings.slot_bytes)
        self._memory = mmap.mmap(self._descriptor, 0)
        self._free = deque(range(slots))
        self._retries: deque[tuple[Clip, int]] = deque()
        self._results: queue.SimpleQueue[DecodedClip | Failure | BaseException | None] = (
            queue.SimpleQueue()
        )
        self._wake_receiver, self._wake_sender = connection.Pipe(duplex=False)
        self._wake_lock = threading.Lock()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._workers = [start_decoder(settings, self._descriptor) for _ in range(workers)]

    def decode(self, clips: Iterable[Clip]) -> Generator[DecodedClip | Failure, None, None]:
        """Every clip, as it gets ready: in about the order given, not exactly.

        Raises:
            DecodersFailed: a decoder process ended before it could take a clip.
        """
        self._thread = threading.Thread(
            target=self._serve, args=(iter(clips),), name="decoders", daemon=True
        )
        self._thread.start()
        while (result := self._results.get()) is not None:
            if isinstance(result, BaseException):
                raise result
            yield result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with self._wake_lock:
            self._stopping = True
            self._wake_sender.send_bytes(b"stop")
        if self._thread is not None:
            self._thread.join()
        for worker in self._workers:
            worker.end()
        self._wake_sender.close()
        self._wake_receiver.close()
        os.close(self._descriptor)
        with suppress(queue.Empty):
            while True:  # clips that nobody took: they hold the memory, and this pool
                self._results.get_nowait()
        # While a caller still has an array on it, the map cannot be closed; it goes with the array.
        with suppress(BufferError):
            self._memory.close()

    def _serve(self, clips: Iterator[Clip]) -> None:
        """The pool's thread: hand out clips, collect replies, bury the dead."""
        try:
            waiting = next(clips, None)
            while not self._stopping:
                for worker in self._workers:
                    while len(worker.tasks) < AHEAD and self._free:
                        if self._retries:
                            clip, attempt = self._retries.popleft()
                        elif waiting is not None:
                            clip, attempt = waiting, 1
                            waiting = next(clips, None)
                        else:
                            break
                        worker.give(self._task(clip, attempt), self._clip_seconds)
                if (
                    waiting is None
                    and not self._retries
                    and not any(worker.tasks for worker in self._workers)
                ):
                    break
                self._listen()
        except BaseException as error:  # noqa: BLE001 (raised again where the results are read)
            self._results.put(error)
        self._results.put(None)

    def _listen(self) -> None:
        deadline = min(worker.deadline for worker in self._workers)
        timeout = None if deadline == float("inf") else max(0.0, deadline - time.monotonic())
        by_pipe = {worker.pipe: worker for worker in self._workers}
        for pipe in connection.wait([*by_pipe, self._wake_receiver], timeout):
            if pipe is self._wake_receiver:
                self._wake_receiver.recv_bytes()
                continue
            worker = by_pipe[pipe]
            try:
                reply: ClipReply = json.loads(worker.pipe.recv_bytes())
            except (EOFError, OSError):
                worker.process.wait()
                self._replace(worker, "its decoder process ended")
                continue
            if "fatal" in reply:
                raise DecodersFailed(reply["fatal"])
            if "ready" in reply:
                worker.ready = True
                worker.start_clock(self._clip_seconds)
            else:
                self._take(worker, reply)
        now = time.monotonic()
        for worker in [worker for worker in self._workers if worker.deadline < now]:
            self._replace(worker, f"decoding took longer than {self._clip_seconds:g} s")

    def _task(self, clip: Clip, attempt: int) -> DecodeTask:
        views = [space_and_time(view) for view in clip.views or ("",)]
        spaces = dict.fromkeys(space for space, _ in views)
        times = dict.fromkeys(time for _, time in views)
        return DecodeTask(clip, self._free.popleft(), tuple(spaces), tuple(times), attempt)

    def _take(self, worker: DecoderProcess, reply: ClipReply) -> None:
        task = worker.tasks.popleft()
        worker.start_clock(self._clip_seconds)
        if "error" in reply:
            self._free.append(task.slot)
            self._fail(task, reply["error"], reply["message"])
            return
        plans, read = self._settings.plans, reply["read"]
        spaces, count = len(task.spaces), read["images"]
        sizes = [spaces * pixel_bytes(plan) for plan in plans]
        rows = np.frombuffer(
            self._memory,
            np.uint8,
            count=count * sum(sizes),
            offset=task.slot * self._settings.slot_bytes,
        ).reshape(count, sum(sizes))
        ends = np.cumsum(sizes)
        images, *others = (
            rows[:, end - size : end].reshape(count, spaces, plan.height, plan.width, 3)
            for plan, size, end in zip(plans, sizes, ends, strict=True)
        )
        decoded = ReadClip(
            images,
            read["positions"],
            read["pts_seconds"],
            read["frame_height"],
            read["frame_width"],
            read["past_end"],
        )
        facts, every = FileFacts(**reply["source"]), (images, *others) if others else ()
        self._results.put(DecodedClip(task, decoded, facts, reply["seconds"], self, every))

    def _replace(self, worker: DecoderProcess, reason: str) -> None:
        """Put a fresh process in a dead or hanging one's place; its first clip is to blame."""
        if detail := worker.end():
            reason = f"{reason} ({detail})"
        if not worker.ready:
            self._workers.remove(worker)
            raise DecodersFailed(f"a decoder process did not come up: {reason}")
        blamed = worker.tasks.popleft() if worker.tasks else None
        for task in reversed(worker.tasks):
            self._free.append(task.slot)
            self._retries.appendleft((task.clip, task.attempt))
        if blamed is not None:
            self._free.append(blamed.slot)
            if blamed.attempt < TRIES:
                self._retries.append((blamed.clip, blamed.attempt + 1))
            else:
                self._fail(blamed, VideoError.__name__, f"{reason}, {TRIES} times")
        self._workers[self._workers.index(worker)] = start_decoder(self._settings, self._descriptor)

    def _fail(self, task: DecodeTask, error: str, message: str) -> None:
        for stored_id in task.clip.stored_ids:
            self._results.put(Failure(stored_id, str(task.clip.path), error, message))

    def _release(self, slot: int) -> None:
        self._free.append(slot)
        with self._wake_lock:
            if not self._stopping:
                self._wake_sender.send_bytes(b"free")
