"""A clip's stored tokens as colours: their first three principal components as red, green, blue.

Source of the idea: the PCA pictures of Oquab et al., DINOv2, arXiv 2304.07193, figure 1. What
belongs together gets one colour over all frames, so a look tells whether an extraction is sane.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from stepcli.apply.pictures.stored_frames import stored_frames
from stepcli.cache.schema.padding import frame_mask
from stepcli.runtime.errors import UsageError, VideoError

if TYPE_CHECKING:
    from stepcli.cache.schema.clips import ClipRecord
    from stepcli.cache.schema.spec import StoreSpec
    from stepcli.cache.store.store import Store

SIDE = 160
"""Pixels of a frame."""
GAP = 4
CAPTION = 20
"""Pixels above the frames, for their times."""


def component_colours(tokens: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colours of tokens [n, D]: [n, 3].

    Components are those of the tokens without their mean; each is stretched from its 2nd to its
    98th percentile. Fewer than three components leave the other colours at a middle grey.
    """
    centred = tokens - tokens.mean(axis=0, dtype=np.float64)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    colours = np.full((len(tokens), 3), 0.5)
    for place in range(min(3, int((spread > 1e-6 * max(spread[0], 1e-30)).sum()))):
        # The sign of a component means nothing; this one is the same on every machine.
        axis = axes[place] * np.sign(axes[place][np.abs(axes[place]).argmax()])
        values = centred @ axis
        low, high = np.percentile(values, [2, 98])
        colours[:, place] = (values - low) / max(high - low, 1e-30)
    return (255 * colours.clip(0, 1)).round().astype(np.uint8)


def token_colours(spec: "StoreSpec", tokens: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colours of the finest grid of a clip's tokens.

    Args:
        spec: Of the store.
        tokens: [T, S, D], or [L, T, S, D]: the deepest layer is shown.

    Returns:
        [T, rows, columns, 3] uint8.

    Raises:
        UsageError: the store holds no patches.
    """
    if tokens.ndim == 4:
        tokens = tokens[spec.layers.index(max(spec.layers))]
    grids = []
    start = 0
    for segment in spec.segments:
        if segment.grid is not None:
            grids.append((segment.count, start, segment.grid))
        start += segment.count
    if not grids:
        raise UsageError("the store holds no patches, so there is no picture of its tokens")
    count, start, grid = max(grids)
    chosen = tokens[:, start : start + count]
    flat = chosen.reshape(-1, chosen.shape[-1])
    return component_colours(flat).reshape(len(tokens), *grid, 3)


def frame_captions(sampling: str, record: "ClipRecord") -> list[str]:
    """Of each stored time step the time of its frame in the video, "1.25 s"; "padding" where a
    step only repeats the last frame.

    Args:
        sampling: As in the store's spec.
        record: Of the clip.
    """
    real = frame_mask(sampling, [record.distinct_frames], len(record.pts_seconds))[0]
    return [
        f"{seconds:.2f} s" if of_its_own else "padding"
        for seconds, of_its_own in zip(record.pts_seconds, real, strict=True)
    ]


def token_picture(
    store: "Store", clip_id: str, videos: Sequence[Path] = ()
) -> tuple[Image.Image, str]:
    """A clip's frames, their times and numbers in the clip, and its tokens' colours beneath.

    Args:
        store: The store.
        clip_id: Of a committed clip or view.
        videos: Folders of videos; see `stored_frames`.

    Returns:
        The picture, and why the frames are not in it: "" if they are.

    Raises:
        ClipNotFound: the clip is not committed.
        UsageError: the store holds no patches.
    """
    colours = token_colours(store.spec, store.read_floats([clip_id])[0])
    rows = [colours]
    absent = ""
    try:
        rows.insert(0, stored_frames(store, clip_id, videos))
    except VideoError as error:  # tokens outlive videos
        absent = str(error)
    step = SIDE + GAP
    size = (step * len(colours) - GAP, CAPTION + step * len(rows) - GAP)
    sheet = Image.new("RGB", size, "white")
    captions = frame_captions(store.spec.sampling, store.record(clip_id))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=CAPTION - 6)
    for column, caption in enumerate(captions):
        draw.text((column * step + SIDE // 2, CAPTION // 2), caption, "black", font, anchor="mm")
    for row, pictures in enumerate(rows):
        how = Image.Resampling.NEAREST if pictures is colours else Image.Resampling.BILINEAR
        for column, picture in enumerate(pictures):
            small = Image.fromarray(picture).resize((SIDE, SIDE), how)
            sheet.paste(small, (column * step, CAPTION + row * step))
    return sheet, absent
