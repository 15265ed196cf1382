"""What two clips must agree in to share a store; its digest must never change by itself."""

from typing import Any

import pytest
from pydantic import ValidationError
from sample_clips import PRODUCER, SPEC

from stepcli.cache.schema.spec import (
    Producer,
    Segment,
    StoreSpec,
    explain_difference,
    flat_producer,
    require_same_spec,
)
from stepcli.runtime.canonical_json import canonical_json
from stepcli.runtime.errors import SpecMismatch


def changed(**values: Any) -> StoreSpec:
    return StoreSpec.model_validate({**dict(SPEC), **values})


def test_the_digest_is_that_of_stores_written_long_ago() -> None:
    """Golden: another digest makes every store there is unreadable."""
    golden = "017e7a279cf6e6c025e8651fb7cbd50dc3ac3c50720f5c31e24d4918a2207a95"
    assert SPEC.digest == golden
    assert StoreSpec.model_validate_json(SPEC.canonical_json()).digest == golden


def test_what_a_clip_looks_like() -> None:
    assert SPEC.tokens_per_frame == 5
    assert SPEC.clip_shape == (3, 5, 6)
    assert changed(layers=(-2, -1)).clip_shape == (2, 3, 5, 6)
    assert SPEC.layers == (-1,)
    assert (SPEC.token_scope, SPEC.frames_per_token) == ("frame", 1)


def test_canonical_json_is_one_text_for_equal_values() -> None:
    assert canonical_json({"b": 1, "a": [1.5, None]}) == '{"a":[1.5,null],"b":1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_what_a_grid_was_pooled_from_is_said_only_where_it_is_known() -> None:
    """Stores from before it was known keep their digest."""
    plain = Segment(name="grid2", kind="grid", count=4, grid=(2, 2))
    assert "pooled_from" not in plain.model_dump()
    known = Segment(name="grid2", kind="grid", count=4, grid=(2, 2), pooled_from=(16, 16))
    assert known.model_dump()["pooled_from"] == (16, 16)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "grid", "count": 4}, "a grid segment, and only it, has a grid"),
        ({"kind": "prefix", "count": 4, "grid": (2, 2)}, "a grid segment, and only it"),
        ({"kind": "grid", "count": 5, "grid": (2, 2)}, r"grid \(2, 2\) is not 5 tokens"),
        ({"kind": "grid", "count": 2, "grid": (2, 2)}, "is not 2 tokens"),
        ({"kind": "grid", "count": 0, "grid": (1, 0)}, "greater than or equal to 1"),
        ({"kind": "prefix", "count": (1 << 20) + 1}, "less than or equal to 1048576"),
        ({"kind": "prefix", "count": True}, "valid integer"),
        ({"kind": "prefix", "count": 1, "other": 1}, "Extra inputs"),
    ],
)
def test_segments_that_cannot_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Segment(name="x", **values)


def test_sizes_at_their_limits() -> None:
    assert Segment(name="x", kind="prefix", count=1 << 20).count == 1 << 20
    assert changed(dim=1, frames=1).clip_shape == (1, 5, 1)
    for field in ("dim", "frames", "frames_per_token"):
        for value in (0, -1, (1 << 20) + 1):
            with pytest.raises(ValidationError):
                changed(**{field: value})


@pytest.mark.parametrize(
    "values",
    [
        {"layers": ()},
        {"segments": ()},
        {"dim": 6.0},
        {"dtype": "float8"},
        {"token_scope": "video"},
        {"preprocessing": {"mean": [float("nan")]}},
        {"sampling": None},
    ],
)
def test_specs_that_cannot_be(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        changed(**values)


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        SPEC.dim = 7  # type: ignore[misc]


def test_every_difference_is_named_with_both_values() -> None:
    grid = Segment(name="grid2", kind="grid", count=4, grid=(2, 2))
    assert explain_difference(SPEC, SPEC) == []
    other = changed(
        frames=8,
        dtype="int8",
        preprocessing={"resize": 256, "crop": 224, "mean": [0.5, 0.5, 0.5]},
        segments=(grid,),
    )
    assert explain_difference(SPEC, other) == [
        "tokens: store cls,grid2, asked grid2",
        "frames: store 3, asked 8",
        "preprocessing.crop: store None, asked 224",
        "preprocessing.resize: store 224, asked 256",
        "dtype: store 'float16', asked 'int8'",
    ]


def test_segments_of_one_name_are_told_apart_by_all_they_are() -> None:
    first, grid = SPEC.segments
    pooled = grid.model_copy(update={"pooled_from": (4, 4)})
    (line,) = explain_difference(SPEC, changed(segments=(first, pooled)))
    assert line.startswith('tokens: store [{"name": "cls"')
    assert '"pooled_from": [4, 4]' in line.partition(", asked ")[2]
    assert "pooled_from" not in line.partition(", asked ")[0]


def test_two_specs_do_not_share_a_store() -> None:
    require_same_spec(SPEC, SPEC, "here")
    with pytest.raises(SpecMismatch) as refused:
        require_same_spec(SPEC, changed(frames=8, dim=7), "stores/a")
    assert str(refused.value) == (
        "the store stores/a was written with other settings (dim: store 6, asked 7; frames: "
        "store 3, asked 8); ask for the store's settings, or give another --store"
    )


def test_a_producer_as_facts_by_name() -> None:
    producer = Producer(
        source="s", device="cpu", numerics="float32", versions={"torch": "2", "a": ""}
    )
    assert flat_producer(producer) == {
        "source": "s",
        "device": "cpu",
        "numerics": "float32",
        "torch version": "2",
        "a version": "",
    }
    with pytest.raises(ValidationError):
        PRODUCER.model_validate({**dict(PRODUCER), "extra": 1})


def test_a_grid_need_not_be_square() -> None:
    grid = Segment(name="x", kind="grid", count=6, grid=(2, 3))
    assert changed(segments=(grid,)).tokens_per_frame == 6
    with pytest.raises(ValidationError, match="is not 4 tokens"):
        Segment(name="x", kind="grid", count=4, grid=(2, 3))
    with pytest.raises(ValidationError, match="is not 9 tokens"):
        Segment(name="x", kind="grid", count=9, grid=(2, 3))
