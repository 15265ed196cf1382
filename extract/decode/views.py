"""Views of one clip: cut many times from frames that are decoded and picked once.

Spatial views: `center` (as the backbone's processor crops), `left` and `right` (the same crop at
either end of the frame's longer side), `crop0` to `crop7` (random resized crops for training, one
box per clip and view) and `flip-` before any of them; `noise3` and its like show the centre with
corrupted pixels (corruptions.py). Temporal views come from the sampling rule
and add `-t<n>`; `reversed-` before all of it shows the same frames backward. Names and ids:
`stepcli.cache.schema.views`.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from PIL import Image

from stepcli.cache.schema.clips import ClassRow, ClipRow
from stepcli.cache.schema.label_sets import joined_labels, labels_in
from stepcli.cache.schema.views import (
    CORRUPTIONS,
    NAME,
    corruption_of,
    is_flip,
    is_random_crop,
    split_view,
    view_id,
)
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.decode.corruptions import corrupted
from stepcli.extract.decode.orientation import RGB
from stepcli.extract.decode.preprocess import PixelPlan
from stepcli.extract.decode.sampling import Sampling
from stepcli.runtime.errors import UnknownName, UsageError

GROUPS = {
    "center": ("center",),
    "three-crops": ("left", "center", "right"),
    "flip": ("flip-center",),
    "reversed": ("center", "reversed-center"),
    "corrupted": ("center", *(f"{kind}{n}" for kind in CORRUPTIONS for n in range(1, 6))),
}
TRAIN_VIEWS = (0, 1, 2, 4, 8)
RATIO = (3 / 4, 4 / 3)
"""Width to height of a random resized crop, as in torchvision."""
TRIES = 10


@dataclass(frozen=True, slots=True)
class ViewPlan:
    """Which views are stored; everything here determines tokens."""

    spaces: tuple[str, ...] = ("center",)
    """Spatial views of every clip."""
    train_views: int = 0
    """Random resized crops of every clip that is not of the splits val and test."""
    crop_seed: int = 0
    crop_min_area: float = 0.3
    """Smallest share of the frame's area that a random crop shows; at most it shows all."""

    @property
    def is_plain(self) -> bool:
        """Whether clips have the centre alone and keep their ids."""
        return self.spaces == ("center",) and not self.train_views

    @property
    def has_random_crops(self) -> bool:
        """Whether any clip has."""
        return bool(self.train_views) or any(map(is_random_crop, self.spaces))

    @property
    def draws(self) -> bool:
        """Whether anything in its views is drawn by `crop_seed`."""
        return self.has_random_crops or any(map(corruption_of, self.spaces))

    def to_spec(self) -> dict[str, bool | int | float | str | list[float] | list[int]]:
        """For `StoreSpec.preprocessing`; nothing for plain centres, as in stores without views."""
        if self.is_plain:
            return {}
        facts: dict[str, bool | int | float | str | list[float] | list[int]] = {
            "views": ",".join(self.spaces)
        }
        if self.draws and not self.has_random_crops:
            facts["crop_seed"] = self.crop_seed
        if self.has_random_crops:
            facts |= {
                key: asdict(self)[key] for key in ("train_views", "crop_seed", "crop_min_area")
            }
        return facts

    def spaces_of(self, split: str) -> tuple[str, ...]:
        """Spatial views of a clip of this split."""
        crops = 0 if split in ("val", "test") else self.train_views
        return (*self.spaces, *(f"crop{i}" for i in range(crops)))


def make_view_plan(views: str, train_views: int, seed: int = 0, min_area: float = 0.3) -> ViewPlan:
    """The plan that the options --views, --train-views, --crop-seed and --crop-min-area name.

    Raises:
        UnknownName: a view, listing what there is.
        UsageError: another number of train views than there may be.
    """
    if train_views not in TRAIN_VIEWS:
        raise UsageError(f"--train-views {train_views}: expected one of {TRAIN_VIEWS}")
    return ViewPlan(parse_views(views), train_views, seed, min_area)


def parse_views(text: str) -> tuple[str, ...]:
    """ "center,three-crops,flip" -> names of spatial views, each once.

    Raises:
        UnknownName: listing what there is.
    """
    names: list[str] = []
    for word in (word.strip() for word in text.split(",")):
        found = NAME.fullmatch(word)
        if word not in GROUPS and (found is None or found["time"]):
            raise UnknownName("view", word, (*GROUPS, "left", "right", "flip-left", "noise3"))
        names += GROUPS.get(word, (word,))
    return tuple(dict.fromkeys(names))


def require_crops(plan: ViewPlan, pixels: PixelPlan, backbone: str) -> None:
    """Refuse side crops where the processor squashes the whole frame into a square.

    Raises:
        UsageError: saying what works instead.
    """
    plain = {space: space_and_time(space)[0].removeprefix("flip-") for space in plan.spaces}
    sides = [space for space, name in plain.items() if name in ("left", "right")]
    if sides and not (pixels.resize_short and pixels.crop_height):
        raise UsageError(
            f"--views {sides[0]}: the image processor of {backbone} shows whole frames, so there "
            "is no crop beside the centre's; ask for center, flip or --train-views"
        )


def with_views(clips: Sequence[Clip], plan: ViewPlan, sampling: Sampling) -> tuple[Clip, ...]:
    """The clips, each with the views to be stored of it; () where only its centre is.

    Raises:
        UsageError: a clip's own id ends like a view's.
    """
    for clip in clips:
        if split_view(clip.id)[1]:
            raise UsageError(
                f"the clip id {clip.id!r} ends like the name of a view; give the clip another id"
            )
    if plan.is_plain and sampling.views == 1:
        return tuple(clips)
    times = [f"-t{i}" for i in range(sampling.views)] if sampling.views > 1 else [""]
    return tuple(
        replace(clip, views=tuple(s + time for s in plan.spaces_of(clip.split) for time in times))
        for clip in clips
    )


def rows_of(clip: Clip, mirror_of: dict[str, str]) -> list[ClipRow]:
    """A clip's lines of the store's clips table, one a view.

    Args:
        clip: with its views.
        mirror_of: class -> class that a flip makes of it.
    """
    if not clip.views:
        return [clip.row()]
    row = replace(clip.row(), group=clip.group or clip.id)
    return [
        replace(
            row,
            id=view_id(clip.id, view),
            label=_mirrored(clip.label, mirror_of) if is_flip(view) else clip.label,
        )
        for view in clip.views
    ]


def _mirrored(label: str, mirror_of: Mapping[str, str]) -> str:
    """What a flip makes of a label, or of each of several."""
    if label in mirror_of:
        return mirror_of[label]
    return joined_labels(mirror_of[name] for name in labels_in(label))


def mirror_labels(
    classes: Sequence[ClassRow], given: Sequence[tuple[str, str]] | None, dataset: str
) -> dict[str, str]:
    """Class -> class of its horizontal flip, for all classes.

    Args:
        classes: of the data set, with the mirrors that it knows.
        given: pairs that a flip swaps, instead of the data set's; none: a flip changes no class.
        dataset: for the error's text.

    Raises:
        UsageError: unknown which classes a flip swaps, or one of a pair is not there.
    """
    names = {row.name for row in classes}
    if given is None:
        mirrors = {row.name: row.mirror for row in classes if row.mirror}
        if not mirrors:
            raise UsageError(
                f"flipped views: unknown which classes of {dataset} a flip swaps (left "
                "with right); name them in a file for --mirrors, or say --mirrors none"
            )
    else:
        mirrors = {one: other for pair in given for one, other in (pair, pair[::-1])}
    for name, other in mirrors.items():
        if not {name, other} <= names:
            raise UsageError(
                f"flipped views: a flip makes {other!r} of {name!r}, and {dataset} has not both"
            )
    return {name: mirrors.get(name, name) for name in names}


def space_and_time(view: str) -> tuple[str, int]:
    """ "flip-left-t2" -> ("flip-left", 2); "" -> ("center", 0); "reversed-left" -> ("left", 0)."""
    if not view:
        return "center", 0
    space, _, time = view.removeprefix("reversed-").partition("-t")
    return space, int(time or 0)


def backward(steps: Sequence[int], *, padded: bool) -> list[int]:
    """Order of the T steps of a reversed view: backward; padding stays last, and repeats the step
    before it.

    Args:
        steps: which frame each step shows, in the order of the video.
        padded: whether steps that repeat the last frame are padding.
    """
    real = list(steps).index(steps[-1]) + 1 if padded else len(steps)
    return [*range(real - 1, -1, -1), *[0] * (len(steps) - real)]


def cut(image: RGB, pixels: PixelPlan, plan: ViewPlan, spaces: Sequence[str], clip_id: str) -> RGB:
    """One frame in each of several spatial views.

    Args:
        image: [any height, any width, 3] uint8.
        pixels: resizing and crop of the backbone.
        plan: seed and size of random crops.
        spaces: names of spatial views.
        clip_id: seeds the boxes: the same for all frames of a clip.

    Returns:
        [len(spaces), height, width, 3] uint8.
    """
    if tuple(spaces) == ("center",):
        return pixels.shape_pixels(image)[None]
    resized = None
    done = np.empty((len(spaces), pixels.height, pixels.width, 3), np.uint8)
    for out, space in zip(done, spaces, strict=True):
        plain = space.removeprefix("flip-")
        if corruption := corruption_of(space):
            resized = pixels.resize(image) if resized is None else resized
            view = corrupted(pixels.crop(resized, None), *corruption, clip_id, plan.crop_seed)
        elif is_random_crop(plain):
            box = crop_box(
                *(image.shape[0], image.shape[1]),
                f"{plan.crop_seed}/{clip_id}/{plain}",
                plan.crop_min_area,
            )
            view = _resize_box(image, box, pixels)
        else:
            resized = pixels.resize(image) if resized is None else resized
            place = {"left": 0.0, "center": None, "right": 1.0}[plain]
            view = pixels.crop(resized, place)
        out[...] = view[:, ::-1] if is_flip(space) else view
    return done


def crop_box(height: int, width: int, seed: str, min_area: float) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random resized crop (Szegedy et al. 2015; torchvision's
    RandomResizedCrop): area uniform in [min_area, 1], aspect ratio log-uniform in 3/4 to 4/3."""
    digest = hashlib.sha256(seed.encode()).digest()
    numbers = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    for _ in range(TRIES):
        area = height * width * numbers.uniform(min_area, 1.0)
        ratio = math.exp(numbers.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        columns, rows = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < columns <= width and 0 < rows <= height:
            top = int(numbers.integers(0, height - rows + 1))
            return top, int(numbers.integers(0, width - columns + 1)), rows, columns
    # No such box fits (a very long frame): the largest of an allowed ratio, from the middle.
    rows = min(height, round(width / RATIO[0]))
    columns = min(width, round(height * RATIO[1]))
    return (height - rows) // 2, (width - columns) // 2, rows, columns


def _resize_box(image: RGB, box: tuple[int, int, int, int], pixels: PixelPlan) -> RGB:
    top, left, rows, columns = box
    part = Image.fromarray(image[top : top + rows, left : left + columns])
    resample = Image.Resampling[pixels.resample.upper()]
    return np.asarray(part.resize((pixels.width, pixels.height), resample))
