"""Clips that are folders of numbered images (Jester, IKEA ASM), read as if they were a video."""

from collections.abc import Callable, Sequence
from pathlib import Path

from stepcli.extract.datasets.images import frame_files
from stepcli.extract.decode.clip_bounds import ClipBounds
from stepcli.extract.decode.image_file import read_image
from stepcli.extract.decode.orientation import RGB
from stepcli.extract.decode.video import ReadClip


def read_image_folder(
    path: Path,
    frames_per_second: float,
    bounds: ClipBounds,
    pick: Callable[[int], Sequence[int]],
    convert: Callable[[RGB], RGB],
) -> ReadClip:
    """Read the picked images of a folder, in the order of their numbers.

    Args:
        path: the folder; which of its files are frames: `stepcli.extract.datasets.images`.
        frames_per_second: what the images were taken at; gives them times.
        bounds: the part of it.
        pick: number of frames N -> T indices in [0, N), never decreasing.
        convert: applied to each picked image once.

    Raises:
        VideoError: no images, or one that cannot be read.
    """
    files = frame_files(path)
    seconds = [number / frames_per_second for number in range(len(files))]
    start, stop, past_end = bounds.frame_range(seconds)
    indices = [start + index for index in pick(stop - start)]
    wanted = sorted(set(indices))
    place = {index: position for position, index in enumerate(wanted)}
    images: list[RGB] = []
    size = (0, 0)
    for index in wanted:
        image = read_image(files[index])
        size = size if images else (image.shape[0], image.shape[1])
        images.append(convert(image))
    return ReadClip(
        images,
        [place[index] for index in indices],
        [seconds[index] for index in indices],
        *size,
        past_end,
    )
