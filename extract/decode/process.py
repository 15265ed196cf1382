"""Decoder processes: what they are told, how they are started and ended, what they may take.

A pool and its decoders (`worker.py`) talk over a pipe in JSON; readers of single videos
(`reader.py`) are started alike.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing import connection
from pathlib import Path
from typing import Any

from stepcli.extract.datasets.clip import Clip
from stepcli.extract.decode.preprocess import PixelPlan
from stepcli.extract.decode.sampling import parse_sampling
from stepcli.extract.decode.views import ViewPlan, space_and_time
from stepcli.runtime.errors import StepcliError, UsageError

START = "stepcli.extract.decode.start"
START_SECONDS = 120.0
"""Time limit for a decoder process to come up; machines under load are slow to import."""
LAST_WORDS_SECONDS = 10.0
"""For a process that has closed its pipe to write why it ends."""
VARIABLE = "STEPCLI_DECODER_GIB"
DEFAULT_GIB = 4.0
"""Address space beyond what the process has mapped once it is ready; 8K video needs up to 2 GiB."""
OUT_OF_MEMORY = "Cannot allocate memory"
"""The system's words, as FFmpeg passes them on."""

_PART = ("id", "start_seconds", "end_seconds", "start_frame", "end_frame", "frames_per_second")
"""Fields of a clip that a decoder needs beside its path."""

_limits: list[int] = []
"""The limit of this process, where it has one."""


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """What is the same for every clip of a run."""

    plan: PixelPlan
    sampling: str
    frames: int
    """Frames of a view of a clip: T time steps, times the frames that a token spans."""
    views: ViewPlan = field(default_factory=ViewPlan)
    decoder: str = "pyav"
    """"pyav" or "torchcodec"."""
    others: tuple[PixelPlan, ...] = ()
    """Of further backbones, whose pixels are made of the same decoded frames."""

    @property
    def plans(self) -> tuple[PixelPlan, ...]:
        """Of every backbone."""
        return (self.plan, *self.others)

    @property
    def slot_bytes(self) -> int:
        """Shared memory that one clip's pixels may need, in all of its views."""
        times = parse_sampling(self.sampling).views
        spaces = len({space_and_time(view)[0] for view in self.views.spaces_of("train")})
        return self.frames * times * spaces * sum(map(pixel_bytes, self.plans))

    def to_json(self) -> dict[str, object]:
        """For the worker's first message."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "DecodeSettings":
        """The reverse of `to_json`."""
        views = {**values["views"], "spaces": tuple(values["views"]["spaces"])}
        plan, *others = map(PixelPlan.from_spec, (values["plan"], *values["others"]))
        made = {"plan": plan, "others": tuple(others), "views": ViewPlan(**views)}
        return cls(**{**values, **made})


def pixel_bytes(plan: PixelPlan) -> int:
    """Of one frame in one spatial view."""
    return plan.height * plan.width * 3


@dataclass(slots=True)
class DecodeTask:
    """A clip that a decoder has been given, and where its pixels go."""

    clip: Clip
    slot: int
    spaces: tuple[str, ...] = ("center",)
    """Its spatial views, in their order in the slot."""
    times: tuple[int, ...] = (0,)
    """Its temporal views."""
    attempt: int = 1

    def to_json(self) -> dict[str, object]:
        """For the decoder."""
        part = {name: getattr(self.clip, name) for name in _PART}
        clip = {**part, "path": str(self.clip.path)}
        return {"clip": clip, "slot": self.slot, "spaces": self.spaces, "times": self.times}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "DecodeTask":
        """The task as the decoder sees it: of the clip no more than it needs."""
        clip = values["clip"]
        clip = Clip(**{**clip, "path": Path(clip["path"]), "label": ""})
        return cls(clip, values["slot"], tuple(values["spaces"]), tuple(values["times"]))


class DecodersFailed(StepcliError):
    """Decoder processes cannot be started, or cannot read any video of some kind."""


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
    tasks: deque[DecodeTask] = field(default_factory=deque)
    deadline: float = float("inf")
    """When the start, then the first task, has taken too long; monotonic seconds."""

    def give(self, task: DecodeTask, clip_seconds: float) -> None:
        """Send a clip; its clock runs once it is the first in line."""
        self.tasks.append(task)
        if self.ready and len(self.tasks) == 1:
            self.start_clock(clip_seconds)
        with suppress(OSError):  # it has just died: noticed when the pool listens
            self.pipe.send_bytes(json.dumps(task.to_json()).encode())

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
        [sys.executable, "-P", "-m", START, module, *map(str, (*passed, allowed))],
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


def allowed_bytes() -> int:
    """What STEPCLI_DECODER_GIB says.

    Raises:
        UsageError: it is no number above 0.
    """
    text = os.environ.get(VARIABLE, "") or str(DEFAULT_GIB)
    try:
        gib = float(text)
    except ValueError:
        gib = 0.0
    if not 0 < gib < 1 << 20:
        raise UsageError(f"{VARIABLE}={text}: expected GiB for a decoder process, above 0")
    return int(gib * (1 << 30))


def limit_memory(allowed: int) -> None:
    """Bound the address space of the calling process, and have no core dumped of it.

    Linux only: other systems do not enforce such a limit, or count shared libraries of the system.

    Args:
        allowed: Bytes beyond what is mapped now.
    """
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = mapped + allowed
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        _limits.append(allowed)


def out_of_memory() -> str:
    """Message for a video that needs more memory."""
    if not _limits:
        return "its frames do not fit in memory"
    return (
        f"its frames do not fit in the {_limits[-1] / (1 << 30):.3g} GiB of memory that a decoder "
        f"process may take; {VARIABLE} raises that"
    )


def end_with_parent(parent: int) -> None:
    """Wait until the parent has gone, then end this process; run it in a thread."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
