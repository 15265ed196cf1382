"""From a store's table of clips to the samples of a task: views, crops, directions, labels."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.schema.leakage import find_leakage
from stepcli.cache.schema.padding import is_padded
from stepcli.cache.schema.views import is_flip, testing_views, training_views, views_by_clip
from stepcli.probe.config import TaskConfig
from stepcli.probe.config.task import MULTI_LABEL, ORDER_SUITE
from stepcli.probe.data.anticipation import before_actions
from stepcli.probe.data.frame_choice import FrameChoice, Ints, crop_starts, shown_frames, spread
from stepcli.probe.data.label_sets import (
    label_sets,
    members,
    mirrors,
    require_one_label,
    set_numbers,
)
from stepcli.probe.data.order_maps import Scene, order_map
from stepcli.probe.data.order_samples import (
    Answers,
    arranged_test,
    order_answers,
    order_warnings,
    require_frame_scope,
    reversible,
    sides_of,
    with_reversed,
)
from stepcli.probe.data.recordings import require_recordings
from stepcli.probe.data.splits import LabelledClips, base_classes, unseen_classes
from stepcli.probe.data.tasks import Samples, Task
from stepcli.runtime.errors import UnknownName, UsageError
from stepcli.runtime.words import are, counted, listed

if TYPE_CHECKING:
    from stepcli.cache.store.store import Store


def make_task(config: TaskConfig, store: "Store", table: LabelledClips) -> Task:
    """Turn a store's clips into samples.

    Raises:
        UsageError: the store cannot serve the task, or no clip is left for one of its sides.
        UnknownName: a pair names a class that is not in the store.
    """
    spec = store.spec
    if config.layer is not None and config.layer not in spec.layers:
        held = ", ".join(map(str, spec.layers))
        raise UsageError(f"layer={config.layer}: the store holds layers {held}; choose one of them")
    stored, length = shown_frames(config, spec.frames)
    pairs = table.pairs if config.pairs is None else config.pairs
    named = dict.fromkeys(label for pair in pairs for label in pair)
    unknown = [label for label in named if label not in table.classes]
    if len(unknown) == 1:
        raise UnknownName("label in pairs", unknown[0], table.classes)
    if unknown:
        raise UsageError(
            f"{len(unknown):,} of {counted(len(named), 'label')} in pairs are not classes of the "
            f"store: {listed(map(repr, unknown))}; its classes: "
            f"{listed(map(repr, table.classes), 5)}"
        )
    if config.name in ("dense", "anticipate"):
        require_recordings(config, store, table)
    if config.name == "anticipate":
        table = before_actions(table, store, config.horizon or 0.0)
    if config.name == MULTI_LABEL:
        answers = Answers(table.classes, set_numbers(table))
        return _build(config, store, table, answers, (), stored, length)
    require_one_label(config, table)
    if config.name not in ORDER_SUITE:
        if config.answer == "direction":
            # Not in the config: a sweep's variants may name the task.
            raise UsageError(
                f"--answer direction asks for an order of frames, --task {config.name} does not: "
                f"choose one of {', '.join(ORDER_SUITE)}"
            )
        answers = Answers(table.classes, {name: i for i, name in enumerate(table.classes)})
        return _build(config, store, table, answers, pairs, stored, length)
    if config.protocol == "base-to-novel":
        raise UsageError(
            f"base-to-novel halves the classes of a data set, the {config.name} task pairs them: "
            "use --task classify"
        )
    if config.name != "arrow" or store.spec.token_scope == "frame":
        require_frame_scope(config, store.spec)
    answers, opposites = order_answers(config, table, pairs)
    return _build(config, store, table, answers, opposites, stored, length)


def _build(
    config: TaskConfig,
    store: "Store",
    table: LabelledClips,
    answers: Answers,
    pairs: Sequence[tuple[str, str]],
    stored: int,
    length: int,
) -> Task:
    classes = answers.classes
    index = {name: i for i, name in enumerate(classes)}
    train, test, warnings = _of_classes(table, answers.forward)
    sets = label_sets(table, answers.forward) if table.several else None
    from_views = answers.backward is not None and store.spec.token_scope != "frame"
    if from_views:
        train, test = (reversible(config, store.spec, side) for side in (train, test))
    leakage = find_leakage(train, test, table.copies)
    trained = [views[: config.views] for views in _by_clip(train, training_views)]
    tested = [views if config.test_views else views[:1] for views in _by_clip(test, testing_views)]
    rows = [row for views in (*trained, *tested) for row in views]
    turned = None
    if from_views:
        rows, turned = with_reversed(rows, (*train, *test))
    labels = np.array([answers.forward[row.label] for row in rows])
    backward_labels = labels
    if answers.backward is not None:
        backward_labels = np.array([answers.backward[row.label] for row in rows])
    order = order_map(config.name)
    choice: FrameChoice = "jitter" if config.jitter else "spread"
    choice = "crop" if config.temporal_crop or length == stored else choice
    choice = "arranged" if order is not None else choice
    ways = np.array([False] if answers.backward is None else [False, True])
    trained_ways = tuple(map(bool, ways))
    if answers.backward is not None and config.directions != "both":
        trained_ways = (config.directions == "backward",)
    seen_rows = sum(map(len, trained))
    counts = np.array([len(views) for views in tested])
    real = _real_frames(store, rows)
    scene = None
    if order is None:
        first = seen_rows + np.cumsum(counts) - counts
        shown, shown_of = _every_view(first, counts, stored, length, choice, ways)
        shown = replace(shown, real=None if real is None else real[shown.clip])
    else:
        looks = np.full(len(rows), stored) if real is None else np.minimum(real, stored)
        # Of the pair's two classes the one with the smaller index represents both.
        kinds = np.minimum(labels, backward_labels)
        if config.answer == "direction":
            kinds = np.unique([row.label for row in rows], return_inverse=True)[1]
        scene = Scene(length, looks, kinds, sides_of(config, table, rows, seen_rows))
        warnings += order_warnings(order, scene, config)
        shown, shown_of = arranged_test(order, scene, [row.id for row in rows], seen_rows, counts)
    shown = _labelled(shown, labels, backward_labels)
    last = None
    if turned is not None:
        last = np.full(len(rows), store.spec.frames - 1) if real is None else real - 1
        shown = replace(shown, turned=turned[shown.clip], last=last[shown.clip])
    reported = np.unique(shown_of, return_index=True)[1]
    trained_labels = [(backward_labels if way else labels)[:seen_rows] for way in trained_ways]
    seen = {int(label) for part in trained_labels for label in part}
    tested_labels = shown.label[reported].tolist()
    if sets is not None:
        seen = members(sets, seen)
        tested_labels = [c for label in tested_labels for c in members(sets, [label])]
    if config.protocol == "base-to-novel":
        seen |= set(range(base_classes(classes, config.protocol), len(classes)))
    if warning := unseen_classes(seen, tested_labels, classes):
        warnings.append(warning)
    return Task(
        clips=tuple(row.id for row in rows),
        groups=tuple(map(table.group, rows)),
        classes=classes,
        base_classes=base_classes(classes, config.protocol),
        pairs=tuple((index[a], index[b]) for a, b in pairs),
        length=length,
        stored_frames=stored,
        choice=choice,
        layer=config.layer,
        trained_ways=trained_ways,
        shuffles=config.frame_order == "shuffled",
        real_frames=real,
        labels=labels,
        backward_labels=backward_labels,
        train_views=np.array([len(views) for views in trained]),
        test=shown[reported],
        shown=shown,
        shown_of=shown_of,
        mirror=_mirror(rows, labels, len(classes)) if sets is None else mirrors(store, classes),
        warnings=(*leakage.warnings, *warnings),
        leakage=leakage,
        turned=turned,
        last=last,
        order=order,
        scene=scene,
        label_sets=sets,
    )


def _of_classes(
    table: LabelledClips, classes: Collection[str]
) -> tuple[list[ClipRow], list[ClipRow], list[str]]:
    """The training and the test clips of some classes, and warnings, of those left out too.

    Raises:
        UsageError: one of the sides has no such clip.
    """
    wanted = set(classes)
    train, test = (
        [row for row in side if row.label in wanted] for side in (table.train, table.test)
    )
    for name, side in (("train", train), ("test", test)):
        if not side:
            raise UsageError(
                f"no {name} clip has a label of the pairs; the pairs name: {', '.join(classes)}"
            )
    warnings = list(table.warnings)
    left_out = len(table.train) + len(table.test) - len(train) - len(test)
    if left_out:
        warnings.append(
            f"{counted(left_out, 'clip')} {are(left_out)} left out of the task: their classes "
            "have no partner, or are irreversible"
        )
    return train, test, warnings


def _by_clip(
    rows: Sequence[ClipRow], chosen: Callable[[Iterable[str]], list[str]]
) -> list[list[ClipRow]]:
    """The rows of each clip's chosen views, clips in order; the plain view, or the first, leads."""
    ids = [row.id for row in rows]
    return [
        [rows[views[name]] for name in sorted(chosen(views), key=is_flip)]
        for views in views_by_clip(ids).values()
    ]


