"""A clip's source as it is recorded: its path below the root, its stretch, its file's facts."""

import os
from pathlib import Path

from stepcli.cache.schema.clips import Source
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.sources.digests import FileFacts

_BOUNDS: dict[str, type[float] | type[int]] = {
    "start_seconds": float,
    "end_seconds": float,
    "start_frame": int,
    "end_frame": int,
    "frames_per_second": float,
}


def source_of(clip: Clip, facts: FileFacts) -> Source:
    """What is stored beside the tokens of a clip."""
    return Source(
        root=clip.root,
        path=path_below(clip.path, clip.root),
        size=facts.size,
        mtime_ns=facts.mtime_ns,
        digest=facts.digest,
        segment=segment_of(clip),
        prefix=clip.prefix,
    )


def path_below(path: Path, root: str) -> str:
    """A path relative to its data set's root; absolute where it does not lie below.

    Links are not followed: a root that is a link, or holds links, may point elsewhere tomorrow.
    """
    below, text = root.rstrip("/") + "/", str(path)
    if root and text.startswith(below) and "/.." not in text:
        return text.removeprefix(below)  # Path leaves no "//" and no "/./"
    absolute = os.path.abspath(path)  # noqa: PTH100 (Path.absolute keeps "..")
    return absolute.removeprefix(below) if root else absolute


def segment_of(clip: Clip) -> str:
    """Which stretch of its video a clip is; "" for the whole of a video."""
    given = ((name, getattr(clip, name), number) for name, number in _BOUNDS.items())
    return " ".join(f"{name}={number(v)!r}" for name, v, number in given if v is not None)
