"""The frames of a stored clip as pictures, read again from its video."""

from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stepcli.cache.parts.sources import read_sources
from stepcli.cache.schema.clips import ClipRecord
from stepcli.cache.schema.views import clip_of, view_of
from stepcli.extract.datasets.roots import is_below, known_roots
from stepcli.extract.decode.isolated import video_frames, video_seconds
from stepcli.extract.decode.preprocess import PixelPlan
from stepcli.extract.decode.views import ViewPlan, cut, space_and_time
from stepcli.extract.sources.origin import fresh_digest
from stepcli.runtime.errors import VideoError
from stepcli.runtime.files import reading

if TYPE_CHECKING:
    from stepcli.cache.store.store import Store


def stored_frames(store: "Store", clip_id: str, videos: Sequence[Path] = ()) -> NDArray[np.uint8]:
    """What the backbone saw of a stored clip, before normalisation.

    Args:
        store: The store. It may be untrusted: a file that it names is only opened below a
            folder that the user has named, here or to an extraction.
        clip_id: Of a committed clip or view.
        videos: Folders of videos. One that holds a moved data set is its new root: a video that
            is not where it was is looked for below it, and taken if its digest is the recorded one.

    Returns:
        [T, height, width, 3] uint8, T the store's time steps; of a step that spans several video
        frames the one nearest to its time.

    Raises:
        VideoError: the video is not there any more, is another one now, or lies elsewhere.
        ClipNotFound: the clip is not committed.
    """
    record = store.record(clip_id)
    pictures = frames_at(_find_video(store, record, videos), record.pts_seconds)
    plan = PixelPlan.from_spec(store.spec.preprocessing)
    space, _ = space_and_time(view_of(clip_id))
    views = ViewPlan(
        **{
            name: value
            for name, value in store.spec.preprocessing.items()
            if name in ("train_views", "crop_seed", "crop_min_area")
        }  # type: ignore[arg-type]
    )
    # The box of a random crop is drawn from the clip's id, without the name of the view.
    clip = clip_of(clip_id)
    return np.stack([cut(picture, plan, views, (space,), clip)[0] for picture in pictures])


def _find_video(store: "Store", record: ClipRecord, videos: Sequence[Path]) -> Path:
    """The clip's video where it was, or below one of the folders, in those that may be opened."""
    recorded = Path(record.source).resolve()
    named = [folder.resolve() for folder in videos]
    if is_below(recorded, [*known_roots(), *named]) and recorded.exists():
        return recorded
    part, row = store.locate(record.id)
    with suppress(FileNotFoundError):  # compacted away meanwhile
        origin = read_sources(store.path, part).get(row) if named else None
        found = list(_places(origin.path, named)) if origin else []
        for moved in found:
            with reading(moved):
                digest = fresh_digest(moved)
            if origin is not None and digest == origin.digest:
                return moved
        if found:
            raise VideoError(f"{found[0]} is another video than the one of the clip {record.id}")
    if not is_below(recorded, [*known_roots(), *named]):
        raise VideoError(
            f"{recorded} is in no folder that you have named; --videos FOLDER allows to open it, "
            "or names the folder that its data set has moved to"
        )
    return recorded


def _places(path: str, folders: Sequence[Path]) -> Iterator[Path]:
    """Where below the folders a recorded video may lie now, the longest common path first."""
    parts = Path(path).parts
    for folder in folders:
        for skipped in range(len(parts)):
            moved = folder.joinpath(*parts[skipped:]).resolve()
            # Not outside the folder: the store may be anybody's, and may hold ".." and links.
            if is_below(moved, [folder]) and moved.exists():
                yield moved


def frames_at(path: Path, seconds: Sequence[float]) -> list[NDArray[np.uint8]]:
    """The frames of a video that are nearest to some times, in one pass over the file.

    Args:
        path: Of the video.
        seconds: Times since its first frame, in the order wanted.

    Raises:
        VideoError: it cannot be read, or ends before the last time.
    """
    times = video_seconds(path)
    if times[-1] + 1 < max(seconds):
        raise VideoError(
            f"{path} ends after {times[-1]:.1f} s and the clip's last frame is at "
            f"{max(seconds):.1f} s: it is another video now"
        )
    wanted = [int(np.abs(times - second).argmin()) for second in seconds]
    found: dict[int, NDArray[np.uint8]] = {}
    with closing(video_frames(path, sorted(set(wanted)))) as frames:
        for numbers, pictures in frames:
            found |= dict(zip(numbers, pictures, strict=True))
    return [found[number] for number in wanted]
