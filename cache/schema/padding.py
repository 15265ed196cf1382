"""Short clips in a store: frames repeated by the sampling rule, or padded at the end.

With `StoreSpec.sampling` ending in "+pad", the first `distinct_frames` of a clip's T steps are its
frames in order; the steps after them are padding, which repeats the last frame's tokens and time,
so that a reader that ignores the mask sees nothing that is not in the video. Without it a short
clip repeats frames in between, and every step is real.
"""

from collections.abc import Sequence

import numpy as np

PAD = "+pad"


def is_padded(sampling: str) -> bool:
    """Whether short clips of a store end in padding; `sampling` as in its spec."""
    return sampling.endswith(PAD)


def frame_mask(sampling: str, distinct_frames: Sequence[int], frames: int) -> np.ndarray:
    """Which steps are real.

    Args:
        sampling: as in the store's spec.
        distinct_frames: of n clips, `ClipRecord.distinct_frames`.
        frames: T.

    Returns:
        [n, T] bool: False where a step is padding.
    """
    if not is_padded(sampling):
        return np.ones((len(distinct_frames), frames), bool)
    return np.arange(frames) < np.asarray(distinct_frames)[:, None]
