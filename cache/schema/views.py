"""Several views of one clip: a store holds each as a clip of its own, `<clip id>@<view>`.

A view is a way of cutting the same stretch of video: in space (the centre, a crop at either end of
the longer side, a horizontal flip, a random resized crop; or the centre with corrupted pixels,
named by kind and severity) and in time (`-t<n>`, the n-th run of frames; `reversed-`, the same
frames backward, encoded in that order). It has nothing to do with
`ClipRow.view`, which names a camera. A clip of which only the centre was asked for is stored under
its plain id. All views of a clip have the same `ClipRow.group`; a flipped view carries its class's
mirror as label where the class has one, a reversed view the label of its clip: what the clip shows
backward is for the task to decide.
"""

import re
from collections.abc import Iterable, Sequence

CORRUPTIONS = ("noise", "blur", "brightness", "jpeg", "occlusion")
"""What may be done to the pixels of a view of the centre, with a severity: "noise3"."""
NAME = re.compile(
    r"(?:(?P<reversed>reversed-)?(?P<flip>flip-)?(?P<space>center|left|right|crop\d{1,2})"
    rf"|(?P<corruption>{'|'.join(CORRUPTIONS)})(?P<severity>[1-5]))(?:-t(?P<time>\d{{1,2}}))?"
)
"""left, right: of the longer side, so above and below in a portrait frame."""


def view_id(clip_id: str, view: str) -> str:
    """The id under which one view of a clip is stored; view "": the clip's only one."""
    return f"{clip_id}@{view}" if view else clip_id


def split_view(stored_id: str) -> tuple[str, str]:
    """A stored id -> id of the clip, name of the view; "" where the id names none."""
    clip_id, separator, view = stored_id.rpartition("@")
    if separator and clip_id and NAME.fullmatch(view):
        return clip_id, view
    return stored_id, ""


def clip_of(stored_id: str) -> str:
    """The clip that a stored view was cut from."""
    return split_view(stored_id)[0]


def view_of(stored_id: str) -> str:
    """The view's name, e.g. "flip-center", "crop3", "left-t0"; "" for a clip's only view."""
    return split_view(stored_id)[1]


def is_flip(view: str) -> bool:
    """Whether left and right are swapped in it."""
    found = NAME.fullmatch(view)
    return found is not None and found["flip"] is not None


def is_reversed(view: str) -> bool:
    """Whether its frames are shown backward."""
    found = NAME.fullmatch(view)
    return found is not None and found["reversed"] is not None


def reversed_id(stored_id: str) -> str:
    """The id of the view that shows the same frames backward; "" of a clip without views, which
    has none."""
    clip_id, view = split_view(stored_id)
    return view_id(clip_id, f"reversed-{view}") if view else ""


def is_random_crop(view: str) -> bool:
    """Whether it is a random resized crop, made for training."""
    found = NAME.fullmatch(view)
    return found is not None and (found["space"] or "").startswith("crop")


def corruption_of(view: str) -> tuple[str, int] | None:
    """Kind and severity (1 to 5) of a corrupted view; None of any other."""
    found = NAME.fullmatch(view)
    if found is None or found["corruption"] is None:
        return None
    return found["corruption"], int(found["severity"])


def training_views(views: Iterable[str]) -> list[str]:
    """Of a clip's views those to draw from in training: its random crops; without any, all that
    are neither reversed nor corrupted."""
    known = _forward(views)
    return [view for view in known if is_random_crop(view)] or known


def testing_views(views: Iterable[str]) -> list[str]:
    """Of a clip's views those whose probabilities are averaged in a test: all but random crops,
    reversed and corrupted ones; where there is nothing else, these."""
    known = _forward(views)
    return [view for view in known if not is_random_crop(view)] or known


def _forward(views: Iterable[str]) -> list[str]:
    known = list(views)
    forward = [view for view in known if not is_reversed(view)] or known
    return [view for view in forward if corruption_of(view) is None] or forward


def views_by_clip(stored_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Clip id -> view -> its place in `stored_ids`, clips in the order of their first view."""
    found: dict[str, dict[str, int]] = {}
    for place, stored_id in enumerate(stored_ids):
        clip_id, view = split_view(stored_id)
        found.setdefault(clip_id, {})[view] = place
    return found
