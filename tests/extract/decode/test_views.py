"""Views: cut where they say, stored as clips of their own, labelled by what a flip shows."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain_pixels import plain_pixels

from stepcli.apply.pictures.stored_frames import stored_frames
from stepcli.cache import open_store
from stepcli.cache.schema import views as names_of_views
from stepcli.cache.schema.clips import ClassRow
from stepcli.cache.schema.padding import frame_mask
from stepcli.cache.schema.views import clip_of, split_view, training_views, view_id
from stepcli.extract.backbones.load import load_backbone
from stepcli.extract.backbones.token_selection import parse_tokens
from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.decode.preprocess import PixelPlan
from stepcli.extract.decode.sampling import dense, parse_sampling, uniform
from stepcli.extract.decode.video import read_whole
from stepcli.extract.decode.views import (
    ViewPlan,
    crop_box,
    cut,
    mirror_labels,
    parse_views,
    require_crops,
    rows_of,
    space_and_time,
    with_views,
)
from stepcli.extract.pipeline.backbone_runner import BackboneRunner
from stepcli.runtime.errors import SpecMismatch, UnknownName, UsageError

PLAN = plain_pixels(64, 64, 64)
WHOLE = PixelPlan(0, 64, 64, "bilinear", 0, 0, 1.0, (0.0,) * 3, (1.0,) * 3)


def ramp(height: int, width: int) -> np.ndarray:
    """An image whose red is the column and whose green the row."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(width)
    image[..., 1] = np.arange(height)[:, None]
    return image


def test_side_crops_lie_at_the_ends_of_the_longer_side() -> None:
    names = ("left", "center", "right", "flip-left")
    wide = cut(ramp(64, 128), PLAN, ViewPlan(), names, "clip")
    assert [view[0, 0, 0] for view in wide] == [0, 32, 64, 63]
    assert np.array_equal(wide[3], wide[0][:, ::-1])
    tall = cut(ramp(128, 64), PLAN, ViewPlan(), names, "clip")
    assert [view[0, 0, 1] for view in tall] == [0, 32, 64, 0]
    assert np.array_equal(wide[1], PLAN.shape_pixels(ramp(64, 128)))


@given(
    height=st.integers(2, 400),
    width=st.integers(2, 400),
    seed=st.text(max_size=5),
    least=st.floats(0.05, 1.0),
)
def test_random_crops_stay_inside_and_keep_their_area(
    height: int, width: int, seed: str, least: float
) -> None:
    top, left, rows, columns = crop_box(height, width, seed, least)
    assert 0 <= top <= top + rows <= height
    assert 0 <= left <= left + columns <= width
    assert rows > 0 < columns
    if min(height, width) > 100 and max(height, width) < 1.3 * min(height, width) and least < 0.6:
        assert 0.95 * least <= rows * columns / (height * width)


def test_random_crops_differ_between_clips_and_views_and_not_between_frames() -> None:
    image, plan = ramp(100, 140), ViewPlan(train_views=2)
    first = cut(image, PLAN, plan, ("crop0", "crop1"), "a")
    assert np.array_equal(first, cut(image, PLAN, plan, ("crop0", "crop1"), "a"))
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, cut(image, PLAN, plan, ("crop0", "crop1"), "b"))
    other = ViewPlan(train_views=2, crop_seed=1)
    assert not np.array_equal(first, cut(image, PLAN, other, ("crop0", "crop1"), "a"))


def test_names_of_views() -> None:
    assert parse_views("three-crops,flip,center") == ("left", "center", "right", "flip-center")
    with pytest.raises(UnknownName, match="did you mean center"):
        parse_views("centre")
    assert parse_views("reversed,reversed-left") == ("center", "reversed-center", "reversed-left")
    assert space_and_time("flip-left-t2") == ("flip-left", 2)
    assert space_and_time("reversed-flip-left-t2") == ("flip-left", 2)
    assert split_view("a@reversed-center") == ("a", "reversed-center")
    assert names_of_views.reversed_id("a@flip-left-t2") == "a@reversed-flip-left-t2"
    assert names_of_views.reversed_id("a") == ""
    assert training_views(["center", "reversed-center"]) == ["center"]
    assert training_views(["crop0", "reversed-crop0", "center"]) == ["crop0"]
    assert view_id("a@b", "crop3-t1") == "a@b@crop3-t1"
    assert split_view("a@b@crop3-t1") == ("a@b", "crop3-t1")
    assert split_view("a.mp4@0-5") == ("a.mp4@0-5", "")
    assert clip_of("@center") == "@center"
    assert training_views(["center", "crop0", "crop1"]) == ["crop0", "crop1"]
    assert names_of_views.testing_views(["center", "crop0", "left"]) == ["center", "left"]
    assert training_views(["center", "left"]) == names_of_views.testing_views(["center", "left"])


