"""Reductions while reading agree with having extracted so."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from sample_clips import PRODUCER, SPEC, make_record, make_tokens

from stepcli.cache import create_store, load_resident_arrays
from stepcli.runtime.errors import TokensError, UsageError
from stepcli.cache.schema.layout import layout_of
from stepcli.cache.schema.quantize import decode_clips
from stepcli.cache.schema.spec import Segment, StoreSpec
from stepcli.cache.store.store import Store

PREFIX = Segment(name="prefix", kind="prefix", count=2)


def full_store(path: Path, dtype: str, rows: int = 7, columns: int = 5, **changes: object) -> Store:
    patches = Segment(name="patches", kind="grid", count=rows * columns, grid=(rows, columns))
    spec = StoreSpec.model_validate(
        {**dict(SPEC), "segments": (PREFIX, patches), "dtype": dtype, "frames": 4, **changes}
    )
    store = create_store(path, spec, dataset="test", format="hdf5")
    with store.writer(PRODUCER) as writer:
        for clip in "abc":
            writer.add(make_record(clip, 4), make_tokens(clip, spec))
    store.refresh()
    return store


def extracted_grid(tokens: np.ndarray, grid: tuple[int, int], side: int) -> np.ndarray:
    """What extraction stores for grid<side>: torch's own adaptive pooling of the patches."""
    patches = torch.from_numpy(tokens[..., PREFIX.count :, :]).unflatten(-2, grid)
    channels_first = patches.flatten(0, -4).permute(0, 3, 1, 2)
    pooled = torch.nn.functional.adaptive_avg_pool2d(channels_first, side)
    return pooled.flatten(2).transpose(1, 2).numpy().reshape(*tokens.shape[:-2], side**2, -1)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("layers", [(-1,), (-2, -1)])
def test_a_grid_of_a_full_store_is_what_extraction_would_have_stored(
    tmp_path: Path, side: int, layers: tuple[int, ...]
) -> None:
    store = full_store(tmp_path, "float16", layers=layers)
    view = store.view(f"cls,grid{side}")
    read = view.read(["b", "a"])
    assert view.spec.clip_shape[-2:] == (1 + side * side, 6)
    for row, clip in enumerate("ba"):
        tokens = make_tokens(clip, store.spec)
        extracted = extracted_grid(tokens, (7, 5), side).astype(np.float16)
        step = np.spacing(np.abs(extracted))
        # The patches were themselves rounded to float16 before the mean.
        rounded = np.abs(tokens).max() * 2.0**-11
        assert np.all(np.abs(read[row][..., 1:, :] - extracted) <= step + rounded)
        np.testing.assert_array_equal(read[row][..., :1, :], tokens[..., :1, :].astype(np.float16))


def test_means_of_equal_tokens_are_those_tokens(tmp_path: Path) -> None:
    """Within one float16 step: constant patches leave no room for input rounding."""
    store = full_store(tmp_path, "float16")
    constant = np.broadcast_to(make_tokens("x", store.spec)[:, :1], store.spec.clip_shape)
    with store.writer(PRODUCER) as writer:
        writer.add(make_record("constant", 4), constant)
    store.refresh()
    expected = constant[:, :16].astype(np.float16)
    read = store.view("grid4").read(["constant"])[0]
    assert np.all(np.abs(read - expected) <= np.spacing(np.abs(expected)))


@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "int8-channel", "float32"])
def test_other_dtypes_are_reduced_in_float32(tmp_path: Path, dtype: str) -> None:
    store = full_store(tmp_path, dtype)
    read = store.view("grid3").read(np.array([2, 0]))
    assert read.dtype == np.float32
    floats = store.read_floats(["c", "a"])
    np.testing.assert_allclose(read, extracted_grid(floats, (7, 5), 3), atol=1e-5)


