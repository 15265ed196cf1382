"""What a user may change about a clip or a class without touching a token."""

from dataclasses import dataclass
from typing import Literal

ClassKind = Literal["equivariant", "invariant", "irreversible", ""]


@dataclass(frozen=True, slots=True)
class ClipRow:
    """One line of the store's clips table."""

    id: str
    label: str
    split: str = ""
    """"train", "val", "test", or "" where the data set has none."""
    group: str = ""
    """Splits never divide it: source video, subject, episode."""
    view: str = ""


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One line of the store's classes table (classes.csv)."""

    name: str
    index: int
    partner: str = ""
    """The nearly symmetric class, "" where there is none."""
    kind: ClassKind = ""
    """Played backward, a clip takes its partner's label (equivariant), keeps its own (invariant),
    or shows something that does not happen (irreversible); empty if not given."""
    mirror: str = ""
    """The class that a horizontal flip turns this one into."""
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """One line of the store's segments table: what happens when in a recording."""

    recording: str
    """Its id: the part before "@" in the ids of its windows."""
    start_seconds: float
    """Since the recording's first frame."""
    end_seconds: float
    """Not included."""
    label: str


@dataclass(frozen=True, slots=True)
class Source:
    """The file, or folder of images, that a clip's tokens were made from."""

    root: str
    """Absolute folder of its data set, when it was read."""
    path: str
    """Below the root, "/" between folders; absolute if it is elsewhere."""
    size: int
    """Bytes; of a folder: of its images together."""
    mtime_ns: int
    """When it was last changed, nanoseconds since 1970; of a folder: the folder itself."""
    digest: str
    """"<kind>:<hexadecimal>"; `stepcli.extract.sources.origin` lists the kinds."""
    segment: str = ""
    """Which stretch of it; "" for the whole."""
    prefix: str = ""
    """What `extract --append` put before the ids of its data set."""


@dataclass(frozen=True, slots=True)
class ClipRecord:
    """What extraction found out about one clip; stored in its part's index."""

    id: str
    source: str
    """Path of the video, as read."""
    pts_seconds: tuple[float, ...]
    """Time of each stored frame since the video's first frame: T values, seconds."""
    distinct_frames: int
    """How many of the T frames differ: fewer than T where a short clip repeats frames."""
    frame_height: int
    """Pixels, as decoded."""
    frame_width: int
    origin: Source | None = None
    """What it was made from; None where it is not read along (`stepcli.cache.parts.sources` reads
    it), and in parts of versions that did not record it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a clip is in quarantine."""

    id: str
    path: str
    error: str
    """Class of the error, e.g. "VideoError"."""
    message: str
    attempt: int = 1
