"""The frames of a stored clip as pictures, read again from its video."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stepcli.cache.schema.views import clip_of, view_of
from stepcli.extract.datasets.roots import is_below, known_roots
from stepcli.extract.decode.isolated import video_frames, video_seconds
from stepcli.extract.decode.preprocess import PixelPlan
from stepcli.extract.decode.views import ViewPlan, cut, space_and_time
from stepcli.runtime.errors import VideoError

if TYPE_CHECKING:
    from stepcli.cache.store.store import Store


def stored_frames(store: "Store", clip_id: str, videos: Sequence[Path] = ()) -> NDArray[np.uint8]:
    """What the backbone saw of a stored clip, before normalisation.

    Args:
        store: The store. It may be untrusted: a file that it names is only opened below a
            folder that the user has named, here or to an extraction.
        clip_id: Of a committed clip or view.
        videos: Folders of videos.

    Returns:
        [T, height, width, 3] uint8, T the store's time steps; of a step that spans several video
        frames the one nearest to its time.

    Raises:
        VideoError: the video is not there any more, is another one now, or lies elsewhere.
        ClipNotFound: the clip is not committed.
    """
    record = store.record(clip_id)
    path = Path(record.source).resolve()
    if not is_below(path, [*known_roots(), *(folder.resolve() for folder in videos)]):
        raise VideoError(
            f"{path} is in no folder that you have named; --videos FOLDER allows to open it"
        )
    pictures = frames_at(path, record.pts_seconds)
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


def frames_at(path: Path, seconds: Sequence[float]) -> list[NDArray[np.uint8]]:
    """The frames of a video that are nearest to some times, in one pass over the file.

    Args:
        path: Of the video.
        seconds: Times since its first frame, never decreasing.

    Raises:
        VideoError: it cannot be read, or ends before the last time.
    """
    times = video_seconds(path)
    if times[-1] + 1 < seconds[-1]:
        raise VideoError(
            f"{path} ends after {times[-1]:.1f} s and the clip's last frame is at "
            f"{seconds[-1]:.1f} s: it is another video now"
        )
    wanted = [int(np.abs(times - second).argmin()) for second in seconds]
    found: dict[int, NDArray[np.uint8]] = {}
    for numbers, pictures in video_frames(path, sorted(set(wanted))):
        found |= dict(zip(numbers, pictures, strict=True))
    return [found[number] for number in wanted]
