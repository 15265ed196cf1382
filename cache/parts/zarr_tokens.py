"""Tokens as a Zarr v3 array in one shard, written straight in the standard's layout.

`tokens.zarr/` is a group with an array `tokens` [n, T, S, D] (or [n, L, T, S, D]). The array is
one shard ("sharding_indexed" codec), its inner chunks are the clips, uncompressed, little-endian:
a clip is one range of bytes. The shard is: clips in order, then for each clip (offset, size) as
two uint64, then crc32c of that table. Scales of int8 tokens are arrays of one chunk beside it.

Source: Zarr v3 sharding codec, https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/
"""

import struct
from collections.abc import Sequence
from pathlib import Path

import google_crc32c
import numpy as np
import zarr
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from stepcli.cache.parts.file_record import FileRecord
from stepcli.cache.parts.hashed_file import HashedFile
from stepcli.cache.parts.token_files import GROUP, array_file
from stepcli.cache.parts.token_writer import FinishedFiles, SideArrays, row_offsets
from stepcli.cache.schema.part_layout import TOKENS, PartLayout


class ZarrTokenWriter:
    """Writes the shard of one part; the metadata last, once the number of clips is known."""

    def __init__(self, part: Path, layout: PartLayout) -> None:
        self._part = part
        self._layout = layout
        for array in layout.arrays:
            (part / GROUP / array.name).mkdir(parents=True)
        self._side = SideArrays(layout)
        self._shard = HashedFile(part / array_file("zarr", layout.tokens))

    def write(self, row: int, arrays: Sequence[np.ndarray]) -> None:
        """Write a clip: its arrays as stored, C order, in the layout's order."""
        size = self._layout.tokens.clip_bytes
        self._shard.write_at(arrays[0].data, row * size)
        self._shard.settle((row + 1) * size)
        self._side.write(row, arrays[1:])

    def finish(self, clips: int) -> FinishedFiles:
        """Complete the files for the first `clips` clips."""
        tokens = self._layout.tokens
        table = np.empty((clips, 2), "<u8")
        table[:, 0] = row_offsets(0, clips, tokens)
        table[:, 1] = tokens.clip_bytes
        index = table.tobytes()
        index += struct.pack("<I", google_crc32c.value(index))
        end = clips * tokens.clip_bytes
        self._shard.write_at(memoryview(index), end)
        files = {array_file("zarr", tokens): self._shard.finish(end + len(index))}
        contents = metadata_files(self._layout, clips)
        for array, data in self._side.contents(clips):
            contents[array_file("zarr", array)] = data
        for name, data in contents.items():
            (self._part / name).write_bytes(data)
            files[name] = FileRecord.of_bytes(data)
        offsets = {array.name: row_offsets(0, clips, array) for array in self._layout.arrays}
        return FinishedFiles(files, offsets)

    def close(self) -> None:
        """Close open files without completing them."""
        self._shard.close()


def metadata_files(layout: PartLayout, clips: int) -> dict[str, bytes]:
    """Let zarr-python make zarr.json of the group and of each array; by path below the part."""
    made: dict[str, Buffer] = {}
    group = zarr.create_group(MemoryStore(made), zarr_format=3)
    for array in layout.arrays:
        shape = (clips, *array.clip_shape)
        in_shard = array.name == TOKENS
        group.create_array(
            array.name,
            shape=shape,
            dtype=array.dtype,
            chunks=(1, *array.clip_shape) if in_shard else shape,
            shards=shape if in_shard else None,
            compressors=None,
            filters=None,
            fill_value=0,
            chunk_key_encoding={"name": "default", "separator": "."},
            dimension_names=array.axes,
            attributes=array.attributes,
        )
    return {f"{GROUP}/{name}": data.to_bytes() for name, data in made.items()}
