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
    """What must not be torn apart by a split: source video, subject, episode."""
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
    or shows something that does not happen (irreversible); "" where nobody has said."""
    mirror: str = ""
    """The class that a horizontal flip turns this one into."""
    prompt: str = ""


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


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a clip is in quarantine."""

    id: str
    path: str
    error: str
    """Class of the error, e.g. "VideoError"."""
    message: str
    attempt: int = 1
