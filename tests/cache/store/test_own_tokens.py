"""Tokens of other code in a store, in a few lines."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stepcli.cache import Store, TokenClip, open_store, write_tokens
from stepcli.runtime.errors import SpecMismatch, TokensError, UsageError


def tokens_of(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(size=(3, 4, 5)).astype(np.float32)


def clips(count: int, made: list[int] | None = None) -> Iterator[TokenClip]:
    for number in range(count):
        if made is not None:
            made.append(number)
        times = np.minimum(np.arange(3), number) / 25
        yield TokenClip(
            f"c{number}", tokens_of(number), times, "ab"[number % 2], "train", f"g{number}"
        )


def write(path: Path, count: int = 4, version: str = "v1") -> Store:
    return write_tokens(
        path, clips(count), model="m", version=version, grid=(2, 2), dtype="float32"
    )


def test_tokens_times_and_labels_come_back(tmp_path: Path) -> None:
    store = write(tmp_path / "s")
    assert store.ids == [f"c{number}" for number in range(4)]
    np.testing.assert_array_equal(store.read(["c3"])[0], tokens_of(3))
    assert store.record("c1").pts_seconds == (0.0, 0.04, 0.04)
    assert store.record("c1").distinct_frames == 2
    row = store.clips()[1]
    assert (row.id, row.label, row.split, row.group) == ("c1", "b", "train", "g1")
    (segment,) = store.spec.segments
    assert (segment.kind, segment.grid) == ("grid", (2, 2))


def test_a_script_that_is_run_again_adds_what_is_missing(tmp_path: Path) -> None:
    write(tmp_path / "s", 3)
    parts = open_store(tmp_path / "s").parts
    assert len(write(tmp_path / "s", 5)) == 5
    assert len(open_store(tmp_path / "s").parts) == len(parts) + 1
    with pytest.raises(SpecMismatch, match="weights_digest"):
        write(tmp_path / "s", version="v2")


def test_one_clip_is_in_memory_at_a_time(tmp_path: Path) -> None:
    made: list[int] = []
    waiting = clips(9, made)
    next(waiting)
    assert made == [0]
    write_tokens(tmp_path / "s", waiting, model="m")
    assert open_store(tmp_path / "s").spec.segments[0].kind == "prefix"


def test_what_is_no_such_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no clip"):
        write_tokens(tmp_path / "s", [], model="m")
    with pytest.raises(UsageError, match="a grid of 3 x 3 has 9 tokens, clip 'c0' has 4"):
        write_tokens(tmp_path / "s", clips(1), model="m", grid=(3, 3))
    flat = TokenClip("x", np.zeros((3, 4)), (0, 1, 2), "a")
    with pytest.raises(UsageError, match=r"shape \[3, 4\]; expected \[frames"):
        write_tokens(tmp_path / "s", [flat], model="m")
    assert not (tmp_path / "s").exists()
    other = TokenClip("x", np.zeros((2, 4, 5)), (0, 1), "a")
    with pytest.raises(TokensError, match="x"):
        write_tokens(tmp_path / "s", [next(clips(1)), other], model="m")
