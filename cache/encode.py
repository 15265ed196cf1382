"""From a backbone's tokens to the bytes that a store keeps, and nothing lost on the way unsaid."""

import numpy as np

from stepcli.cache.errors import TokensError
from stepcli.cache.token_layout import TokenLayout

_EXPONENTS = {"float16": (np.uint16, 0x7C00), "float32": (np.uint32, 0x7F800000)}
"""Bits of the exponent: all of them set says infinity or NaN."""


def encode_clip(tokens: np.ndarray, layout: TokenLayout, clip_id: str) -> np.ndarray:
    """A clip's tokens in the store's dtype, C order.

    Args:
        tokens: floats of shape `layout.clip_shape`.
        layout: of the store.
        clip_id: for the error's text.

    Raises:
        TokensError: another shape or type, a value that is not finite, or one too large for the
            store's dtype.
    """
    if tokens.shape != layout.clip_shape:
        raise TokensError(
            f"clip {clip_id!r}: tokens of shape {layout.clip_shape} expected, got {tokens.shape}"
        )
    if tokens.dtype.kind != "f":
        raise TokensError(f"clip {clip_id!r}: floating-point tokens expected, got {tokens.dtype}")
    with np.errstate(over="ignore"):  # what overflows is looked for below
        stored = np.ascontiguousarray(tokens, dtype=layout.storage_dtype)
    word, exponent = _EXPONENTS[stored.dtype.name]
    bits = stored.view(word)
    if np.any((bits & word(exponent)) == exponent):
        bad = int(np.count_nonzero(~np.isfinite(tokens)))
        what = (
            f"{bad} values that are not finite"
            if bad
            else f"a value of {float(np.abs(tokens).max()):.6g}, too large for {stored.dtype.name}"
        )
        raise TokensError(f"clip {clip_id!r}: its tokens hold {what}; store float32 instead")
    return stored