def _real_frames(store: "Store", rows: Sequence[ClipRow]) -> Ints | None:
    """[clips]: real frames of each clip, the first of those stored; None where none is padding."""
    if not is_padded(store.spec.sampling):
        return None
    return store.record_columns([row.id for row in rows]).distinct_frames


def _mirror(rows: Sequence[ClipRow], labels: Ints, classes: int) -> Ints:
    """[C]: what each class is called in a flipped view, as the clips' labels say."""
    mirror = np.arange(classes)
    for views in views_by_clip([row.id for row in rows]).values():
        plain = [place for view, place in views.items() if not is_flip(view)]
        flipped = [place for view, place in views.items() if is_flip(view)]
        if plain and flipped:
            a, b = labels[plain[0]], labels[flipped[0]]
            mirror[a], mirror[b] = b, a
    return mirror


def _every_view(
    first: Ints,
    counts: Ints,
    stored: int,
    length: int,
    choice: FrameChoice,
    ways: NDArray[np.bool_],
) -> tuple[Samples, Ints]:
    """Test samples, without labels, in every view of every clip, and which sample each belongs to.

    Crops are the first, middle and last; otherwise a clip is one sample. In the arrow task each is
    shown in both directions: a backward sample is the reversal of a forward one, so what does not
    see order has exactly 50 %.

    Args:
        first: Row of each clip's first view, [n].
        counts: Views of each clip, [n].
        stored: Frames to choose of.
        length: Frames to choose.
        choice: How.
        ways: Directions.
    """
    starts = crop_starts(stored, length) if choice == "crop" else np.array([0])
    each = len(starts) * len(ways)
    number = np.repeat(np.arange(len(first)), counts * each)
    view = np.concatenate([np.repeat(np.arange(n), each) for n in counts])
    part = np.tile(np.arange(each), int(counts.sum()))
    picked = None if choice == "crop" else np.tile(spread(stored, length), (len(number), 1))
    backward = ways[part % len(ways)]
    unlabelled = np.zeros(len(number), np.int64)
    samples = Samples(first[number] + view, starts[part // len(ways)], backward, unlabelled, picked)
    return samples, number * each + part


def _labelled(samples: Samples, labels: Ints, backward_labels: Ints) -> Samples:
    label = np.where(samples.backward, backward_labels[samples.clip], labels[samples.clip])
    return replace(samples, label=label)
