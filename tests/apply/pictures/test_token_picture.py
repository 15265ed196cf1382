"""Colours of tokens: what is alike looks alike, and nothing is needed but the store."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from stepcli.apply.pictures.token_picture import (
    component_colours,
    frame_captions,
    token_colours,
)
from stepcli.cache.schema.clips import ClipRecord
from stepcli.cache.schema.spec import Producer, Segment, StoreSpec
from stepcli.cache.store.store import create_store
from stepcli.cli import app
from stepcli.runtime.errors import UsageError

SEGMENTS = (
    Segment(name="cls", kind="prefix", count=1),
    Segment(name="grid2", kind="grid", count=4, grid=(2, 2)),
)


def spec(**fields: object) -> StoreSpec:
    values: dict[str, object] = {
        "backbone": "made-up",
        "weights_digest": "0" * 64,
        "segments": SEGMENTS,
        "dim": 8,
        "frames": 3,
        "sampling": "uniform",
        "preprocessing": {},
        "dtype": "float32",
    }
    return StoreSpec.model_validate(values | fields)


def test_two_kinds_of_tokens_get_two_colours() -> None:
    kinds = np.array([0, 0, 1, 1, 0, 1])
    centres = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)
    colours = component_colours(centres[kinds])
    assert len(np.unique(colours, axis=0)) == 2
    assert np.array_equal(colours[0], colours[1])
    assert sorted({int(c) for c in colours[:, 0]}) == [0, 255]
    assert (colours[:, 1:] == 128).all()  # there is one component only


def test_tokens_that_are_all_alike_are_grey() -> None:
    assert (component_colours(np.ones((5, 8), np.float32)) == 128).all()


def test_the_grid_keeps_its_places_and_the_cls_is_left_out() -> None:
    tokens = np.zeros((3, 5, 8), np.float32)
    tokens[:, 0] = 1e3  # the CLS would swamp all
    tokens[:, 2, 0] = 1
    colours = token_colours(spec(), tokens)
    assert colours.shape == (3, 2, 2, 3)
    assert (colours[:, 0, 1, 0] == 255).all()
    assert (colours[:, 1, 0, 0] == 0).all()
    with pytest.raises(UsageError, match="no patches"):
        token_colours(spec(segments=SEGMENTS[:1]), tokens[:, :1])


def test_the_command_does_without_the_video(tmp_path: Path) -> None:
    store = create_store(tmp_path / "store", spec(), dataset="made-up")
    producer = Producer(source="random", device="cpu", numerics="float32", versions={})
    tokens = np.random.default_rng(0).normal(size=(3, 5, 8)).astype(np.float32)
    with store.writer(producer) as writer:
        writer.add(ClipRecord("a", str(tmp_path / "gone.mp4"), (0.0, 1.0, 2.0), 3, 8, 8), tokens)
    out = tmp_path / "a.png"
    done = CliRunner().invoke(
        app, ["picture", "a", "--store", str(tmp_path / "store"), "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert "without frames" in done.stdout
    with Image.open(out) as picture:
        assert picture.size == (3 * 164 - 4, 20 + 160)
        captions = np.asarray(picture.convert("L"))[:20]
    # Above each column its time is written, and nothing between the columns.
    ink = [(captions[:, 164 * n : 164 * n + 160] < 128).any() for n in range(3)]
    assert all(ink)
    assert (captions[:, 160:164] == 255).all()


def test_frames_are_captioned_with_their_times() -> None:
    record = ClipRecord("a", "a.mp4", (0.0, 1.254, 2.5, 2.5), 3, 8, 8)
    assert frame_captions("uniform", record) == ["0.00 s", "1.25 s", "2.50 s", "2.50 s"]
    assert frame_captions("uniform+pad", record)[-1] == "padding"
