"""From floats to the bytes that a store keeps, and back; nothing is lost on the way unsaid.

    float16, float32   as NumPy has them
    bfloat16           rounded to nearest even, kept as the upper 16 bits of the float32
    int8               q = round(x / a), one float32 scale a token: a = max |x| / 127
    int8-channel       q = round(x / (a c)), and one scale a channel and clip: c = max |x| over
                       the clip's frames and tokens; for backbones with outlier channels

The error of int8 is at most half a step, a / 2 (times c), for every value.
"""

from collections.abc import Sequence

import numpy as np

from stepcli.cache.schema.part_layout import PartLayout
from stepcli.runtime.errors import TokensError

STEPS = 127
"""Largest int8 magnitude in use: symmetric, -128 is never written."""
CHECK_WORDS = 1 << 16
INT8_LIMIT = 3.4e38
"""Above it 127 steps of a rounded scale may leave float32."""

_EXPONENT_BITS = {"float16": 0x7C00, "float32": 0x7F800000, "bfloat16": 0x7F80}
"""All of these set in a stored word says infinity or NaN."""


def encode_clip(tokens: np.ndarray, layout: PartLayout, clip_id: str) -> list[np.ndarray]:
    """One clip's arrays as the store keeps them, in the layout's order, C order.

    Args:
        tokens: floats of shape `layout.tokens.clip_shape`.
        layout: of the store.
        clip_id: for the error's text.

    Raises:
        TokensError: another shape or type, a value that is not finite, or one too large for the
            store's dtype.
    """
    if tokens.shape != layout.tokens.clip_shape:
        raise TokensError(
            f"clip {clip_id!r}: tokens of shape {layout.tokens.clip_shape} expected, "
            f"got {tokens.shape}"
        )
    if tokens.dtype.kind != "f":
        raise TokensError(f"clip {clip_id!r}: floating-point tokens expected, got {tokens.dtype}")
    dtype = layout.tokens.attributes["dtype"]
    if dtype.startswith("int8"):
        _require_finite(tokens, clip_id)
        if np.abs(tokens).max() > INT8_LIMIT:
            raise _too_large(tokens, dtype, clip_id)
        return _to_int8(tokens.astype(np.float32, order="C"), dtype == "int8-channel")
    with np.errstate(over="ignore"):  # what overflows is looked for below
        if dtype == "bfloat16":
            stored = to_bfloat16(np.ascontiguousarray(tokens, np.float32))
        else:
            stored = np.ascontiguousarray(tokens, layout.tokens.dtype)
    words = stored.view(f"<u{stored.itemsize}")
    if _any_has_all_bits(words, words.dtype.type(_EXPONENT_BITS[dtype])):
        _require_finite(tokens, clip_id)
        raise _too_large(tokens, dtype, clip_id)
    return [stored]


def _any_has_all_bits(words: np.ndarray, bits: np.integer) -> bool:
    """Whether all of `bits` are set in any word; block by block, so that it stays in the cache."""
    flat = words.reshape(-1)
    scratch = np.empty(min(flat.size, CHECK_WORDS), flat.dtype)
    for start in range(0, flat.size, CHECK_WORDS):
        block = flat[start : start + CHECK_WORDS]
        masked = np.bitwise_and(block, bits, out=scratch[: block.size])
        if masked.max() == bits:
            return True
    return False


def _too_large(tokens: np.ndarray, dtype: str, clip_id: str) -> TokensError:
    return TokensError(
        f"clip {clip_id!r}: its tokens hold a value of {np.abs(tokens).max():.6g}, too large "
        f"for {dtype}; store another --dtype"
    )


def _require_finite(tokens: np.ndarray, clip_id: str) -> None:
    bad = int(np.count_nonzero(~np.isfinite(tokens)))
    if bad:
        raise TokensError(
            f"clip {clip_id!r}: {bad} values of its tokens are not finite; look at the video and "
            "the backbone's numerics"
        )


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Bits of the nearest bfloat16, ties to even; float32 in, uint16 out, same shape."""
    bits = values.view(np.uint32)
    rounding = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return ((bits + rounding) >> np.uint32(16)).astype("<u2")


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """The float32 values of bfloat16 bits; exact."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _to_int8(tokens: np.ndarray, by_channel: bool) -> list[np.ndarray]:
    arrays = []
    if by_channel:
        channel = np.abs(tokens).max(axis=(-3, -2))
        tokens = tokens / np.where(channel > 0, channel, 1)[..., None, None, :]
        arrays.append(channel)
    scales = np.abs(tokens).max(axis=-1) / np.float32(STEPS)
    steps = tokens / np.where(scales > 0, scales, 1)[..., None]
    return [np.rint(steps).clip(-STEPS, STEPS).astype(np.int8), scales, *arrays]


def decode_clips(
    arrays: Sequence[np.ndarray], layout: PartLayout, out: np.ndarray | None = None
) -> np.ndarray:
    """Stored arrays of n clips as float32.

    Args:
        arrays: [n, ...] each, in the layout's order.
        layout: of the store.
        out: float32 [n, *clip_shape] to fill; made when None.

    Returns:
        Tokens as float32 [n, *clip_shape]; exact for float16, bfloat16 and float32.
    """
    tokens = arrays[0]
    if out is None:
        out = np.empty(tokens.shape, np.float32)
    dtype = layout.tokens.attributes["dtype"]
    if dtype == "bfloat16":
        np.left_shift(tokens, np.uint32(16), out=out.view(np.uint32), dtype=np.uint32)
    elif dtype.startswith("int8"):
        np.multiply(tokens, arrays[1][..., None], out=out)
        if len(arrays) == 3:
            out *= arrays[2][..., None, None, :]
    else:
        out[...] = tokens
    return out
