"""The JSON messages between a process and its decoder processes (`worker.py`, `reader.py`)."""

from typing import Literal, TypedDict

PixelValues = dict[str, bool | int | float | str | list[float] | list[int]]
"""A PixelPlan as `to_spec` writes it."""


class SecondsRequest(TypedDict):
    """When is each frame of a video shown?"""

    do: Literal["seconds"]
    path: str


class FramesRequest(TypedDict):
    """Some frames of a video."""

    do: Literal["frames"]
    path: str
    wanted: list[int]
    """Numbers of frames, rising."""
    plan: PixelValues | None
    """Resizes and crops the frames; None: as decoded."""
    batch: int
    """Frames per answer."""


class LiveRequest(TypedDict):
    """The frames of a stream, one offer each."""

    do: Literal["live"]
    place: str
    form: str | None
    """FFmpeg's name of the format; None: it finds out."""


class GridRequest(TypedDict):
    """A whole recording on a grid of times (`grid.py`)."""

    do: Literal["grid"]
    path: str
    frames_per_second: float | None
    """Of a folder of images; None for a video."""
    rate: str
    """Steps per second, a fraction."""
    first: int
    """Step from which on pictures are wanted."""
    until: float | None
    """Seconds after which the recording is not read any further; None: all of it is."""
    numbers: list[int]
    """Frames whose times are wanted, with the number of steps."""
    plan: PixelValues | None
    """None where no picture is wanted."""
    batch: int
    """Pictures per answer."""


class LengthRequest(TypedDict):
    """How long is a recording (`length.py`)?"""

    do: Literal["length"]
    path: str
    frames_per_second: float | None
    """Of a folder of images; None for a video."""


Request = SecondsRequest | FramesRequest | GridRequest | LengthRequest | LiveRequest


class Facts(TypedDict, total=False):
    """One answer of a reader; the last one has "end" or "error"."""

    ready: bool
    frames: int
    """Sign of life: frames decoded."""
    seconds: list[float]
    numbers: list[int]
    """Of the frames whose pictures follow."""
    steps: int
    """Of a recording in all."""
    grid: list[tuple[int, int, float]]
    """Of each picture that follows: its first step, how many steps show it, its time."""
    size: tuple[int, int]
    """Height and width of the recording's frames."""
    length: tuple[float, int, bool]
    """The fields of a Length."""
    open: bool
    offer: float | None
    """Time of a stream's frame, whose picture may be asked for, and that of the frame before it."""
    ended: bool
    """Of a stream: there is no further frame."""
    shape: tuple[int, ...]
    """Of the pictures that follow as bytes."""
    end: bool
    error: str
    fatal: str
    """Why no video can be read."""


class ReadValues(TypedDict):
    """A ReadClip whose images are in shared memory."""

    images: int
    """Number of distinct frames."""
    positions: list[int]
    pts_seconds: list[float]
    frame_height: int
    frame_width: int
    past_end: bool


class SourceValues(TypedDict):
    """Fields of FileFacts."""

    size: int
    mtime_ns: int
    digest: str


class ClipReply(TypedDict, total=False):
    """What a worker says of a clip: what it read, or why it could not."""

    ready: bool
    fatal: str
    """Why it cannot go on, with any clip: the last thing that it says."""
    read: ReadValues
    source: SourceValues
    error: str
    """Name of the class of the error."""
    message: str
    seconds: float
