"""Tasks of order: which labels a clip has forward and backward, and what a test shows of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.schema.views import clip_of, is_reversed, reversed_id, view_of
from stepcli.probe.config import TaskConfig
from stepcli.probe.data.frame_choice import Ints
from stepcli.probe.data.order_maps import OrderMap, Scene
from stepcli.probe.data.slices import fold_of_groups
from stepcli.probe.data.splits import LabelledClips
from stepcli.probe.data.tasks import Samples
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted

if TYPE_CHECKING:
    from stepcli.cache.schema.spec import StoreSpec

FEWEST_CLIPS = 3
"""Of a split, for a task that shows clips beside each other: a clip and two others."""
TEST_SEED = 158
"""Of what a test draws of each clip, beside the clip's id."""
DIRECTIONS = ("forward", "backward")


@dataclass(frozen=True, slots=True)
class Answers:
    """What a task asks for: its classes, and those of each of the store's labels."""

    classes: tuple[str, ...]
    forward: Mapping[str, int]
    """Label -> class of a clip that is shown forward."""
    backward: Mapping[str, int] | None = None
    """Label -> class of a clip that is shown backward; None where none is."""


def require_frame_scope(config: TaskConfig, spec: "StoreSpec") -> None:
    """Refuse tokens that depend on other frames.

    Raises:
        UsageError: they do; the message names the extraction that would do.
    """
    if spec.token_scope != "frame":
        raise UsageError(
            f"the {config.name} task shows stored frames in another order, but this store's tokens "
            f"depend on more than their own frame (token_scope: {spec.token_scope}); extract with "
            "an image backbone; only --task arrow takes such tokens, with --views reversed"
        )


def reversible(config: TaskConfig, spec: "StoreSpec", rows: Sequence[ClipRow]) -> list[ClipRow]:
    """The rows of views that are stored reversed too, and of those reversed views.

    Raises:
        UsageError: a clip has no such view.
    """
    ids = {row.id for row in rows}
    found = [row for row in rows if is_reversed(view_of(row.id)) or reversed_id(row.id) in ids]
    kept = {clip_of(row.id) for row in found if not is_reversed(view_of(row.id))}
    absent = {clip_of(row.id) for row in rows} - kept
    if absent:
        raise UsageError(
            f"the {config.name} task needs the reversed view of each clip, because this store's "
            f"tokens depend on more than their own frame (token_scope: {spec.token_scope}); "
            f"{counted(len(absent), 'clip')} without one (first: {min(absent)!r}); extract with "
            "--views reversed, or with an image backbone"
        )
    return found


def with_reversed(rows: Sequence[ClipRow], known: Sequence[ClipRow]) -> tuple[list[ClipRow], Ints]:
    """Rows of views with the rows of their reversed views behind them: what backward samples show
    where a token depends on other frames than its own.

    Args:
        rows: Of views that are shown forward, [n], from `reversible`.
        known: Every row of `reversible`.

    Returns:
        The rows, and for each the place of its reversed view; for a reversed view, its own.
    """
    by_id = {row.id: row for row in known}
    turned = [by_id[reversed_id(row.id)] for row in rows]
    # Folds repeat their rows, so an id may have several places: any of them has the tokens.
    places = {row.id: len(rows) + place for place, row in enumerate(turned)}
    return [*rows, *turned], np.array([places[row.id] for row in turned] * 2)


def order_answers(
    config: TaskConfig, table: LabelledClips, pairs: Sequence[tuple[str, str]]
) -> tuple[Answers, Sequence[tuple[str, str]]]:
    """What a task of order asks for, and the pairs of its classes.

    Raises:
        UsageError: it asks for opposite classes and there are none.
    """
    if config.answer == "direction":
        labels = dict.fromkeys(table.classes, 0)
        return Answers(DIRECTIONS, labels, dict.fromkeys(labels, 1)), (DIRECTIONS,)
    if config.pairs is None:
        # A partner by its words need not be one by its pictures: "tearing" has none backward.
        pairs = [pair for pair in pairs if table.irreversible.isdisjoint(pair)]
    if not pairs:
        raise UsageError(
            f"the {config.name} task needs pairs of opposite classes and the store's table has "
            "none; give --pairs FILE with the columns label,partner, or ask for the direction "
            "alone with --answer direction"
        )
    partner = {a: b for pair in pairs for a, b in (pair, pair[::-1])}
    if config.name == "arrow":
        partner |= {name: name for name in table.invariant if name not in partner}
    classes = tuple(name for name in table.classes if name in partner)
    index = {name: i for i, name in enumerate(classes)}
    backward = {name: index[partner[name]] for name in classes}
    return Answers(classes, index, backward), pairs


