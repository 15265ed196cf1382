"""Pictures of attention: strips of a clip's frames, and attention over time in both directions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from stepcli.probe.report.attention_maps import Strip
from stepcli.probe.report.style import Figure, canvas, counting_axis, finish, percent_axis

SIDE = 112
"""Pixels of a frame in a strip."""


def strip_figure(strip: Strip, name: str, label: str) -> Figure:
    """A clip's frames as shown, where the probe looked in them, and how much at each."""
    frames = len(strip.over_frames)
    has_pictures, has_patches = strip.pictures is not None, strip.over_patches is not None
    kinds = ["frame"] * has_pictures + ["looked"] * has_patches + ["share"]
    heights = {"frame": 1.0, "looked": 1.0, "share": 0.7}
    ratios = [heights[kind] for kind in kinds]
    drawn, axes = canvas(
        0.55 + 7.0 / frames * sum(ratios),
        columns=frames,
        rows=len(kinds),
        squeeze=False,
        gridspec_kw={"height_ratios": ratios, "wspace": 0.03, "hspace": 0.03},
    )
    top = float(strip.over_frames.max()) or 1.0
    most = 1.0 if strip.over_patches is None else float(strip.over_patches.max()) or 1.0
    for kind, row in zip(kinds, axes, strict=True):
        for step, place in enumerate(row):
            place.grid(visible=False)
            place.set_xticks([])
            place.set_yticks([])
            if kind == "frame" and strip.pictures is not None:
                place.imshow(_small(strip.pictures[step]))
                place.set_title(f"{step + 1}", fontsize=7, fontweight="normal", pad=2)
            elif kind == "looked" and strip.over_patches is not None:
                light = np.sqrt(_stretched(strip.over_patches[step] / most))
                picture = (
                    np.full((SIDE, SIDE, 3), 235, np.uint8)
                    if strip.pictures is None
                    else _small(strip.pictures[step])
                )
                # What was not looked at is dark: this also shows in print and without colour.
                place.imshow((picture * (0.15 + 0.85 * light[..., None])).astype(np.uint8))
            elif kind == "share":
                share = float(strip.over_frames[step])
                place.bar([0], [share], color="#0072b2", edgecolor="black", linewidth=0.5)
                place.set_ylim(0, top * 1.35)
                place.set_xlim(-0.7, 0.7)
                place.text(0, share, f"{100 * share:.0f}", ha="center", va="bottom", fontsize=7)
                place.spines[["left"]].set_visible(False)
    way = ", shown backward" if strip.backward else ""
    title = f"{strip.clip}{way}: said {strip.said} ({100 * strip.confidence:.0f} %)"
    title += ", right" if strip.said == strip.truth else f", is {strip.truth}"
    shares = ", ".join(f"{100 * share:.0f}" for share in strip.over_frames)
    lines = ["frames as shown"] * has_pictures
    lines += ["the same, bright where the probe looked"] * has_patches
    # Without the reason, which names a path: a report is made to be passed on.
    absent = (
        ""
        if has_pictures
        else " The video is not there any more, or may not be opened (--videos), so its frames are "
        "not shown."
    )
    return finish(
        drawn,
        name,
        title,
        f"{label}: {'; '.join([*lines, 'attention to each frame, %'])}.{absent}",
        f"{title}. Attention by frame, per cent: {shares}.",
    )


def _small(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _stretched(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """A grid of values as large as the picture; the patches keep their edges."""
    picture = Image.fromarray(light.astype(np.float32))
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.NEAREST))


def over_time(label: str, forward: Tensor, backward: Tensor) -> Figure:
    """Mean attention of each head over the frames, clips shown forward beside backward."""
    drawn, axes = canvas(2.6, columns=3, gridspec_kw={"width_ratios": [1, 1, 1.2]})
    top = 100 * float(max(forward.max(), backward.max()))
    image: Any = None
    for place, attended, title in zip(
        axes, (forward, backward), ("shown forward", "shown backward"), strict=False
    ):
        heads, steps = attended.shape
        ends = (0.5, steps + 0.5, heads + 0.5, 0.5)
        image = place.imshow(
            100 * attended.numpy(), cmap="Greys", vmin=0, vmax=top, aspect="auto", extent=ends
        )
        place.set_title(title)
        place.set_xlabel("frame as shown")
        place.grid(visible=False)
        counting_axis(place, "x", steps)
        counting_axis(place, "y", heads)
    axes[0].set_ylabel("head")
    drawn.colorbar(image, ax=axes[1], label="%", shrink=0.9)
    frames = np.arange(1, forward.shape[1] + 1)
    for attended, look, said in ((forward, "o-", "forward"), (backward, "s--", "backward")):
        color = "#0072b2" if look == "o-" else "#d55e00"
        axes[2].plot(
            frames, 100 * attended.mean(dim=0).numpy(), look, color=color, ms=4, label=said
        )
    axes[2].set_xlabel("frame as shown")
    axes[2].set_ylabel("mean over heads, %")
    shown = [float(100 * each.mean(dim=0).max()) for each in (forward, backward)]
    percent_axis(axes[2], "y", [0, *shown])
    counting_axis(axes[2], "x", len(frames))
    axes[2].legend(loc="best")
    shares = [
        ", ".join(f"{100 * share:.0f}" for share in each.mean(dim=0).tolist())
        for each in (forward, backward)
    ]
    return finish(
        drawn,
        "attention-over-time",
        f"Where {label} looks in time",
        "Share of attention that each frame gets, mean over test clips, first seed. A head that "
        "follows places in time looks alike in both; one that follows content is mirrored.",
        f"Mean attention by frame, per cent: forward {shares[0]}; backward {shares[1]}.",
    )
