"""Warnings about a data set's list that can be said before the first video is decoded."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from stepcli.cache.schema.alike import alike_warning
from stepcli.cache.schema.class_sets import different_classes, single_class
from stepcli.cache.schema.groups import given_key, plain_names
from stepcli.cache.schema.label_sets import labels_in
from stepcli.cache.schema.leakage import label_conflicts
from stepcli.cache.schema.official_splits import official_names, split_in
from stepcli.cache.schema.split_names import normalise_split, unused_splits
from stepcli.extract.datasets.clip import Clip
from stepcli.runtime.words import counted, listed


def list_warnings(clips: Sequence[Clip], *, several: bool = False) -> list[str]:
    """What is odd about a list, one line each: groups in several splits, the same frames in several
    splits or under several labels, labels and groups that look alike, a single class, splits with
    different classes, unused splits.

    Args:
        clips: Of the list.
        several: Whether a clip has any number of labels.
    """
    if numbers := official_names(clip.split for clip in clips):
        found_in = {
            number: list_warnings(
                [replace(c, split=split_in(c.split, number)) for c in clips], several=several
            )
            for number in numbers
        }
        lines = [line for number in numbers for line in found_in[number]]
        return [
            line if lines.count(line) == len(numbers) else f"official split {number}: {line}"
            for line in dict.fromkeys(lines)
            for number in [next(n for n in numbers if line in found_in[n])]
        ]
    splits: dict[str, list[str]] = defaultdict(list)
    for clip in clips:
        names = labels_in(clip.label) if several else [clip.label]
        splits[normalise_split(clip.split)] += names
    same = _same_frames(clips)
    found = [
        _groups_in_several(clips),
        _frames_in_several(clips, same),
        label_conflicts((clip.row() for clip in clips), same),
        alike_warning(chain.from_iterable(splits.values()), "label"),
        alike_warning((clip.group for clip in clips), "group"),
        single_class([name for names in splits.values() for name in names]),
        unused_splits(clip.split for clip in clips),
        *(
            different_classes(splits["train"], splits[name], ("train", name))
            for name in ("val", "test")
        ),
    ]
    return [line for line in found if line is not None]


def _same_frames(clips: Sequence[Clip]) -> list[list[str]]:
    """Ids of clips that are the same stretch of the same file, where there are several."""
    by_stretch: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for clip in clips:
        bounds = (clip.start_seconds, clip.end_seconds, clip.start_frame, clip.end_frame)
        by_stretch[(clip.path, *bounds)].append(clip.id)
    return [ids for ids in by_stretch.values() if len(ids) > 1]


def _groups_in_several(clips: Sequence[Clip]) -> str | None:
    splits_of: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if split := normalise_split(clip.split):
            splits_of[given_key(clip.row())].add(split)
    torn = {key: splits for key, splits in splits_of.items() if len(splits) > 1}
    if not torn:
        return None
    count = sum(given_key(clip.row()) in torn for clip in clips)
    names = zip(plain_names(list(torn)), torn.values(), strict=True)
    examples = listed(f"{name} in {' and '.join(sorted(splits))}" for name, splits in names)
    return (
        f"{counted(len(torn), 'group')} in more than one split ({examples}), with "
        f"{counted(count, 'clip')}: test scores may be inflated; keep groups whole"
    )


def _frames_in_several(clips: Sequence[Clip], same: Sequence[Sequence[str]]) -> str | None:
    split_of = {clip.id: normalise_split(clip.split) for clip in clips}
    torn = [ids for ids in same if len({split_of[i] for i in ids} - {""}) > 1]
    if not torn:
        return None
    examples = listed(
        " = ".join(f"{i} ({split_of[i] or 'no split'})" for i in ids[:3]) for ids in torn
    )
    return (
        f"{counted(len(torn), 'set')} of clips with the same frames in more than one split: "
        f"{examples}; test scores are inflated"
    )
