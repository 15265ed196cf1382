"""Which known column of a list an unknown one may be meant for."""

from collections.abc import Collection, Sequence
from difflib import SequenceMatcher

ALIKE = 0.8
"""Similarity from which two names count as one (`difflib.SequenceMatcher.ratio`)."""
MEANT = {
    "path": ("file", "filename", "filepath", "video", "videopath", "videofile", "clippath"),
    "label": ("class", "classname", "category", "action", "target"),
    "id": (),
    "split": ("set", "subset", "partition"),
    "start_seconds": ("start", "starttime", "begin", "startsec", "starts", "tstart"),
    "end_seconds": ("end", "endtime", "stop", "endsec", "stopseconds", "ends", "tend"),
    "start_frame": ("firstframe", "framestart", "beginframe"),
    "end_frame": ("lastframe", "stopframe", "frameend"),
    "group": (),
    "view": (),
    "frames_per_second": ("fps", "framerate"),
}
"""Column -> what other lists call it, without case, blanks, "_" and "-"."""
_BOUNDS = ("start_seconds", "end_seconds", "start_frame", "end_frame")


def meant_columns(unknown: Sequence[str], present: Collection[str]) -> dict[str, str]:
    """Unknown column -> the known one that it looks like, of those that the list does not have.

    Args:
        unknown: names of columns that mean nothing.
        present: known columns that the list has.
    """
    found = {}
    for name in unknown:
        for known, others in MEANT.items():
            if known in present or (known in _BOUNDS and _has_bound(known, present)):
                continue
            plain = _plain(name)
            if plain in others or SequenceMatcher(None, plain, _plain(known)).ratio() >= ALIKE:
                found[name] = known
                break
    return found


def _has_bound(known: str, present: Collection[str]) -> bool:
    """Whether a start, or an end, is given already, in seconds or in frames."""
    side = known.partition("_")[0]
    return any(name in present for name in _BOUNDS if name.startswith(side))


def _plain(name: str) -> str:
    return "".join(name.casefold().split()).replace("_", "").replace("-", "")
