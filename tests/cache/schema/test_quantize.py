"""What a store keeps of a float: value by value, at the edges of each type."""

import numpy as np
import pytest
from sample_clips import SPEC

from stepcli.cache.schema.part_layout import PartLayout, part_layout
from stepcli.cache.schema.quantize import (
    CHECK_WORDS,
    INT8_LIMIT,
    decode_clips,
    encode_clip,
    from_bfloat16,
    to_bfloat16,
)
from stepcli.cache.schema.spec import StoreSpec
from stepcli.runtime.errors import TokensError


def layout(dtype: str, *, dim: int = 6, layers: tuple[int, ...] = (-1,)) -> PartLayout:
    changes = {"dtype": dtype, "dim": dim, "layers": layers}
    return part_layout(StoreSpec.model_validate({**dict(SPEC), **changes}))


def tokens(seed: int = 0, shape: tuple[int, ...] = (3, 5, 6)) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def roundtrip(values: np.ndarray, kind: PartLayout) -> np.ndarray:
    arrays = encode_clip(values, kind, "x")
    for array, meant in zip(arrays, kind.arrays, strict=True):
        assert (array.shape, array.dtype) == (meant.clip_shape, meant.dtype)
    return decode_clips([array[None] for array in arrays], kind)[0]


def test_floats_lose_what_their_type_cannot_hold_and_nothing_else() -> None:
    values = tokens()
    np.testing.assert_array_equal(roundtrip(values, layout("float32")), values)
    halves = values.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(roundtrip(values, layout("float16")), halves)
    np.testing.assert_array_equal(roundtrip(values.astype(np.float64), layout("float32")), values)
    turned = np.asfortranarray(values)
    (stored,) = encode_clip(turned, layout("float32"), "x")
    assert stored.flags.c_contiguous
    np.testing.assert_array_equal(stored, values)


def test_every_bfloat16_comes_back_and_every_other_float_goes_to_the_nearest() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    values = from_bfloat16(bits)
    finite = np.isfinite(values)
    np.testing.assert_array_equal(to_bfloat16(values[finite]), bits[finite])
    # Between two neighbours: the nearer one, at half way the one with an even last bit.
    below = bits[(bits & 0x7F80) < 0x7F00][:-1]
    low = below.astype(np.uint32) << 16
    for step, up in ((0x7FFF, 0), (0x8001, 1), (0x8000, below & 1)):
        between = (low + np.uint32(step)).view(np.float32)
        np.testing.assert_array_equal(to_bfloat16(between), below + np.uint16(1) * up)
    kind = layout("bfloat16")
    kept = roundtrip(tokens(), kind)
    np.testing.assert_array_equal(kept, from_bfloat16(to_bfloat16(tokens())))
    (stored,) = encode_clip(tokens(), kind, "x")
    assert stored.dtype == np.uint16


@pytest.mark.parametrize("dtype", ["int8", "int8-channel"])
@pytest.mark.parametrize("layers", [(-1,), (-2, -1)])
def test_int8_is_off_by_half_a_step_at_most(dtype: str, layers: tuple[int, ...]) -> None:
    kind = layout(dtype, layers=layers)
    values = tokens(1, kind.tokens.clip_shape)
    values[..., 0] *= 150  # an outlier channel
    values[..., 1, 2, :] = 0
    codes, scales, *channels = encode_clip(values, kind, "x")
    step = scales[..., None] * (channels[0][..., None, None, :] if channels else 1)
    error = np.abs(roundtrip(values, kind) - values)
    assert np.all(error <= step * 0.5001)
    assert np.abs(codes.astype(int)).max() == 127
    assert np.all(np.abs(codes.astype(int)).max(axis=-1)[scales > 0] == 127)
    assert scales[..., 1, 2].max() == 0
    assert not roundtrip(values, kind)[..., 1, 2, :].any()
    if channels:
        np.testing.assert_array_equal(channels[0], np.abs(values).max(axis=(-3, -2)))
        # The outlier takes nothing from the others: their steps are as without it.
        assert error[..., 1:].max() < 0.02


