"""Tokens as a Zarr v3 array in one shard, written straight in the standard's layout.

`tokens.zarr/` is a group with an array `tokens` [n, T, S, D] (or [n, L, T, S, D]). The array is
one shard ("sharding_indexed" codec), its inner chunks are the clips, uncompressed, little-endian:
a clip is one range of bytes. The shard is: clips in order, then for each clip (offset, size) as
two uint64, then crc32c of that table. Scales of int8 tokens are arrays of one chunk beside it.

Source: Zarr v3 sharding codec, https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/
"""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from stepcli.cache.parts.file_record import FileRecord
from stepcli.cache.parts.hashed_file import HashedFile
from stepcli.cache.parts.token_files import GROUP, array_file
from stepcli.cache.parts.token_writer import FinishedFiles, SideArrays, row_offsets
from stepcli.cache.schema.layout import TOKENS, ArrayLayout, TokenLayout


class ZarrTokenWriter:
    """Writes the shard of one part; the metadata last, once the number of clips is known."""

    def __init__(self, part: Path, layout: TokenLayout) -> None:
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
        contents = {f"{GROUP}/zarr.json": _json({"zarr_format": 3, "node_type": "group"})}
        for array, data in self._side.contents(clips):
            contents[array_file("zarr", array)] = data
        for array in self._layout.arrays:
            contents[f"{GROUP}/{array.name}/zarr.json"] = metadata_bytes(array, clips)
        for name, data in contents.items():
            (self._part / name).write_bytes(data)
            files[name] = FileRecord.of_bytes(data)
        offsets = {array.name: row_offsets(0, clips, array) for array in self._layout.arrays}
        return FinishedFiles(files, offsets)

    def close(self) -> None:
        """Close open files without completing them."""
        self._shard.close()


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()


def metadata_bytes(array: ArrayLayout, clips: int) -> bytes:
    """zarr.json of an array: the tokens in one shard, scales in one chunk."""
    shape = [clips, *array.clip_shape]
    little: dict[str, Any] = {"name": "bytes", "configuration": {"endian": "little"}}
    shard = {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": [1, *array.clip_shape],
            "codecs": [little],
            "index_codecs": [little, {"name": "crc32c"}],
            "index_location": "end",
        },
    }
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": array.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": 0,
        "codecs": [shard if array.name == TOKENS else little],
        "dimension_names": list(array.axes),
        "attributes": array.attributes,
    }
    return _json(metadata)
