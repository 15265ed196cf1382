"""Shape and type of the arrays in a part: all that a format needs to know of the spec."""

from dataclasses import dataclass, field
from math import prod

import numpy as np

from stepcli.cache.schema.spec import StoreSpec

TOKENS = "tokens"
SCALES = "scales"
CHANNEL_SCALES = "channel_scales"


@dataclass(frozen=True)
class ArrayLayout:
    """One array of a part; its first axis counts clips."""

    name: str
    clip_shape: tuple[int, ...]
    """Shape of one clip."""
    dtype: np.dtype
    """What the bytes are, little-endian."""
    axes: tuple[str, ...]
    """Names of the axes, "clip" first."""
    attributes: dict[str, str] = field(default_factory=dict)
    """Said beside the array, for people with a plain Zarr or HDF5 reader."""

    @property
    def clip_bytes(self) -> int:
        """Bytes of one clip."""
        return prod(self.clip_shape) * self.dtype.itemsize


_STORAGE = {
    "float16": "<f2",
    "float32": "<f4",
    "bfloat16": "<u2",  # neither NumPy nor Zarr 3.1 has the type: its bits, and an attribute
    "int8": "|i1",
    "int8-channel": "|i1",
}


@dataclass(frozen=True)
class PartLayout:
    """The arrays of a part: the tokens, and for int8 what to multiply them with."""

    arrays: tuple[ArrayLayout, ...]
    """`tokens` first: the only one whose size matters."""

    @property
    def tokens(self) -> ArrayLayout:
        """The array of the tokens."""
        return self.arrays[0]

    @property
    def side_arrays(self) -> tuple[ArrayLayout, ...]:
        """Scales of int8 tokens; none for floats."""
        return self.arrays[1:]

    @property
    def clip_bytes(self) -> int:
        """Bytes of one clip, in all arrays."""
        return sum(array.clip_bytes for array in self.arrays)


def part_layout(spec: StoreSpec) -> PartLayout:
    """The arrays in which a store of this spec keeps its clips."""
    layers = ("layer",) if len(spec.layers) > 1 else ()
    tokens = ArrayLayout(
        TOKENS,
        spec.clip_shape,
        np.dtype(_STORAGE[spec.dtype]),
        ("clip", *layers, "frame", "token", "channel"),
        {
            "dtype": spec.dtype,
            "segments": ",".join(f"{segment.name}:{segment.count}" for segment in spec.segments),
            "layers": ",".join(str(layer) for layer in spec.layers),
        },
    )
    arrays = [tokens]
    if spec.dtype.startswith("int8"):
        arrays.append(
            ArrayLayout(
                SCALES,
                spec.clip_shape[:-1],
                np.dtype("<f4"),
                tokens.axes[:-1],
                {"use": "float value = tokens x scales, one scale per token"},
            )
        )
    if spec.dtype == "int8-channel":
        arrays.append(
            ArrayLayout(
                CHANNEL_SCALES,
                (*spec.clip_shape[:-3], spec.dim),
                np.dtype("<f4"),
                ("clip", *layers, "channel"),
                {"use": "float value = tokens x scales x channel_scales"},
            )
        )
    return PartLayout(tuple(arrays))
