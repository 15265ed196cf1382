"""Depth sequences in MATLAB files (UTD-MHAD: `d_depth`), read as if they were a video.

Depth becomes grey by one fixed range. Scaling each frame by its own extremes would turn a step
towards the camera into a change of the whole picture.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stepcli.extract.datasets.videos import DEPTH_ENDING, DEPTH_READER
from stepcli.extract.decode.clip_bounds import ClipBounds
from stepcli.extract.decode.container import require_file
from stepcli.extract.decode.orientation import RGB
from stepcli.extract.decode.video import ReadClip
from stepcli.runtime.errors import VideoError
from stepcli.runtime.extras import load_extra, raise_failed_import

VARIABLE = "d_depth"
FRAMES_PER_SECOND = 30.0
"""Of the Kinect; the files do not say."""
NEAR_MM = 800.0
FAR_MM = 4000.0
"""Range in which the Kinect measures; a nearer surface is shown as at NEAR_MM, a farther one as at
FAR_MM."""


def is_depth_file(path: Path) -> bool:
    """Whether a file is read as a depth sequence, by its name."""
    return path.suffix.lower() == DEPTH_ENDING


def depth_frames(path: Path) -> NDArray[np.uint8]:
    """All frames of a file as grey images, [frames, height, width].

    Raises:
        VideoError: it cannot be read, or holds no depth sequence.
    """
    return grey(_measured(path))


def grey(millimetres: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Depth as 8-bit grey: NEAR_MM is 255, FAR_MM 1, linear between; without measurement 0.

    Args:
        millimetres: any shape; 0, negative or not finite means no measurement.
    """
    depth = np.asarray(millimetres, np.float32)
    measured = np.isfinite(depth) & (depth > 0)
    near = (FAR_MM - np.clip(np.where(measured, depth, FAR_MM), NEAR_MM, FAR_MM)) / (
        FAR_MM - NEAR_MM
    )
    return np.where(measured, np.rint(1 + 254 * near), 0).astype(np.uint8)


def depth_seconds(frames: int) -> list[float]:
    """Time of each frame since the first one."""
    return [number / FRAMES_PER_SECOND for number in range(frames)]


def as_rgb(frame: NDArray[np.uint8]) -> RGB:
    """A grey image [height, width] as [height, width, 3]."""
    return np.repeat(frame[..., None], 3, axis=2)


def read_depth_file(
    path: Path,
    bounds: ClipBounds,
    pick: Callable[[int], Sequence[int]],
    convert: Callable[[RGB], RGB],
) -> ReadClip:
    """Read the picked frames of a depth sequence; arguments as for `read_image_folder`.

    Raises:
        VideoError: it cannot be read, or no frame lies within the bounds.
    """
    frames = depth_frames(path)
    seconds = depth_seconds(len(frames))
    start, stop, past_end = bounds.frame_range(seconds)
    indices = [start + index for index in pick(stop - start)]
    wanted = sorted(set(indices))
    place = {index: position for position, index in enumerate(wanted)}
    return ReadClip(
        [convert(as_rgb(frames[index])) for index in wanted],
        [place[index] for index in indices],
        [seconds[index] for index in indices],
        frames.shape[1],
        frames.shape[2],
        past_end,
    )


def _measured(path: Path) -> NDArray[np.generic]:
    """[frames, height, width], as stored."""
    require_file(path)
    scipy = load_extra(*DEPTH_READER)
    loadmat, whosmat = scipy.loadmat, scipy.whosmat
    try:
        stored = loadmat(path, appendmat=False, variable_names=[VARIABLE]).get(VARIABLE)
        held = [] if stored is not None else [name for name, *_ in whosmat(path, appendmat=False)]
    except NotImplementedError as error:
        raise VideoError(
            "a file of MATLAB 7.3, which is not supported: save it with -v7 in MATLAB"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # the reader raises anything on damaged bytes
        raise_failed_import(error)
        raise VideoError(f"damaged: no readable MATLAB file ({error})") from error
    if stored is None:
        raise VideoError(f"holds no variable {VARIABLE} (only {', '.join(held) or 'nothing'})")
    if stored.ndim == 2:
        stored = stored[..., None]  # MATLAB drops a last dimension of 1
    if stored.dtype.kind not in "uif" or stored.ndim != 3 or not stored.size:
        raise VideoError(
            f"{VARIABLE} is {stored.dtype} of shape {list(stored.shape)}: expected numbers of "
            "shape [height, width, frames]"
        )
    moved: NDArray[np.generic] = np.moveaxis(stored, 2, 0)
    return moved
