"""Tokens as a Zarr v3 array in one shard, written straight in the standard's layout.

`tokens.zarr/` is a group with one array `tokens` [n, T, S, D] (or [n, L, T, S, D]). The array is
one shard ("sharding_indexed" codec), its inner chunks are the clips, uncompressed, little-endian:
a clip is one range of bytes. The shard is: clips in order, then for each clip (offset, size) as
two uint64, then crc32c of that table.

Source: Zarr v3 sharding codec, https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/
"""

import json
import struct
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from stepcli.cache.parts import FileRecord
from stepcli.cache.token_layout import TokenLayout
from stepcli.cache.token_stream import TokenStream

GROUP = "tokens.zarr"


def token_file(layout: TokenLayout) -> str:
    """Path of the shard below the part's folder."""
    return f"{GROUP}/tokens/c." + ".".join("0" for _ in range(len(layout.clip_shape) + 1))


class ZarrTokenWriter:
    """Writes the shard of one part; the metadata last, once the number of clips is known."""

    def __init__(self, part: Path, layout: TokenLayout) -> None:
        self._part = part
        self._layout = layout
        (part / GROUP / "tokens").mkdir(parents=True)
        self._stream = TokenStream(part / token_file(layout))

    def append(self, clip: np.ndarray) -> int:
        """Write a clip (C order, the store's dtype); returns its byte offset."""
        return self._stream.append(clip.data)

    def finish(self, clips: int) -> dict[str, FileRecord]:
        """Complete the files for the first `clips` clips; returns them by path in the part."""
        size = self._layout.clip_bytes
        table = np.empty((clips, 2), "<u8")
        table[:, 0] = np.arange(clips, dtype=np.uint64) * np.uint64(size)
        table[:, 1] = size
        index = table.tobytes()
        index += struct.pack("<I", google_crc32c.value(index))
        shard = self._stream.finish(clips * size, index)
        metadata = {
            f"{GROUP}/zarr.json": {"zarr_format": 3, "node_type": "group", "attributes": {}},
            f"{GROUP}/tokens/zarr.json": _array_metadata(self._layout, clips),
        }
        files = {token_file(self._layout): shard}
        for name, content in metadata.items():
            data = (json.dumps(content, indent=1) + "\n").encode()
            (self._part / name).write_bytes(data)
            files[name] = FileRecord.of_bytes(data)
        return files

    def close(self) -> None:
        """Close open files without completing them."""
        self._stream.close()


def _array_metadata(layout: TokenLayout, clips: int) -> dict[str, Any]:
    shape = [clips, *layout.clip_shape]
    little: dict[str, Any] = {"name": "bytes", "configuration": {"endian": "little"}}
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": layout.storage_dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": 0,
        "codecs": [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [1, *layout.clip_shape],
                    "codecs": [little],
                    "index_codecs": [little, {"name": "crc32c"}],
                    "index_location": "end",
                },
            }
        ],
        "dimension_names": list(layout.axes),
        "attributes": layout.attributes,
    }
