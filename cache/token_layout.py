"""Shape and type of the tokens in a part: all that a format needs to know of the spec."""

from dataclasses import dataclass
from math import prod

import numpy as np

from stepcli.cache.spec import StoreSpec


@dataclass(frozen=True)
class TokenLayout:
    """How the tokens of one clip lie in a file."""

    clip_shape: tuple[int, ...]
    """(T, S, D), or (L, T, S, D)."""
    storage_dtype: np.dtype
    """What the bytes are, little-endian."""
    attributes: dict[str, str]
    """Said beside the array, for people with a plain Zarr or HDF5 reader."""

    @property
    def clip_bytes(self) -> int:
        """Bytes of one clip's tokens."""
        return prod(self.clip_shape) * self.storage_dtype.itemsize

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the array's axes."""
        layers = ("layer",) if len(self.clip_shape) == 4 else ()
        return ("clip", *layers, "frame", "token", "channel")


def layout_of(spec: StoreSpec) -> TokenLayout:
    """The layout in which a store of this spec keeps its tokens."""
    return TokenLayout(
        clip_shape=spec.clip_shape,
        storage_dtype=np.dtype(spec.dtype).newbyteorder("<"),
        attributes={
            "dtype": spec.dtype,
            "segments": ",".join(f"{segment.name}:{segment.count}" for segment in spec.segments),
            "layers": ",".join(str(layer) for layer in spec.layers),
        },
    )
