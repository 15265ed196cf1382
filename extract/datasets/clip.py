"""One stretch of one video, and the data set that it belongs to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stepcli.cache.schema.clips import ClassRow, ClipRow
from stepcli.cache.schema.views import view_id
from stepcli.extract.datasets.segment_files import AnnotationFormat
from stepcli.runtime.errors import UsageError


@dataclass(frozen=True, slots=True)
class Clip:
    """A video, or the part of one between two times or two frame numbers (never both)."""

    id: str
    """Unique within the data set; what a rerun recognises the clip by."""
    path: Path
    label: str
    """Of a data set with several labels per clip its labels, joined by ";", or ""."""
    split: str = ""
    """"train", "val", "test", or ""."""
    start_seconds: float | None = None
    """Since the video's first frame; the clip holds frames with start <= time < end."""
    end_seconds: float | None = None
    start_frame: int | None = None
    """In presentation order, from 0; the clip holds frames in [start_frame, end_frame)."""
    end_frame: int | None = None
    group: str = ""
    """Splits never divide it: source video, subject, episode."""
    view: str = ""
    frames_per_second: float | None = None
    """Of a folder of numbered images; None for a video, which knows its own times."""
    views: tuple[str, ...] = ()
    """Views to be stored (`stepcli.cache.schema.views`); () for its centre under the plain id."""
    root: str = ""
    """Absolute folder of its data set; "" for a clip of none."""
    prefix: str = ""
    """What `--append` put before its id."""

    @property
    def stored_ids(self) -> tuple[str, ...]:
        """The ids under which its views are stored."""
        return tuple(view_id(self.id, view) for view in self.views) or (self.id,)

    def within(self, root: str, prefix: str) -> "Clip":
        """The clip in a data set with this root, its id and group behind the prefix.

        Args:
            root: absolute folder.
            prefix: of `--append`; "" for none.
        """
        before = f"{prefix}/" if prefix else ""
        return Clip(  # not by dataclasses.replace, which takes six times as long
            before + self.id,
            self.path,
            self.label,
            self.split,
            self.start_seconds,
            self.end_seconds,
            self.start_frame,
            self.end_frame,
            before + self.group if self.group else "",  # a group is of one data set alone
            self.view,
            self.frames_per_second,
            self.views,
            root,
            prefix,
        )

    def row(self) -> ClipRow:
        """The clip as a line of the store's clips table."""
        return ClipRow(self.id, self.label, self.split, self.group, self.view)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Clips with unique ids, and the classes in the order of their index."""

    name: str
    clips: tuple[Clip, ...]
    classes: tuple[ClassRow, ...]
    notes: tuple[str, ...] = ()
    """What a user should know before the run, e.g. how many listed videos are not on the disk."""
    root: Path | None = None
    """Its folder, absolute; None if not given."""
    bundled: bool = False
    """Whether its clips ship with stepcli."""
    several: bool = False
    """Whether a clip has any number of labels, joined by ";", for --task multi-label."""
    stretches: Mapping[str, tuple[Clip, ...]] = field(default_factory=dict)
    """Of recordings that were listed by segments: id of the recording -> those segments."""
    part_of: Mapping[str, str] = field(default_factory=dict)
    """Of clips that are parts of one annotation: clip id -> that annotation, e.g. of chunks of at
    most three seconds. Whole recordings have its parts as one segment again."""

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for clip in self.clips:
            if clip.id in seen:
                raise UsageError(
                    f"{self.name}: the clip id {clip.id!r} appears twice; "
                    "give each clip an id of its own"
                )
            seen.add(clip.id)
            if "\0" in str(clip.path):  # which no call of the system takes
                raise UsageError(
                    f"{self.name}: the path of clip {clip.id!r} is {str(clip.path)!r}, which holds "
                    "a NUL character; correct the list"
                )
        if not self.clips:
            raise UsageError(f"{self.name}: no clips were found; nothing is left to extract")


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """How one data set is read, and what a user must know to lay it out."""

    name: str
    load: Callable[[Path, Mapping[str, str]], Dataset]
    """Root and options -> data set. Raises UsageError before any video is touched."""
    layout: str
    """The files expected below the root, as text for people."""
    source: str
    """Where users get it."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Name of each option -> what it does, with its default."""
    code: tuple[str, str] = ("", "")
    """Of a data set from outside: its file or object, and what identifies its code."""
    bundled_root: Callable[[], Path] | None = None
    """The root to use when none is given, for clips that ship with stepcli."""
    annotations: AnnotationFormat | None = None
    """The annotation file that `stepcli store labels --segments` takes by itself."""

    def option(self, given: Mapping[str, str], name: str, default: str, *allowed: str) -> str:
        """The value of one option; refuses values that are not among `allowed`, if any are."""
        value = given.get(name, default)
        if allowed and value not in allowed:
            raise UsageError(
                f"{self.name}: option {name}={value!r} is not known; "
                f"expected one of {', '.join(allowed)}"
            )
        return value