def test_train_views_are_for_training_clips() -> None:
    clips = [Clip(s or "none", Path("x"), "x", s) for s in ("train", "val", "test", "")]
    made = with_views(clips, ViewPlan(train_views=2), parse_sampling("uniform"))
    assert [clip.views for clip in made] == [
        ("center", "crop0", "crop1"),
        ("center",),
        ("center",),
        ("center", "crop0", "crop1"),
    ]
    assert with_views(clips, ViewPlan(), parse_sampling("uniform")) == tuple(clips)
    with pytest.raises(UsageError, match="ends like the name of a view"):
        with_views([Clip("a@left", Path("x"), "x")], ViewPlan(), parse_sampling("uniform"))


def test_side_crops_of_whole_frames_are_refused() -> None:
    require_crops(ViewPlan(("left",)), PLAN, "any")
    require_crops(ViewPlan(("flip-center", "crop0", "reversed-center")), WHOLE, "any")
    with pytest.raises(UsageError, match="--views reversed-left"):
        require_crops(ViewPlan(("reversed-left",)), WHOLE, "any")
    with pytest.raises(UsageError, match="shows whole frames"):
        require_crops(ViewPlan(("center", "flip-right")), WHOLE, "any")


def test_flips_swap_mirrored_classes_or_are_refused() -> None:
    classes = [
        ClassRow("l", 0, mirror="r"),
        ClassRow("r", 1, mirror="l"),
        ClassRow("up", 2),
    ]
    assert mirror_labels(classes, None, "x") == {"l": "r", "r": "l", "up": "up"}
    assert mirror_labels(classes, [], "x") == {"l": "l", "r": "r", "up": "up"}
    plain = [ClassRow("l", 0), ClassRow("r", 1)]
    assert mirror_labels(plain, [("l", "r")], "x") == {"l": "r", "r": "l"}
    with pytest.raises(UsageError, match="unknown which classes of x"):
        mirror_labels(plain, None, "x")
    with pytest.raises(UsageError, match="a flip makes 'r' of 'l', and x has not both"):
        mirror_labels(classes[:1], None, "x")


def test_a_flip_swaps_each_of_several_labels() -> None:
    clip = Clip("c", Path("c.mp4"), "l;up", group="g", views=("", "flip-center"))
    rows = rows_of(clip, {"l": "r", "r": "l", "up": "up"})
    assert [row.label for row in rows] == ["l;up", "r;up"]


def test_a_class_without_its_mirror_is_not_flipped_into_itself() -> None:
    """A subset of a data set may hold "push left" alone."""
    classes = class_rows(["push left", "up"], mirrors=[("push left", "push right")])
    with pytest.raises(UsageError, match="a flip makes 'push right' of 'push left'"):
        mirror_labels(classes, None, "x")


def plain_tokens(path: Path, backbone: Any, pick: Any, change: Any) -> np.ndarray:
    """Tokens of one clip by hand: decode, pick, change each frame, run."""
    clip = read_whole(path, pick, change)
    frames = torch.from_numpy(np.stack([clip.images[p] for p in clip.positions]))
    selection = parse_tokens("grid2", backbone.facts)
    device = torch.device("cpu")
    forward = BackboneRunner(backbone, selection, device=device, dtype=torch.float32, batch=64)
    return forward.frames(frames)


