"""The whole recordings that the clips of a data set were cut from."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stepcli.extract.datasets.clip import Clip, Dataset
from stepcli.runtime.words import counted


def recordings_of(dataset: Dataset) -> Dataset:
    """One clip per file of the list, without bounds.

    A file that the list names once as a whole keeps its id and label. A file named by segments is
    called by its path below the root without its ending, and has no label: its segments become
    `stretches`, which label its windows. Split, group and camera stay where all of a file's clips
    agree.

    Raises:
        UsageError: two recordings would have the same id.
    """
    by_path: dict[Path, list[Clip]] = {}
    for clip in dataset.clips:
        by_path.setdefault(clip.path, []).append(clip)
    found, stretches = [], {}
    for clips in by_path.values():
        found.append(_recording(clips, dataset.root))
        if _is_segmented(clips):
            stretches[found[-1].id] = tuple(clips)
    note = (
        f"{counted(len(stretches), 'recording')} listed by segments: whole files are cut into "
        "windows, which take the label of their middle"
    )
    notes = (*dataset.notes, *([note] if stretches else []))
    return replace(dataset, clips=tuple(found), notes=notes, stretches=stretches)


def _is_segmented(clips: Sequence[Clip]) -> bool:
    first = clips[0]
    bounds = (first.start_seconds, first.end_seconds, first.start_frame, first.end_frame)
    return len(clips) > 1 or any(bound is not None for bound in bounds)


def _recording(clips: Sequence[Clip], root: Path | None) -> Clip:
    first = clips[0]
    if not _is_segmented(clips):
        return first
    path = Path(os.path.abspath(first.path))  # noqa: PTH100 (Path.absolute keeps "..")
    if root is not None and path.is_relative_to(root):
        path = path.relative_to(root)
    if first.frames_per_second is None:
        path = path.with_suffix("")

    def shared(field: str) -> str:
        values = {str(getattr(clip, field)) for clip in clips}
        return values.pop() if len(values) == 1 else ""

    return replace(
        first,
        id=path.as_posix(),
        label="",
        split=shared("split"),
        group=shared("group"),
        view=shared("view"),
        start_seconds=None,
        end_seconds=None,
        start_frame=None,
        end_frame=None,
    )
