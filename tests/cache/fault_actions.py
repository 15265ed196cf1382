"""What the rounds of faults do to stores, and what must hold of these whatever fails."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from sample_clips import PRODUCER, SPEC, clip_ids, fill_store, make_record, make_tokens

from stepcli.cache import create_store, open_store
from stepcli.cache.maintenance.compact import compact_store
from stepcli.cache.maintenance.convert import convert_store
from stepcli.cache.maintenance.merge import merge_stores
from stepcli.cache.maintenance.repair import repair_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.schema.clips import ClipRow, Failure
from stepcli.cache.schema.manifest import Format
from stepcli.cache.storage.objects import ObjectPath
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.store.store import Store
from stepcli.runtime.errors import DamagedStore, StorageError

MINE = "my label"


@dataclass(frozen=True)
class Action:
    """One command, as its function in the library."""

    name: str
    run: Callable[[StoragePath, Format], None]
    """On a folder or prefix with what it needs."""
    needs: tuple[str, ...]
    """Stores, or other folders, that are there before."""
    target: str = ""
    """Store that it changes, or makes."""
    clips: int = 0
    """In the target when it has succeeded: the first ones."""
    check: Callable[[Path, Format, bool], None] | None = None
    """What must hold after a failure, or after success (True); None: what holds of `target`."""


def make_stores(root: StoragePath, form: Format) -> None:
    """The stores that actions begin with."""
    fill_store(str(root / "source"), form, 6, part_clips=2)
    store = fill_store(str(root / "store"), form, 4, part_clips=2)
    with store.writer(PRODUCER, generation=1) as writer:  # a newer copy of one of the four
        writer.add(make_record("clip-0001"), make_tokens("clip-0001"))
        writer.quarantine(Failure("bad", "bad.webm", "VideoError", "no frames"))
    damaged = fill_store(str(root / "damaged"), form, 6, part_clips=2)
    _flip(damaged, "clip-0003")


def _flip(store: Store, clip: str) -> None:
    snapshot = store.snapshot
    place = snapshot.positions[clip]
    name = "tokens.h5" if store.format == "hdf5" else "tokens.zarr/tokens/c.0.0.0.0"
    file = store.path / "parts" / snapshot.parts[snapshot.part_of[place]] / name
    data = bytearray(
        file.client.get(file.key) if isinstance(file, ObjectPath) else file.read_bytes()
    )
    data[int(snapshot.offsets["tokens"][place]) + 3] ^= 1
    if isinstance(file, ObjectPath):
        file.client.put(file.key, bytes(data))
    else:
        file.write_bytes(data)


def _write(root: StoragePath, form: Format) -> None:
    store = create_store(root / "new", SPEC, dataset="test", format=form)
    store.add_clips(ClipRow(clip, "label", "train") for clip in clip_ids(6))
    with store.writer(PRODUCER, part_clips=2) as writer:
        for clip in clip_ids(6):
            if clip not in store:
                writer.add(make_record(clip), make_tokens(clip))
        writer.quarantine(Failure("bad", "bad.webm", "VideoError", "no frames"))


def _labels(root: StoragePath, form: Format) -> None:
    store = open_store(root / "store")
    store.replace_clips([ClipRow(row.id, MINE, row.split) for row in store.clips()])


def _verify(root: StoragePath, form: Format) -> None:
    report = verify_store(root / "store", workers=1)
    if len(report.unread) < len(report.problems):
        raise DamagedStore(f"false alarm: {report.problems}")
    if report.problems:
        raise StorageError(report.problems[0].problem)


def _repair(root: StoragePath, form: Format) -> None:
    plan = repair_store(root / "damaged", workers=1)
    if plan.left:
        raise StorageError(plan.left[0].problem)


def _read(root: StoragePath, form: Format) -> None:
    require_tokens(open_store(root / "store"), clip_ids(4))


def other(form: Format) -> Format:
    """The format that a conversion goes to."""
    return "hdf5" if form == "zarr" else "zarr"


ACTIONS = {
    action.name: action
    for action in (
        Action("write", _write, (), "new", 6),
        Action("labels", _labels, ("store",), "store", 4),
        Action(
            "merge",
            lambda root, _: merge_stores(root / "store", [root / "source"]) and None,
            ("store", "source"),
            "store",
            6,
        ),
        Action(
            "compact",
            lambda root, _: compact_store(root / "store") and None,
            ("store",),
            "store",
            4,
        ),
        Action(
            "convert",
            lambda root, form: (
                convert_store(root / "source", root / "new", form=other(form)) and None
            ),
            ("source",),
            "new",
            6,
        ),
        Action("repair", _repair, ("damaged",), "damaged", 5),
        Action("verify", _verify, ("store",), "store", 4),
        Action("read", _read, ("store",), "store", 4),
    )
}
FORMATS = get_args(Format)


def require_tokens(store: Store, clips: list[str]) -> None:
    """Every one of these is there, with its own bytes."""
    found = store.read(clips)
    expected = np.stack([make_tokens(clip) for clip in clips]).astype(np.float16)
    np.testing.assert_array_equal(found, expected)


def check_kept(root: StoragePath, action: Action) -> None:
    """After a fault: what was there before is there, and nothing else is damaged than was."""
    for name, clips in (("source", clip_ids(6)), ("store", clip_ids(4))):
        if name in action.needs:
            require_tokens(open_store(root / name), clips)
            problems = verify_store(root / name, workers=1).problems
            assert not problems, problems
            assert len(open_store(root / name).clips()) in (len(clips), action.clips)
    if "store" in action.needs:
        assert set(open_store(root / "store").quarantined()) == {"bad"}
    if "damaged" in action.needs:
        good = [clip for clip in clip_ids(6) if clip != "clip-0003"]
        require_tokens(open_store(root / "damaged"), good)


def check_done(root: StoragePath, action: Action) -> None:
    """After success: all is as it must be."""
    check_kept(root, action)
    store = open_store(root / action.target)
    problems = verify_store(root / action.target, workers=1).problems
    assert not problems, problems
    wanted = clip_ids(6) if action.name == "repair" else clip_ids(action.clips)
    if action.name == "repair":
        wanted.remove("clip-0003")
    assert store.ids == wanted, store.ids
    require_tokens(store, wanted)
    if action.name == "write":
        assert set(store.quarantined()) == {"bad"}
    if action.name == "labels":
        assert {row.label for row in store.clips()} == {MINE}
    if action.name == "compact":
        assert len(store.parts) == 1
    if action.name == "convert":
        assert store.fingerprint == open_store(root / "source").fingerprint


def copy_stores(base: Path, root: Path, action: Action) -> None:
    """A fresh folder with what an action needs."""
    root.mkdir()
    for name in action.needs:
        shutil.copytree(base / name, root / name)
