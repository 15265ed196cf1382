"""Many clips at once: streamed in shuffled blocks, held in memory, or as a PyTorch data set.

Nothing here imports torch: its DataLoader asks for no base
class.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from stepcli.cache.store.store import Store

READ_BYTES = 8 << 20
"""Bytes that one thread reads at a time into a resident array."""


def stream_clips(
    source: Store,
    *,
    batch: int,
    clips: Sequence[str] | None = None,
    seed: int | tuple[int, ...] | None = None,
    block_bytes: int = 32 << 20,
    blocks_mixed: int = 8,
    shard: tuple[int, int] = (0, 1),
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Every clip once, in shuffled blocks, for stores larger than memory.

    Clips that lie together on disk are read together as a block; the blocks come in random
    order, and the clips of `blocks_mixed` blocks are shuffled among each other. While a caller
    works on one such group the next is read by a thread: two groups are in memory at a time.

    Args:
        source: the store.
        batch: clips per batch; only the last may be smaller.
        clips: ids to read; None: all.
        seed: of the order, e.g. (seed, epoch); None: the order on disk.
        block_bytes: size of a block.
        blocks_mixed: blocks shuffled among each other; 1 reads least, more mixes better.
        shard: (index, count): this worker's share of the blocks; shares do not overlap.

    Yields:
        (ids, tokens [n, *spec.clip_shape]).
    """
    if batch < 1 or blocks_mixed < 1 or not 0 <= shard[0] < shard[1]:
        raise ValueError(f"batch {batch}, blocks_mixed {blocks_mixed}, shard {shard}: too small")
    wanted = source.storage_order(source.ids if clips is None else clips)
    size = int(np.prod(source.spec.clip_shape)) * 4
    step = max(1, block_bytes // size)
    blocks = [wanted[start : start + step] for start in range(0, len(wanted), step)]
    generator = None if seed is None else np.random.default_rng(seed)
    if generator is not None:
        blocks = [blocks[i] for i in generator.permutation(len(blocks))]
    # Drawn from one generator before the shards part: all workers agree on the blocks' order.
    blocks = blocks[shard[0] :: shard[1]]
    groups = [blocks[start : start + blocks_mixed] for start in range(0, len(blocks), blocks_mixed)]
    yield from _batches(source, groups, generator, batch)


def _batches(
    source: Store,
    groups: list[list[list[str]]],
    generator: np.random.Generator | None,
    batch: int,
) -> Iterator[tuple[list[str], np.ndarray]]:
    # Two buffers in turn: memory that is new to the process costs as much as reading it. What is
    # yielded are copies.
    buffers: list[np.ndarray | None] = [None, None]

    def load(number: int) -> tuple[list[str], np.ndarray]:
        ids = [clip for block in groups[number] for clip in block]
        buffer = buffers[number % 2]
        if buffer is None or len(buffer) < len(ids):
            buffer = buffers[number % 2] = source.read(ids)
            return ids, buffer
        return ids, source.read(ids, buffer[: len(ids)])

    left_ids: list[str] = []
    left = np.empty(0)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(load, 0) if groups else None
        for number in range(len(groups)):
            assert coming is not None
            ids, tokens = coming.result()
            last = number + 1 == len(groups)
            coming = None if last else pool.submit(load, number + 1)
            order = np.arange(len(ids)) if generator is None else generator.permutation(len(ids))
            start = 0
            if left_ids:  # what did not fill a batch goes ahead of the next group
                start = min(batch - len(left_ids), len(ids))
                left_ids += [ids[i] for i in order[:start]]
                left = np.concatenate([left, tokens[order[:start]]])
                if len(left_ids) == batch or last:
                    yield left_ids, left
                    left_ids = []
            for first in range(start, len(ids), batch):
                rows = order[first : first + batch]
                if len(rows) < batch and not last:
                    left_ids, left = [ids[i] for i in rows], tokens[rows]
                else:
                    yield [ids[i] for i in rows], tokens[rows]


def load_resident(
    source: Store, clips: Sequence[str] | None = None, *, workers: int = 2
) -> np.ndarray:
    """Read clips into one array, several threads at a time.

    Args:
        source: the store.
        clips: ids in the order wanted; None: all, sorted.
        workers: threads; reads release Python's lock.

    Returns:
        [n, *spec.clip_shape] as `source.read` hands out.
    """
    ids = source.ids if clips is None else list(clips)
    whole = source.read(ids[:1])
    out = np.empty((len(ids), *whole.shape[1:]), whole.dtype)
    step = max(1, READ_BYTES // max(1, whole.nbytes))

    def fill(start: int) -> None:
        source.read(ids[start : start + step], out[start : start + step])

    _in_threads(fill, range(0, len(ids), step), workers)
    return out


def load_resident_arrays(
    source: Store, clips: Sequence[str] | None = None, *, workers: int = 2
) -> list[np.ndarray]:
    """Read clips as they are stored, int8 with its scales, several threads at a time.

    Args:
        source: a store, or a view of one that averages nothing.
        clips: ids in the order wanted; None: all, sorted.
        workers: threads; reads release Python's lock.

    Returns:
        As `source.read_arrays`: [tokens], [tokens, scales] or [tokens, scales, channel scales].
    """
    ids = source.ids if clips is None else list(clips)
    samples = source.read_arrays(ids[:1])
    outs = [np.empty((len(ids), *one.shape[1:]), one.dtype) for one in samples]
    step = max(1, READ_BYTES // max(1, samples[0].nbytes))

    def fill(start: int) -> None:
        mine = slice(start, start + step)
        source.read_arrays(ids[mine], [out[mine] for out in outs])

    _in_threads(fill, range(0, len(ids), step), workers)
    return outs


def _in_threads(work: Callable[[int], None], starts: range, workers: int) -> None:
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(work, starts):
            pass


class TokenDataset:
    """Clips as a map-style data set for `torch.utils.data.DataLoader`.

    Items are NumPy arrays, so the default collate makes tensors of them. It travels to spawned
    workers as the store's path and the ids, and is safe in forked ones.
    """

    def __init__(self, source: Store, clips: Sequence[str] | None = None) -> None:
        self.source = source
        self.clips = list(source.ids if clips is None else clips)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> np.ndarray:
        """Tokens of one clip, shape `source.spec.clip_shape`."""
        tokens: np.ndarray = self.source.read([self.clips[index]])[0]
        return tokens

    def __getitems__(self, indices: Sequence[int]) -> list[np.ndarray]:
        """Tokens of a batch, read together; DataLoader asks for this where it can."""
        return list(self.source.read([self.clips[index] for index in indices]))
