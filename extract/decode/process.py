"""One decoder process as its pool sees it: started bare, spoken to over a pipe, ended for sure."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from typing import Any

from stepcli.extract.datasets.clip import Clip
from stepcli.extract.decode.bounds import allowed_bytes
from stepcli.extract.decode.worker import DecodeSettings
from stepcli.runtime.errors import StepcliError

START_SECONDS = 120.0
"""Time limit for a decoder process to come up; machines under load are slow to import."""
LAST_WORDS_SECONDS = 10.0
"""For a process that has closed its pipe to write why it ends."""


@dataclass(slots=True)
class Task:
    """A clip that a decoder has been given, and where its pixels go."""

    clip: Clip
    slot: int
    attempt: int
    spaces: tuple[str, ...]
    """Its spatial views, in the order in which they lie in the slot."""
    times: tuple[int, ...]
    """Its temporal views."""

    def message(self) -> bytes:
        """For the decoder."""
        clip = self.clip
        values = {
            "slot": self.slot,
            "path": str(clip.path),
            "segment": (clip.start_seconds, clip.end_seconds, clip.start_frame, clip.end_frame),
            "frames_per_second": clip.frames_per_second,
            "id": clip.id,
            "spaces": self.spaces,
            "times": self.times,
        }
        return json.dumps(values).encode()


class DecodersFailed(StepcliError):
    """Decoder processes cannot be started at all."""


@dataclass(slots=True)
class Child:
    """A process that decodes, and the pipe to it."""

    process: subprocess.Popen[bytes]
    pipe: Any
    stderr: Any

    def last_words(self) -> str:
        """How it ended by itself: it closes the pipe before it has written why."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(LAST_WORDS_SECONDS)
        return self.end()

    def end(self) -> str:
        """End it if it still runs; how it ended: its signal, or the last line it wrote."""
        self.pipe.close()
        self.process.kill()
        code = self.process.wait()
        if self.stderr.closed:
            return ""
        with self.stderr as stderr:
            stderr.seek(0)
            lines = stderr.read().decode(errors="replace").strip().splitlines()
        if lines:
            return str(lines[-1])
        # We end those that hang with SIGKILL ourselves: that says nothing about the clip.
        return f"signal {-code}" if code < 0 and code != -signal.SIGKILL else ""


@dataclass(slots=True)
class DecoderProcess(Child):
    """A running decoder (`worker.py`), and the clips that it has been given."""

    ready: bool = False
    tasks: deque[Task] = field(default_factory=deque)
    deadline: float = float("inf")
    """When the start, then the first task, has taken too long; monotonic seconds."""

    def give(self, task: Task, clip_seconds: float) -> None:
        """Send a clip; its clock runs once it is the first in line."""
        self.tasks.append(task)
        if self.ready and len(self.tasks) == 1:
            self.start_clock(clip_seconds)
        with suppress(OSError):  # it has just died: noticed when the pool listens
            self.pipe.send_bytes(task.message())

    def start_clock(self, clip_seconds: float) -> None:
        """From now on the first task has this much time."""
        self.deadline = time.monotonic() + clip_seconds if self.tasks else float("inf")


def start_decoder(settings: DecodeSettings, memory: int) -> DecoderProcess:
    """Start one; it says when it is ready.

    Args:
        settings: what is the same for every clip.
        memory: descriptor of the shared memory.
    """
    child = start_child("stepcli.extract.decode.worker", memory)
    with suppress(OSError):  # it has died already: noticed when the pool listens
        child.pipe.send_bytes(json.dumps(settings.to_json()).encode())
    deadline = time.monotonic() + START_SECONDS
    return DecoderProcess(child.process, child.pipe, child.stderr, deadline=deadline)


def start_child(module: str, *descriptors: int, stdin: int | None = subprocess.DEVNULL) -> Child:
    """Start a module of ours as a bare process.

    Args:
        module: its arguments are the numbers of its end of a pipe and of the descriptors, and the
            bytes that it may take.
        descriptors: passed on to it.
        stdin: as for Popen; None: ours.
    """
    allowed = allowed_bytes()
    ours, theirs = connection.Pipe()
    stderr = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
    passed = (theirs.fileno(), *descriptors)
    process = subprocess.Popen(
        # -P: a numpy.py in the folder of somebody's data must not be imported.
        [sys.executable, "-P", "-m", module, *map(str, (*passed, allowed))],
        pass_fds=passed,
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        process_group=0,  # Ctrl-C is for the main process, which ends them in good order
    )
    theirs.close()
    return Child(process, ours, stderr)


def shared_memory(size: int) -> int:
    """Descriptor of memory without a name: nothing is left behind however the run ends."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("stepcli-frames")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor
