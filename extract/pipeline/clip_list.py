"""The clips that a run is about.

They are listed before torch is imported, so that a wrong folder or list is an error at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stepcli.cache.schema.alike import composed
from stepcli.cache.schema.views import is_flip
from stepcli.extract.config import ExtractConfig
from stepcli.extract.config.values import NO_MIRRORS, require_mirrors
from stepcli.extract.datasets.clip import Clip, Dataset
from stepcli.extract.datasets.recordings import recordings_of
from stepcli.extract.datasets.registry import load_dataset
from stepcli.extract.datasets.videos import DEPTH_ENDING, DEPTH_READER
from stepcli.extract.decode.sampling import parse_sampling
from stepcli.extract.decode.views import ViewPlan, make_view_plan, mirror_labels, with_views
from stepcli.extract.sources.place import with_prefix
from stepcli.runtime.csv_tables import read_csv
from stepcli.runtime.extras import load_extra


@dataclass(frozen=True, slots=True)
class ClipList:
    """What a run is about."""

    dataset: Dataset
    clips: tuple[Clip, ...]
    """Those of the data set that were asked for, with their views."""
    mirror_of: dict[str, str]
    """Class -> class of its flip, where clips have flipped views."""


def load_list(config: ExtractConfig) -> ClipList:
    """The data set of a run and its clips.

    Raises:
        UsageError: pieces are missing, flips cannot be labelled, or clips are MATLAB files and the
            extra that reads them is missing.
    """
    views = views_of(config)
    dataset = load_dataset(config.dataset, config.root, config.options)
    if config.windows is not None:
        dataset = recordings_of(dataset)
    dataset = with_prefix(dataset, config.append)
    clips = spread(dataset.clips, config.limit)
    if any(clip.path.suffix.lower() == DEPTH_ENDING for clip in clips):
        load_extra(*DEPTH_READER)  # here, not in every decoder for every clip
    clips = with_views(clips, views, parse_sampling(config.sampling_rule))
    mirror_of: dict[str, str] = {}
    if any(is_flip(view) for clip in clips for view in clip.views):
        mirror_of = mirror_labels(dataset.classes, _mirrors(config.mirrors), dataset.name)
    return ClipList(dataset, clips, mirror_of)


def spread(clips: Sequence[Clip], limit: int | None) -> tuple[Clip, ...]:
    """At most `limit` clips, evenly over the list: every split and class keeps its share."""
    if limit is None or limit >= len(clips):
        return tuple(clips)
    return tuple(clips[i * len(clips) // limit] for i in range(limit))


def views_of(config: ExtractConfig) -> ViewPlan:
    """The views of each clip that a run asks for."""
    return make_view_plan(config.views, config.train_views, config.crop_seed, config.crop_min_area)


def _mirrors(file: Path | None) -> list[tuple[str, str]] | None:
    if file is None:
        return None
    if file == NO_MIRRORS:
        return []
    require_mirrors(file)
    rows = read_csv(file, ("label", "mirror"))
    return [(composed(row["label"]), composed(row["mirror"])) for row in rows]
