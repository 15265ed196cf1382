"""Annotation files of data sets: what happens when in which recording, read without the videos."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from stepcli.runtime.csv_tables import read_header
from stepcli.runtime.errors import UsageError


@dataclass(frozen=True, slots=True)
class ListedSegment:
    """One segment of an annotation file, in seconds or in frames as the file gives it."""

    recordings: tuple[str, ...]
    """What its recording may be called: path below the data set's root without a video's ending."""
    label: str
    start_seconds: float | None = None
    end_seconds: float | None = None
    start_frame: int | None = None
    """From 0."""
    end_frame: int | None = None
    """Not included."""
    frames_per_second: float | None = None
    """Of the recording where it is a folder of numbered images."""
    part_of: str = ""
    """The annotation that the file divides into parts of which this is one; "" for a whole one."""


@dataclass(frozen=True, slots=True)
class Annotations:
    """What an annotation file says."""

    segments: tuple[ListedSegment, ...]
    unsegmented: tuple[tuple[str, ...], ...] = ()
    """Recordings, as `ListedSegment.recordings`, of which it says that nothing happens in them."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AnnotationFormat:
    """A kind of annotation file."""

    form: str
    """How it is recognised, for people."""
    fits: Callable[[Path], bool]
    read: Callable[[Path, Mapping[str, str]], Annotations]
    """File and options of the data set -> its content. Raises UsageError."""


def csv_format(
    columns: Collection[str], read: Callable[[Path, Mapping[str, str]], Annotations]
) -> AnnotationFormat:
    """A CSV file that is recognised by its columns; others may be there too."""
    return AnnotationFormat(
        f"CSV with {', '.join(columns)}", lambda path: set(columns) <= set(read_header(path)), read
    )


def beside(file: Path, names: Collection[str], purpose: str) -> Path:
    """A file that an annotation file needs, in its folder or in one of the two above.

    Args:
        file: the annotation file.
        names: below those folders, the first that is there.
        purpose: what it holds.

    Raises:
        UsageError: none is there.
    """
    for folder in file.absolute().parents[:3]:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    raise UsageError(
        f"{file} needs {next(iter(names))} ({purpose}) in its folder or in one of the two "
        "folders above; copy it there"
    )
