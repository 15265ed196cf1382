"""A pool of decoder processes that a poison clip can neither hang nor kill.

Each decoder has a pipe and works through at most two clips at a time; pixels come back in slots
of shared memory. A clip that takes too long, or ends its decoder, gets one more try in a fresh
process; after the second it becomes a `Failure`. One thread here looks after all of them.
"""

import json
import mmap
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from typing import Any, Self

import numpy as np

from stepcli.cache.clips import Failure
from stepcli.cache.errors import StepcliError, VideoError
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.decode_worker import DecodeSettings

TRIES = 2
START_SECONDS = 120.0
"""Time limit for a decoder process to come up; machines under load are slow to import."""
AHEAD = 2
"""Clips that a decoder is given at once: one to work on, one so that it never waits for us."""


class DecodersFailed(StepcliError):
    """Decoder processes cannot be started at all."""


@dataclass(slots=True)
class DecodedClip:
    """A clip's pixels in shared memory; call `release` once they have been copied."""

    clip: Clip
    images: np.ndarray
    """Distinct frames: [U, height, width, 3] uint8, U <= T."""
    positions: list[int]
    """For each of the T time steps, which of `images` it shows."""
    pts_seconds: tuple[float, ...]
    frame_height: int
    frame_width: int
    seconds: float
    """Time that its decoder spent on it."""
    _pool: "DecodePool"
    _slot: int

    def release(self) -> None:
        """Give the slot back; `images` must not be read any more."""
        self._pool._release(self._slot)


@dataclass(slots=True)
class _Task:
    clip: Clip
    slot: int
    attempt: int


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    pipe: Any
    stderr: Any
    ready: bool = False
    tasks: deque[_Task] = field(default_factory=deque)
    deadline: float = float("inf")
    """When the start, then the first task, has taken too long; monotonic seconds."""


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
        slots = max(slots, 2 * workers)
        self._descriptor = _shared_memory(slots * settings.slot_bytes)
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
        self._workers = [self._start() for _ in range(workers)]

    def decode(self, clips: Iterable[Clip]) -> Iterator[DecodedClip | Failure]:
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
            _end(worker)
        self._wake_sender.close()
        self._wake_receiver.close()
        os.close(self._descriptor)
        # The memory map goes when the last array on it has gone: closing it here would fail.

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
                        self._give(worker, _Task(clip, self._free.popleft(), attempt))
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
                reply = json.loads(worker.pipe.recv_bytes())
            except (EOFError, OSError):
                worker.process.wait()
                self._replace(worker, "its decoder process ended")
                continue
            if "ready" in reply:
                worker.ready = True
                self._start_clock(worker)
            else:
                self._take(worker, reply)
        now = time.monotonic()
        for worker in [worker for worker in self._workers if worker.deadline < now]:
            self._replace(worker, f"decoding took longer than {self._clip_seconds:g} s")

    def _give(self, worker: _Worker, task: _Task) -> None:
        segment = (
            task.clip.start_seconds,
            task.clip.end_seconds,
            task.clip.start_frame,
            task.clip.end_frame,
        )
        message = {
            "slot": task.slot,
            "path": str(task.clip.path),
            "segment": segment,
            "frames_per_second": task.clip.frames_per_second,
            "id": task.clip.id,
        }
        worker.tasks.append(task)
        if worker.ready and len(worker.tasks) == 1:
            self._start_clock(worker)
        with suppress(OSError):  # it has just died: noticed when we listen
            worker.pipe.send_bytes(json.dumps(message).encode())

    def _take(self, worker: _Worker, reply: dict[str, Any]) -> None:
        task = worker.tasks.popleft()
        self._start_clock(worker)
        if "error" in reply:
            self._free.append(task.slot)
            self._fail(task, reply["error"], reply["message"])
            return
        plan = self._settings.plan
        shape = (reply["distinct"], plan.height, plan.width, 3)
        images = np.frombuffer(
            self._memory,
            np.uint8,
            count=int(np.prod(shape)),
            offset=task.slot * self._settings.slot_bytes,
        ).reshape(shape)
        self._results.put(
            DecodedClip(
                task.clip,
                images,
                reply["positions"],
                tuple(reply["pts_seconds"]),
                reply["height"],
                reply["width"],
                reply["seconds"],
                self,
                task.slot,
            )
        )

    def _replace(self, worker: _Worker, reason: str) -> None:
        """Put a fresh process in a dead or hanging one's place; its first clip is to blame."""
        if detail := _end(worker):
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
        self._workers[self._workers.index(worker)] = self._start()

    def _start_clock(self, worker: _Worker) -> None:
        worker.deadline = time.monotonic() + self._clip_seconds if worker.tasks else float("inf")

    def _fail(self, task: _Task, error: str, message: str) -> None:
        self._results.put(Failure(task.clip.id, str(task.clip.path), error, message))

    def _release(self, slot: int) -> None:
        self._free.append(slot)
        with self._wake_lock:
            if not self._stopping:
                self._wake_sender.send_bytes(b"free")

    def _start(self) -> _Worker:
        ours, theirs = connection.Pipe()
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the worker)
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "stepcli.extract.decode_worker",
                str(theirs.fileno()),
                str(self._descriptor),
            ],
            pass_fds=(theirs.fileno(), self._descriptor),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            process_group=0,  # Ctrl-C is for the main process, which ends them in good order
        )
        theirs.close()
        with suppress(OSError):  # it has died already: noticed when we listen
            ours.send_bytes(json.dumps(self._settings.to_json()).encode())
        return _Worker(process, ours, stderr, deadline=time.monotonic() + START_SECONDS)


def _shared_memory(size: int) -> int:
    """Descriptor of memory without a name: nothing is left behind however the run ends."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("stepcli-frames")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


def _end(worker: _Worker) -> str:
    """End a process if it still runs; how it ended: its signal, or the last line it wrote."""
    worker.pipe.close()
    worker.process.kill()
    code = worker.process.wait()
    with worker.stderr as stderr:
        stderr.seek(0)
        lines = stderr.read().decode(errors="replace").strip().splitlines()
    if lines:
        return str(lines[-1])
    # We end those that hang with SIGKILL ourselves: that says nothing about the clip.
    return f"signal {-code}" if code < 0 and code != -signal.SIGKILL else ""
