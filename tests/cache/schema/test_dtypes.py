"""Every dtype's round trip, with the tokens that real backbones have: high norms, outliers."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sample_clips import PRODUCER, SPEC, fill_store, make_record, make_tokens

from stepcli.cache import create_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.schema.manifest import Format
from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.schema.quantize import decode_clips, encode_clip, from_bfloat16, to_bfloat16
from stepcli.cache.schema.spec import StoreSpec
from stepcli.runtime.errors import TokensError

DTYPES = ["float32", "float16", "bfloat16", "int8", "int8-channel"]
FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


def spec_of(dtype: str, **changes: object) -> StoreSpec:
    return StoreSpec.model_validate({**dict(SPEC), "dtype": dtype, **changes})


def trip(tokens: np.ndarray, spec: StoreSpec) -> np.ndarray:
    layout = part_layout(spec)
    stored = encode_clip(tokens, layout, "clip")
    return decode_clips([array[None] for array in stored], layout)[0]


def hard_tokens(spec: StoreSpec) -> np.ndarray:
    """High-norm tokens and one channel at 150 times the rest."""
    tokens = make_tokens("hard", spec)
    tokens[..., 1, 2, :] *= 40
    tokens[..., 3] *= 150
    tokens[..., 0, 0, :] = 0
    return tokens


@pytest.mark.parametrize("form", ["zarr", "hdf5"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layers", [(-1,), (-4, -3, -1)])
def test_a_store_of_any_dtype(
    tmp_path: Path, form: Format, dtype: str, layers: tuple[int, ...]
) -> None:
    spec = spec_of(dtype, layers=layers)
    store = fill_store(tmp_path, form, 7, spec=spec, part_clips=3)
    floats = store.read_floats(store.ids)
    expected = np.stack([trip(make_tokens(clip, spec), spec) for clip in store.ids])
    np.testing.assert_array_equal(floats, expected)
    out = np.empty_like(floats[:2])
    assert store.read_floats(np.array([5, 1]), out) is out
    np.testing.assert_array_equal(out, expected[[5, 1]])
    stored = store.read_arrays(store.ids)
    np.testing.assert_array_equal(stored[0], store.read(store.ids))
    assert verify_store(tmp_path).ok


@pytest.mark.parametrize("layers", [(-1,), (-2, -1)])
def test_int8_error_is_at_most_half_a_step(layers: tuple[int, ...]) -> None:
    tokens = hard_tokens(spec_of("int8", layers=layers))
    step = np.abs(tokens).max(axis=-1, keepdims=True) / 127
    error = np.abs(trip(tokens, spec_of("int8", layers=layers)) - tokens)
    assert np.all(error <= step * (0.5 + 1e-5))

    channel = np.abs(tokens).max(axis=(-3, -2), keepdims=True)
    step = np.abs(tokens / channel).max(axis=-1, keepdims=True) * channel / 127
    by_channel = np.abs(trip(tokens, spec_of("int8-channel", layers=layers)) - tokens)
    assert np.all(by_channel <= step * (0.5 + 1e-5))


def test_channel_scales_save_the_others_from_an_outlier_channel() -> None:
    tokens = hard_tokens(spec_of("int8"))
    rest = [0, 1, 2, 4, 5]
    norm = np.linalg.norm(tokens[..., rest])
    errors = [
        np.linalg.norm((trip(tokens, spec_of(dtype)) - tokens)[..., rest]) / norm
        for dtype in ("int8", "int8-channel")
    ]
    assert errors[0] > 0.1
    assert errors[1] < 0.02


@given(arrays(np.float32, SPEC.clip_shape, elements=FLOAT32))
@settings(deadline=None, max_examples=60)
def test_any_finite_clip_is_stored_within_its_bound_or_refused(tokens: np.ndarray) -> None:
    assert np.array_equal(trip(tokens, spec_of("float32")), tokens)
    for dtype, steps in (("float16", 2.0**-11), ("bfloat16", 2.0**-8)):
        tiny = 2.0**-24 if dtype == "float16" else 2.0**-133
        try:
            error = np.abs(trip(tokens, spec_of(dtype)).astype(np.float64) - tokens)
        except TokensError:
            assert np.abs(tokens).max() >= (65504 if dtype == "float16" else 3.38e38)
        else:
            assert np.all(error <= np.abs(tokens.astype(np.float64)) * steps + tiny)
    if np.abs(tokens).max() <= 3.4e38:
        step = np.abs(tokens).max(axis=-1, keepdims=True).astype(np.float64) / 127
        error = np.abs(trip(tokens, spec_of("int8")).astype(np.float64) - tokens)
        assert np.all(error <= 0.5001 * step + 1e-38)
    else:
        with pytest.raises(TokensError, match="too large for int8"):
            trip(tokens, spec_of("int8"))


@given(arrays(np.float32, 64, elements=FLOAT32))
def test_bfloat16_bits_are_torchs(values: np.ndarray) -> None:
    bits = torch.from_numpy(values).to(torch.bfloat16).view(torch.uint16).numpy()
    np.testing.assert_array_equal(to_bfloat16(values), bits)
    np.testing.assert_array_equal(
        from_bfloat16(bits), torch.from_numpy(bits).view(torch.bfloat16).float().numpy()
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(dtype: str, value: float) -> None:
    tokens = make_tokens("clip")
    tokens[0, 0, 0] = value
    with pytest.raises(TokensError, match="1 values of its tokens are not finite"):
        encode_clip(tokens, part_layout(spec_of(dtype)), "clip")


def test_plain_readers_multiply_int8_by_its_scales(tmp_path: Path) -> None:
    spec = spec_of("int8-channel")
    for form in ("zarr", "hdf5"):
        store = fill_store(tmp_path / form, form, 3, spec=spec)
        folder = store.path / "parts" / store.parts[0]
        if form == "zarr":
            group = zarr.open_group(folder / "tokens.zarr", mode="r")
            found = {name: np.asarray(array[:]) for name, array in group.arrays()}
        else:
            with h5py.File(folder / "tokens.h5", "r") as file:
                found = {name: item[:] for name, item in file.items()}
        floats = (
            found["tokens"] * found["scales"][..., None] * found["channel_scales"][:, None, None]
        )
        np.testing.assert_allclose(floats, store.read_floats(store.ids), rtol=1e-6)


def test_plain_readers_get_bfloat16_as_bits(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "zarr", 2, spec=spec_of("bfloat16"))
    group = zarr.open_group(tmp_path / "parts" / store.parts[0] / "tokens.zarr", mode="r")
    array = group["tokens"]
    assert isinstance(array, zarr.Array)
    assert array.attrs["dtype"] == "bfloat16"
    bits = torch.from_numpy(np.asarray(array[:])).view(torch.bfloat16)
    np.testing.assert_array_equal(bits.float().numpy(), store.read_floats(store.ids))


def test_an_interrupted_add_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between a clip's bytes and its row: the next clip takes its place."""
    from stepcli.cache.parts import open_part

    for form in ("zarr", "hdf5"):
        store = create_store(tmp_path / form, spec_of("int8"), dataset="test", format=form)
        with store.writer(PRODUCER) as writer:
            writer.add(make_record("a"), make_tokens("a"))
            with monkeypatch.context() as patch:

                class Interrupt(list[object]):
                    def __setitem__(self, key: object, value: object) -> None:
                        raise KeyboardInterrupt

                part = writer._part
                assert isinstance(part, open_part.OpenPart)
                patch.setattr(part, "_records", Interrupt(part._records))
                with pytest.raises(KeyboardInterrupt):
                    writer.add(make_record("torn"), make_tokens("torn"))
            writer.add(make_record("b"), make_tokens("b"))
        store.refresh()
        assert store.ids == ["a", "b"]
        assert verify_store(tmp_path / form).ok
        expected = np.stack([trip(make_tokens(clip), spec_of("int8")) for clip in "ab"])
        np.testing.assert_array_equal(store.read_floats(["a", "b"]), expected)