def test_every_view_in_the_store_is_the_one_its_name_says(
    extract: Callable[..., int],
    clip_table: Path,
    tmp_path: Path,
    write_video: Any,
    model_folder: Callable[[str], Path],
) -> None:
    """Against tokens made by hand from wide videos; three spatial times two temporal views."""
    generator = np.random.default_rng(0)
    with clip_table.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["id", "path", "label", "split"])
        for name, split in (("a", "train"), ("b", "test")):
            images = generator.integers(0, 256, (24, 9, 16, 3), np.uint8)
            images = images.repeat(8, axis=1).repeat(8, axis=2)
            path = write_video(tmp_path / f"{name}.mp4", list(images))
            writer.writerow([name, path, "push left" if name == "a" else "push right", split])
    mirrors = tmp_path / "mirrors.csv"
    mirrors.write_text("label,mirror\npush left,push right\n")
    views = ViewPlan(parse_views("three-crops,flip"), train_views=1)
    settings = {
        "views": "three-crops,flip",
        "train_views": 1,
        "mirrors": mirrors,
        "sampling": "dense2-2views",
        "store": tmp_path / "views",
    }
    assert extract(**settings) == 0
    store = open_store(tmp_path / "views")
    spaces = ["left", "center", "right", "flip-center"]
    expected = [f"a@{s}-t{t}" for s in [*spaces, "crop0"] for t in (0, 1)]
    expected += [f"b@{s}-t{t}" for s in spaces for t in (0, 1)]
    assert [row.id for row in store.clips()] == expected
    assert sorted(store.ids) == sorted(expected)
    rows = {row.id: row for row in store.clips()}
    assert rows["a@flip-center-t1"].label == "push right"
    assert rows["a@left-t1"].label == "push left"
    assert {row.group for row in store.clips()} == {"a", "b"}
    backbone = load_backbone(f"hf:{model_folder('dinov2')}")
    plan = backbone.facts.plan
    for stored in expected:
        name, view = split_view(stored)
        space, time = space_and_time(view)
        pictures: list[np.ndarray] = []

        def cut_by_hand(image: np.ndarray, space: str = space, name: str = name) -> np.ndarray:
            return cut(image, plan, views, (space,), name)[0]

        def keep(image: np.ndarray, cut_one: Any = cut_by_hand, kept: Any = pictures) -> np.ndarray:
            kept.append(cut_one(image))
            return kept[-1]

        by_hand = plain_tokens(
            tmp_path / f"{name}.mp4", backbone, lambda n, time=time: dense(n, 4, 2, time, 2), keep
        )
        # What `stepcli picture` shows is what the backbone saw, the box of a random crop included.
        assert np.array_equal(stored_frames(store, stored), np.stack(pictures))
        np.testing.assert_allclose(store.read([stored])[0], by_hand, atol=1e-5)
        times = store.record(stored).pts_seconds
        np.testing.assert_allclose(times, np.array(dense(24, 4, 2, time, 2)) / 25, atol=1e-3)
    # All is there; other views are another store.
    assert extract(**settings) == 0
    with pytest.raises(SpecMismatch, match=r"preprocessing\.crop_seed: store 0, asked 5"):
        extract(**settings, crop_seed=5)
    with pytest.raises(SpecMismatch, match=r"preprocessing\.views"):
        extract(**{**settings, "views": "center", "train_views": 0})


def test_views_of_a_broken_clip_are_all_accounted_for(
    extract: Callable[..., int], clip_table: Path, tmp_path: Path
) -> None:
    rows = clip_table.read_text().splitlines()
    clip_table.write_text("\n".join([*rows[:2], "gone,gone.mp4,drawer-open,test,g"]))
    settings = {"views": "left,right"}
    assert extract(**settings) == 3
    store = open_store(tmp_path / "store")
    assert sorted(store.ids) == ["c0@left", "c0@right"]
    assert store.quarantined().keys() == {"gone@left", "gone@right"}
    good = Path(rows[1].split(",")[1])
    (clip_table.parent / "gone.mp4").symlink_to(good)
    assert extract(**settings) == 3
    assert extract(**settings, retry_failed=True) == 0
    assert len(open_store(tmp_path / "store")) == 4


def test_padding_keeps_real_frames_first_and_says_how_many(
    extract: Callable[..., int], tmp_path: Path, clip_table: Path, write_numbered: Any
) -> None:
    short = write_numbered(tmp_path / "three.mp4", 3, first=3)
    long = write_numbered(tmp_path / "nine.mp4", 9, first=3)
    clip_table.write_text(f"id,path,label\ns,{short},x\nl,{long},x\n")
    assert extract(frames=8, short="pad") == 0
    store = open_store(tmp_path / "store")
    assert store.spec.sampling == "uniform+pad"
    records = [store.record(name) for name in ("s", "l")]
    distinct = [record.distinct_frames for record in records]
    assert distinct == [3, 8]
    mask = frame_mask(store.spec.sampling, distinct, 8)
    assert mask.tolist() == [[True] * 3 + [False] * 5, [True] * 8]
    assert frame_mask("uniform", distinct, 8).all()
    np.testing.assert_allclose(records[0].pts_seconds, np.array([0, 1, 2, *[2] * 5]) / 25)
    tokens = store.read(["s"])[0]
    assert not np.array_equal(tokens[0], tokens[1])
    assert np.array_equal(tokens[2], tokens[7])
    with pytest.raises(UsageError, match=r"--short pad: tokens of .* depend on the whole clip"):
        extract("videomae", short="pad", store=tmp_path / "other")


@given(available=st.integers(1, 60), wanted=st.integers(1, 40))
def test_padded_rules_keep_their_real_frames_in_front(available: int, wanted: int) -> None:
    for rule in ("uniform", "midpoint", "random-seed3", "dense1", "dense3", "dense2-2of3"):
        plain = parse_sampling(rule).indices(available, wanted, "c")
        indices = parse_sampling(f"{rule}+pad").indices(available, wanted, "c")
        real = len(set(indices))
        assert indices == sorted(indices)
        assert indices[:real] == sorted(set(plain))
        assert set(indices[real:]) <= {indices[real - 1]}
    assert parse_sampling("uniform+pad").indices(9, 4, "c") == uniform(9, 4)
