"""What a clip was made from: its path, its stretch, and size, time and digest of its file.

Kinds of digests, each the sha256 of:

- `sha256`: all bytes of a file of at most `WHOLE_BYTES`;
- `sampled`: of a larger file its size and `BLOCKS` blocks of `BLOCK_BYTES`, evenly spread, the
  first and the last included. A change between the blocks that leaves the size as it was is missed;
- `images`: of a folder the name, size and bytes of every image, at most `WHOLE_BYTES` in all;
- `images-sampled`: of a larger folder the names, the sizes, and the first and last `ENDS_BYTES` of
  every image.
"""

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from stepcli.cache.schema.clips import Source
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.datasets.images import is_image

WHOLE_BYTES = 64 << 20
BLOCK_BYTES = 256 << 10
BLOCKS = 16
ENDS_BYTES = 4096
_CACHED = 64
"""Files whose digests a process remembers: clips of one long video come one after another."""
_BOUNDS: dict[str, type[float] | type[int]] = {
    "start_seconds": float,
    "end_seconds": float,
    "start_frame": int,
    "end_frame": int,
    "frames_per_second": float,
}


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is recorded of a video, or of a folder of images."""

    size: int
    """Bytes; of a folder: of its images together."""
    mtime_ns: int
    digest: str


@dataclass(frozen=True, slots=True)
class FileState:
    """What one look at a path tells, without reading a byte; -1 for the size of a folder."""

    size: int
    mtime_ns: int
    inode: int


def state_of(path: Path | str) -> FileState:
    """Look at a video, or a folder of images.

    Raises:
        OSError: it is not there, cannot be reached, or is a pipe or a device, which may never end.
    """
    status = os.stat(path)  # noqa: PTH116 (a string is taken too: 220,847 of them cost a second)
    is_folder = stat.S_ISDIR(status.st_mode)
    if not is_folder and not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "neither a file nor a folder")
    size = -1 if is_folder else status.st_size
    return FileState(size, status.st_mtime_ns, status.st_ino)


def facts_of(path: Path) -> FileFacts:
    """Size, time and digest; a file's digest is taken once, however many clips it holds.

    Raises:
        OSError: it cannot be read.
    """
    return _facts(str(path), state_of(path))


def fresh_digest(path: Path) -> str:
    """The digest as it is now, whatever this process remembers: a folder's time tells little.

    Raises:
        OSError: it cannot be read.
    """
    return _facts.__wrapped__(str(path), state_of(path)).digest


@lru_cache(maxsize=_CACHED)
def _facts(path: str, state: FileState) -> FileFacts:
    if state.size < 0:
        size, digest = _folder_digest(Path(path))
        return FileFacts(size, state.mtime_ns, digest)
    return FileFacts(state.size, state.mtime_ns, _file_digest(Path(path), state.size))


def _file_digest(path: Path, size: int) -> str:
    with path.open("rb") as file:
        if size <= WHOLE_BYTES:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        digest = hashlib.sha256(f"{size}\n".encode())
        for number in range(BLOCKS):
            file.seek(number * (size - BLOCK_BYTES) // (BLOCKS - 1))
            digest.update(file.read(BLOCK_BYTES))
    return f"sampled:{digest.hexdigest()}"


def _folder_digest(folder: Path) -> tuple[int, str]:
    with os.scandir(folder) as entries:
        sizes = {
            os.fsencode(entry.name): entry.stat().st_size
            for entry in entries
            if is_image(entry.name) and entry.is_file()
        }
    total = sum(sizes.values())
    digest = hashlib.sha256()
    for name, size in sorted(sizes.items()):
        digest.update(b"%d %d " % (len(name), size) + name)
        with (folder / os.fsdecode(name)).open("rb") as file:
            if total <= WHOLE_BYTES or size <= 2 * ENDS_BYTES:
                digest.update(file.read())
            else:
                digest.update(file.read(ENDS_BYTES))
                file.seek(-ENDS_BYTES, os.SEEK_END)
                digest.update(file.read())
    kind = "images" if total <= WHOLE_BYTES else "images-sampled"
    return total, f"{kind}:{digest.hexdigest()}"


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
    """The stretch of its video that a clip is; "" for a whole video."""
    given = ((name, getattr(clip, name), number) for name, number in _BOUNDS.items())
    return " ".join(f"{name}={number(v)!r}" for name, v, number in given if v is not None)
