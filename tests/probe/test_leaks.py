"""What test shares with training: groups, copies; slices and intervals keep copies together."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stepcli.cache.clips import ClipRow
from stepcli.cache.errors import UsageError
from stepcli.cache.store import Store
from stepcli.probe.config import TaskConfig
from stepcli.probe.data.make_task import make_task
from stepcli.probe.data.splits import LabelledClips, hold_out, labelled_clips

LIKE = {"open/1": "open/0", "close/3": "close/2"}


def relabelled(
    store: Store, splits: dict[str, str] | None = None, groups: dict[str, str] | None = None
) -> Store:
    """The store without groups, except for those given."""
    rows = [
        ClipRow(r.id, r.label, (splits or {}).get(r.id, r.split), (groups or {}).get(r.id, ""))
        for r in store.clips()
    ]
    store.replace_clips(rows)
    return store


def test_groups_are_united_over_copies_in_slices_and_intervals(
    tmp_path: Path, store_of: Callable[..., Store]
) -> None:
    store = relabelled(store_of(tmp_path, like=LIKE), groups={"open/1": "day", "open/2": "day"})
    table = labelled_clips(store, "train", "test")
    assert table.copies == (("close/2", "close/3"), ("open/0", "open/1"))
    groups = {row.id: table.group(row) for row in store.clips()}
    assert {groups[i] for i in ("open/0", "open/1", "open/2")} == {"day"}
    assert groups["close/2"] == groups["close/3"] == "close/2"
    task = make_task(TaskConfig(), store, table)
    assert dict(zip(task.clips, task.groups, strict=True)) == groups


def test_a_slice_keeps_copies_on_one_side() -> None:
    train = tuple(ClipRow(f"{label}{i}", label, "train") for label in "ab" for i in range(20))
    copies = tuple((f"{label}{i}", f"{label}{i + 10}") for label in "ab" for i in range(10))
    group_of = {row.id: f"{row.label}{int(row.id[1:]) % 10}" for row in train}
    table = LabelledClips(train, (), ("a", "b"), (), frozenset(), (), frozenset(), copies, group_of)
    for seed in range(5):
        held = hold_out(table, 0.3, seed)
        assert {group_of[r.id] for r in held.train}.isdisjoint(group_of[r.id] for r in held.test)
        assert len(held.test) == 12
    lonely = {row.id: "one" for row in train}
    table = LabelledClips(train, (), ("a", "b"), (), frozenset(), (), frozenset(), copies, lonely)
    with pytest.raises(UsageError, match="without splitting a group"):
        hold_out(table, 0.3, 0)
