"""What options of `stepcli extract` may be; light, since the door reads it."""

from enum import StrEnum


class StoreFormat(StrEnum):
    """How a store keeps its tokens."""

    zarr = "zarr"
    hdf5 = "hdf5"


class StoreDtype(StrEnum):
    """How a token's channels are stored."""

    float16 = "float16"
    float32 = "float32"
    bfloat16 = "bfloat16"
    int8 = "int8"
    int8_channel = "int8-channel"


class Short(StrEnum):
    """What becomes of clips with fewer frames than asked for."""

    repeat = "repeat"
    pad = "pad"


class VideoDecoder(StrEnum):
    """What decodes videos."""

    pyav = "pyav"
    torchcodec = "torchcodec"


class Preprocess(StrEnum):
    """How frames are resized."""

    exact = "exact"
    fast = "fast"


class Precision(StrEnum):
    """Arithmetic of the forward pass."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class WhenChanged(StrEnum):
    """What becomes of stored clips whose sources have changed."""

    refuse = "refuse"
    redo = "redo"
    keep = "keep"


class Engine(StrEnum):
    """Where the work runs."""

    local = "local"
    ray = "ray"
