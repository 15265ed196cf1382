"""In which order samples come when their tokens are read from disk as they are used.

Clips that lie together are read together, as a block. Blocks come in random order, and the samples
of a group of blocks are shuffled among each other, as in `stepcli.cache.stream_clips`.
"""

from dataclasses import dataclass

import numpy as np

from stepcli.probe.data.frame_choice import Ints

BLOCK_BYTES = 8 << 20
"""A disk that seeks for 8 ms between blocks still gives nine tenths of its rate."""
GROUP_BYTES = 256 << 20
"""Read at once; two groups are in memory at a time. Many small blocks mix better than few large
ones: data sets are often listed, and so stored, class by class."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """How finely samples are shuffled."""

    clips: int
    """Per block: neighbours on disk."""
    mixed: int
    """Blocks per group, whose samples are shuffled among each other."""

    @property
    def group_clips(self) -> int:
        """Clips that are in memory together."""
        return self.clips * self.mixed

    def __str__(self) -> str:
        return f"blocks of {self.clips} neighbouring clips, {self.mixed} blocks at a time"


def blocks_of(clip_bytes: int, free: int) -> Blocks:
    """Blocks for clips of a size.

    Args:
        clip_bytes: of one clip in memory.
        free: memory, in bytes; two groups take at most an eighth of it.
    """
    group = GROUP_BYTES
    while group > clip_bytes and 16 * group > free:
        group //= 2  # not to any size: the order should seldom depend on the hour
    clips = max(1, min(BLOCK_BYTES, group) // clip_bytes)
    return Blocks(clips, max(1, group // (clips * clip_bytes)))


def block_order(ranks: Ints, blocks: Blocks, seed: tuple[int, ...]) -> Ints:
    """Order [n] in which randomly ordered samples come: group by group, as they were within one.

    Args:
        ranks: [n] place on disk of the clip that each sample shows.
        blocks: how finely to shuffle.
        seed: of the blocks' order, e.g. (data seed, epoch).
    """
    used, which = np.unique(ranks, return_inverse=True)
    count = -(-len(used) // blocks.clips)
    block = which * count // max(1, len(used))  # equal sizes, but for one clip
    group = np.random.default_rng((*seed, count)).permutation(count)[block] // blocks.mixed
    return np.argsort(group, kind="stable")


def chunks(clips: Ints, size: int, most: int) -> list[slice]:
    """Cut n samples into stretches of whole batches that show few enough clips to be in memory.

    Args:
        clips: [n, steps] row of the clip that each step of a sample shows.
        size: samples per batch.
        most: clips per stretch; one batch may have more.
    """
    found, start, seen = [], 0, set[int]()
    for first in range(0, len(clips), size):
        mine = set(np.unique(clips[first : first + size]).tolist())
        if seen and len(seen | mine) > most:
            found.append(slice(start, first))
            start, seen = first, set()
        seen |= mine
    return [*found, slice(start, len(clips))] if len(clips) else []