@pytest.mark.parametrize("dtype", ["int8", "int8-channel", "float16", "bfloat16"])
def test_tokens_in_another_order_of_memory_are_stored_alike(dtype: str) -> None:
    """E.g. of a tensor whose axes were permuted."""
    layout = part_layout(StoreSpec.model_validate({**dict(SPEC), "dtype": dtype}))
    tokens = np.random.default_rng(0).standard_normal(SPEC.clip_shape).astype(np.float32)
    turned = np.asfortranarray(tokens)
    for one, other in zip(
        encode_clip(tokens, layout, "c"), encode_clip(turned, layout, "c"), strict=True
    ):
        assert other.flags.c_contiguous
        np.testing.assert_array_equal(one, other)


def test_a_channel_that_is_zero_throughout_stays_zero() -> None:
    values = tokens(2)
    values[..., 3] = 0
    kept = roundtrip(values, layout("int8-channel"))
    assert not kept[..., 3].any()
    assert np.isfinite(kept).all()


def test_a_quiet_channel_has_steps_of_its_own() -> None:
    values = tokens(3)
    values[..., 5] *= 1e-3
    error = np.abs(roundtrip(values, layout("int8-channel")) - values)
    assert error[..., 5].max() < 2e-5


def test_the_least_code_is_never_written_even_where_a_scale_is_rounded_much() -> None:
    """Of subnormal numbers: 190 of the least one have a scale of 1 instead of 1.496."""
    values = np.zeros((3, 5, 6), np.float32)
    values[0, 0, 0] = -190 * 2.0**-149
    codes, _ = encode_clip(values, layout("int8"), "x")
    assert codes.min() == -127


def test_decoding_fills_what_it_is_given() -> None:
    for dtype in ("float16", "float32", "bfloat16", "int8", "int8-channel"):
        kind = layout(dtype)
        clips = [encode_clip(tokens(seed), kind, "x") for seed in range(2)]
        arrays = [np.stack(each) for each in zip(*clips, strict=True)]
        out = np.full((2, 3, 5, 6), np.nan, np.float32)
        assert decode_clips(arrays, kind, out) is out
        np.testing.assert_array_equal(out, decode_clips(arrays, kind))
        assert decode_clips(arrays, kind).dtype == np.float32


@pytest.mark.parametrize(
    ("dtype", "largest", "too_large"),
    [
        ("float16", 65504.0, 65520.0),
        ("float32", 3.4e38, 3.5e38),
        ("bfloat16", 3.38e38, 3.3999e38),
        ("int8", INT8_LIMIT, 3.401e38),
        ("int8-channel", INT8_LIMIT, 3.401e38),
    ],
)
def test_the_largest_value_of_a_type_is_kept_and_the_next_is_refused(
    dtype: str, largest: float, too_large: float
) -> None:
    kind = layout(dtype)
    values = np.ones((3, 5, 6))
    values[2, 4, 5] = -largest
    assert np.isfinite(roundtrip(values, kind)).all()
    values[2, 4, 5] = -too_large
    with pytest.raises(TokensError) as refused:
        encode_clip(values, kind, "a")
    assert str(refused.value) == (
        f"clip 'a': its tokens hold a value of {too_large:.6g}, too large for {dtype}; store "
        "another --dtype"
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16", "int8"])
@pytest.mark.parametrize("place", [0, CHECK_WORDS - 1, CHECK_WORDS, -1])
def test_one_value_that_is_not_finite_is_found_wherever_it_is(dtype: str, place: int) -> None:
    dim = 2 * CHECK_WORDS // 15 + 3  # not a whole number of blocks
    kind = layout(dtype, dim=dim)
    for bad in (np.nan, np.inf, -np.inf):
        values = np.ones((3, 5, dim), np.float32)
        values.reshape(-1)[place] = bad
        with pytest.raises(TokensError, match="clip 'b': 1 values of its tokens are not finite"):
            encode_clip(values, kind, "b")


def test_other_shapes_and_types_are_refused() -> None:
    kind = layout("float16")
    for dim in (5, 7):
        with pytest.raises(TokensError) as refused:
            encode_clip(np.zeros((3, 5, dim)), kind, "c")
        expected = f"clip 'c': tokens of shape (3, 5, 6) expected, got (3, 5, {dim})"
        assert str(refused.value) == expected
    with pytest.raises(TokensError) as refused:
        encode_clip(np.zeros((3, 5, 6), np.int32), kind, "c")
    assert str(refused.value) == "clip 'c': floating-point tokens expected, got int32"