def test_layers_segments_and_frames(tmp_path: Path) -> None:
    store = full_store(tmp_path, "float32", layers=(-3, -2, -1))
    stored = store.read(["a"])
    view = store.view("patches,prefix", layers=[-1, -3], frame_step=2)
    read = view.read(["a"])
    assert view.spec.layers == (-1, -3)
    assert view.spec.sampling == "uniform/every-2"
    assert view.spec.frames == 2
    swapped = np.concatenate([stored[..., 2:, :], stored[..., :2, :]], axis=-2)
    np.testing.assert_array_equal(read, swapped[:, [2, 0], ::2])
    one = store.view(layers=[-2])
    assert one.spec.clip_shape == (4, 37, 6)
    np.testing.assert_array_equal(one.read(["a"]), stored[:, 1])
    out = np.empty((1, *one.spec.clip_shape), np.float32)
    assert one.read(["a"], out) is out
    with pytest.raises(ValueError, match="out: expected"):
        one.read(["a"], out.astype(np.float16))
    assert store.view("full").spec.segments == store.spec.segments


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"tokens": "grid6"}, "'grid6' cannot be made"),
        ({"tokens": "nonsense"}, "'nonsense' cannot be made"),
        ({"tokens": "cls,cls"}, "asked for twice"),
        ({"layers": [-2]}, "the store holds"),
        ({"frame_step": 5}, "expected 1 to 4"),
        ({"frame_step": 0}, "expected 1 to 4"),
    ],
)
def test_what_cannot_be_made_is_refused(
    tmp_path: Path, asked: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        full_store(tmp_path, "float16").view(**asked)  # type: ignore[arg-type]


def grid_store(path: Path, side: int, patches: tuple[int, int] | None, **changes: object) -> Store:
    """A store of one grid, as extraction makes it from full tokens."""
    grid = Segment(
        name=f"grid{side}", kind="grid", count=side**2, grid=(side, side), pooled_from=patches
    )
    spec = StoreSpec.model_validate({**dict(SPEC), "segments": (grid,), "frames": 4, **changes})
    store = create_store(path, spec, dataset="test")
    with store.writer(PRODUCER) as writer:
        for clip in "ab":
            full = full_tokens(clip, spec, patches or (8, 8))
            writer.add(make_record(clip, 4), extracted_grid(full, patches or (8, 8), side))
    store.refresh()
    return store


def full_tokens(clip: str, spec: StoreSpec, patches: tuple[int, int]) -> np.ndarray:
    seed = zlib.crc32(clip.encode())
    layers = (len(spec.layers),) if len(spec.layers) > 1 else ()
    shape = (*layers, spec.frames, PREFIX.count + patches[0] * patches[1], spec.dim)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("layers", [(-1,), (-4, -3, -1)])
@pytest.mark.parametrize(("stored", "asked"), [(4, 2), (4, 1), (8, 4), (8, 2), (2, 1)])
def test_a_grid_of_a_finer_grid_is_what_extraction_would_have_stored(
    tmp_path: Path, stored: int, asked: int, layers: tuple[int, ...]
) -> None:
    store = grid_store(tmp_path, stored, (16, 8), layers=layers)
    read = store.view(f"grid{asked}").read(["b", "a"])
    for row, clip in enumerate("ba"):
        extracted = extracted_grid(full_tokens(clip, store.spec, (16, 8)), (16, 8), asked)
        # Half a step of each stored mean, and half a step of the result.
        bound = 2.0**-12 * 4 + np.spacing(np.abs(extracted).astype(np.float16)).astype(np.float32)
        assert np.all(np.abs(read[row].astype(np.float32) - extracted) <= bound)


def test_the_spec_of_a_view_is_that_of_an_extraction(tmp_path: Path) -> None:
    view = grid_store(tmp_path / "fine", 4, (8, 8), layers=(-4, -3, -1)).view(
        "grid2", layers=[-1, -4]
    )
    extracted = grid_store(tmp_path / "coarse", 2, (8, 8), layers=(-1, -4))
    assert view.spec == extracted.spec
    assert view.read(["a"]).shape == extracted.read(["a"]).shape


@pytest.mark.parametrize(
    ("side", "patches", "asked"), [(4, None, 2), (4, (14, 14), 2), (4, (16, 16), 3), (2, (4, 4), 4)]
)
def test_a_mean_of_means_that_would_be_another_number_is_refused(
    tmp_path: Path, side: int, patches: tuple[int, int] | None, asked: int
) -> None:
    store = grid_store(tmp_path, side, patches)
    with pytest.raises(UsageError, match="whose bins it does not cut"):
        store.view(f"grid{asked}")


@pytest.mark.parametrize("scope", ["causal", "clip"])
def test_frames_of_a_model_that_mixes_them_are_not_dropped(tmp_path: Path, scope: str) -> None:
    store = full_store(tmp_path, "float16", token_scope=scope)
    with pytest.raises(UsageError, match="depend on other frames"):
        store.view(frame_step=2)


@pytest.mark.parametrize("dtype", ["int8", "int8-channel", "bfloat16"])
@pytest.mark.parametrize("layers", [(-1,), (-3, -2, -1)])
def test_a_selection_hands_out_what_is_stored(
    tmp_path: Path, dtype: str, layers: tuple[int, ...]
) -> None:
    store = full_store(tmp_path, dtype, layers=layers)
    for chosen in ([-1], [-1, -3]) if len(layers) > 1 else ([-1],):
        view = store.view("patches,cls", layers=chosen, frame_step=2)
        arrays = view.read_arrays(["c", "a"])
        assert arrays[0].dtype == store.dtype
        layout = layout_of(StoreSpec.model_validate({**dict(view.spec), "dtype": dtype}))
        assert [a.shape[1:] for a in arrays] == [a.clip_shape for a in layout.arrays]
        np.testing.assert_array_equal(decode_clips(arrays, layout), view.read(["c", "a"]))
        resident = load_resident_arrays(view, ["c", "a"])
        for one, other in zip(resident, arrays, strict=True):
            np.testing.assert_array_equal(one, other)
    with pytest.raises(UsageError, match="read its floats"):
        store.view("grid2").read_arrays(["a"])


def test_a_view_keeps_the_times_of_its_frames(tmp_path: Path) -> None:
    store = full_store(tmp_path / "plain", "float16")
    view = store.view(frame_step=2)
    assert view.record("a").pts_seconds == (0.0, 0.5)
    assert view.record("a").distinct_frames == 2
    padded = full_store(tmp_path / "padded", "float16", sampling="uniform+pad")
    assert padded.view("cls", frame_step=2).spec.sampling == "uniform/every-2+pad"


def test_a_clip_of_tubelets_has_a_time_a_token_step(tmp_path: Path) -> None:
    """Eight video frames, two a token: four steps, four times, and none may be left out."""
    store = full_store(tmp_path, "float16", token_scope="clip", frames_per_token=2)
    assert store.spec.clip_shape[0] == len(store.record("a").pts_seconds) == 4
    with store.writer(PRODUCER) as writer, pytest.raises(TokensError, match="4 finite frame times"):
        writer.add(make_record("d", 8), make_tokens("d", store.spec))
    view = store.view("grid2")
    assert (view.spec.frames_per_token, view.spec.token_scope) == (2, "clip")
    assert view.record("b") == store.record("b")
    with pytest.raises(UsageError, match="depend on other frames"):
        store.view(frame_step=2)