def sides_of(
    config: TaskConfig, table: LabelledClips, rows: Sequence[ClipRow], trained: int
) -> Ints:
    """[clips]: 0 for the first `trained` rows, which are for training, 1 for the others; where one
    pass trains on all folds but one each, apart by fold too.
    """
    side = (np.arange(len(rows)) >= trained).astype(np.int64)
    if config.folds is None or config.fold is not None or config.slice_seed is None:
        return side
    fold_of = fold_of_groups(table, config.folds, config.slice_seed)
    return 2 * np.array([fold_of[table.group(row)] for row in rows]) + side


def order_warnings(order: OrderMap, scene: Scene, config: TaskConfig) -> list[str]:
    """What is odd about the clips of an order task.

    Raises:
        UsageError: a split has too few clips to show one between two others.
    """
    warnings = []
    short = int((scene.real < order.least_stored).sum())
    if short:
        warnings.append(
            f"{counted(short, 'clip')} with fewer than {order.least_stored} real frames: "
            f"{order.name} shows the same frames under both labels"
        )
    if order.name != "distractors":
        return warnings
    for side in np.unique(scene.side).tolist():
        kinds = scene.kind[scene.side == side]
        split = config.reported_split if side % 2 else config.train_split
        if len(kinds) < FEWEST_CLIPS:
            raise UsageError(
                f"--task distractors shows each clip between two others, and split {split!r} has "
                f"{counted(len(kinds), 'clip')} of paired classes; it needs {FEWEST_CLIPS}"
            )
        if len(np.unique(kinds)) == 1:
            warnings.append(
                f"distractors of split {split!r} are clips of the same pair: it has no other"
            )
    return list(dict.fromkeys(warnings))


def arranged_test(
    order: OrderMap, scene: Scene, ids: Sequence[str], trained: int, counts: Ints
) -> tuple[Samples, Ints]:
    """Test samples of an order task, without labels, and which sample each is a view of.

    Every draw is shown in both directions. What is drawn of a clip depends on its id, not on the
    other clips of the test nor on a run's seed: all runs are tested on the same samples.

    Args:
        order: The task's map.
        scene: What it draws from.
        ids: Of the scene's clips.
        trained: How many of them are for training, the first ones.
        counts: Views of each test clip, [n].
    """
    clips, draws, ways, rows, frames, places, of = [], [], [], [], [], [], []
    each = 2 * order.draws
    views = np.repeat(np.arange(len(counts)), counts)
    for row, number in enumerate(views.tolist(), trained):
        random = np.random.default_rng((TEST_SEED, crc32(ids[row].encode(errors="replace"))))
        drawn = order.arrange(scene, np.full(order.draws, row), random)
        shown = np.stack((drawn.forward, drawn.backward), axis=1)
        frames.append(shown.reshape(each, -1))
        rows.append(np.repeat(drawn.rows, 2, axis=0))
        places.append(np.repeat(random.integers(0, 2**62, order.draws), 2))
        clips.append(np.full(each, row))
        draws.append(np.repeat(np.arange(order.draws), 2))
        ways.append(np.tile([False, True], order.draws))
        of.append(number * each + np.arange(each))
    clip = np.concatenate(clips)
    samples = Samples(
        clip,
        np.concatenate(draws),
        np.concatenate(ways),
        np.zeros_like(clip),
        np.concatenate(frames),
        rows=np.concatenate(rows),
        places=np.concatenate(places) if order.joins else None,
    )
    return samples, np.concatenate(of)
