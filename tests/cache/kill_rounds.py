"""SIGKILL a child at random moments of its work on a store, and look at what is left.

The suite runs a few rounds; `make kill-test` runs 200 of each. By hand:
    python tests/cache/kill_rounds.py --format zarr --action write --rounds 200
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import early_imports  # noqa: F401
from sample_clips import PRODUCER, SPEC, clip_ids, fill_store, make_record, make_tokens

from stepcli.cache import create_store, open_store
from stepcli.cache.maintenance.compact import compact_store
from stepcli.cache.maintenance.convert import convert_store
from stepcli.cache.maintenance.merge import merge_stores
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.parts.commit import sweep_staging
from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.schema.manifest import Format
from stepcli.cache.storage.local import LocalPath

CLIPS = 24


@dataclass(frozen=True)
class Action:
    """Work that may be killed and begun again until it says that nothing is left to do."""

    prepare: Callable[[Path, Format], None]
    """Make the stores that the work starts from."""
    work: Callable[[Path, Format], None]
    """Runs in the child; returns when all is done."""
    result: Callable[[Path], Path]
    """The store to look at afterwards."""


def write(root: Path, form: Format) -> None:
    store = create_store(root / "store", SPEC, dataset="test", format=form)
    store.add_clips(ClipRow(clip, "label") for clip in clip_ids(CLIPS))
    with store.writer(PRODUCER, part_clips=3) as writer:
        for clip in clip_ids(CLIPS):
            if clip not in store:
                writer.add(make_record(clip), make_tokens(clip))


def scattered(root: Path, form: Format) -> None:
    """A store of many small parts, some clips twice."""
    store = fill_store(root / "store", form, CLIPS, part_clips=2)
    with store.writer(PRODUCER, part_clips=2) as writer:
        for clip in clip_ids(6):
            writer.add(make_record(clip), make_tokens(clip))


def three_stores(root: Path, form: Format) -> None:
    for number in range(3):
        store = create_store(root / str(number), SPEC, dataset="test", format=form)
        with store.writer(PRODUCER, part_clips=2) as writer:
            for clip in clip_ids(CLIPS)[number::3]:
                writer.add(make_record(clip), make_tokens(clip))


def convert(root: Path, form: Format) -> None:
    other: Format = "zarr" if form == "hdf5" else "hdf5"
    convert_store(root / "store", root / "converted", form=other, part_clips=3)


def in_store(root: Path) -> Path:
    return root / "store"


ACTIONS = {
    "write": Action(prepare=lambda root, form: None, work=write, result=in_store),
    "merge": Action(
        prepare=three_stores,
        work=lambda root, form: _ignore(merge_stores(root / "0", [root / "1", root / "2"])),
        result=lambda root: root / "0",
    ),
    "compact": Action(
        prepare=scattered,
        work=lambda root, form: _ignore(compact_store(root / "store", part_clips=8)),
        result=in_store,
    ),
    "convert": Action(prepare=scattered, work=convert, result=lambda root: root / "converted"),
}


def _ignore(plan: object) -> None:
    """What was done is looked up in the store itself."""


def check(path: Path) -> int:
    """Every clip that a reader sees is whole and right; how many there are."""
    if not (path / "manifest.json").exists():
        return 0
    store = open_store(path)
    tokens = store.read(store.ids)
    for clip, found in zip(store.ids, tokens, strict=True):
        if not np.array_equal(found, make_tokens(clip).astype(np.float16)):
            raise AssertionError(f"clip {clip} is not what was written")
    report = verify_store(path, workers=1)
    if not report.ok:
        raise AssertionError(f"verify: {report.problems}")
    return len(store)


def in_child(work: Callable[[], object], kill_after: float | None = None) -> bool:
    """Run in a forked child; False when it was killed, raises when it failed by itself."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:  # reached by an exception alone
            traceback.print_exc()
            os._exit(1)
    status = None
    if kill_after is not None:
        status = ended_by(child, time.monotonic() + kill_after)
        if status is None:
            os.kill(child, signal.SIGKILL)
    if status is None:
        _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        if kill_after is not None and os.WTERMSIG(status) == signal.SIGKILL:
            return False
        raise AssertionError(f"child died of signal {os.WTERMSIG(status)}")
    if os.WEXITSTATUS(status):
        raise AssertionError("child failed")
    return True


def ended_by(child: int, deadline: float) -> int | None:
    """Exit status of a child that ends by itself before the deadline, else None."""
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.0005)
    return None


def run(action: Action, form: Format, rounds: int, seed: int) -> dict[str, int]:
    generator = random.Random(seed)
    counts = {"killed": 0, "finished": 0, "resumed_with_some_done": 0}
    folder = LocalPath(tempfile.mkdtemp(prefix="kill-rounds-"))
    root = folder / "0"
    done_before = 0
    try:
        longest = 1.1 * seconds_of(action, folder / "undisturbed", form)
        while counts["killed"] < rounds:
            whole = not root.exists()
            if whole:
                root.mkdir()
                in_child(partial(action.prepare, root, form))
                done_before = checked(action.result(root), folder / "count")
            delay = generator.uniform(0, longest)
            start = time.monotonic()
            finished = in_child(partial(action.work, root, form), delay)
            if finished and whole:  # the machine is faster now than when it was measured
                longest = min(longest, 1.1 * (time.monotonic() - start))
            done = checked(action.result(root), folder / "count")
            if done < done_before:
                raise AssertionError(f"{done_before} clips were committed, {done} are left")
            done_before = done
            if not finished:
                counts["killed"] += 1
                counts["resumed_with_some_done"] += 0 < done < CLIPS
                continue
            if done != CLIPS:
                raise AssertionError(f"finished with {done} of {CLIPS} clips")
            counts["finished"] += 1
            shutil.rmtree(root)
            root = folder / str(counts["finished"])
        if root.exists():
            in_child(partial(action.work, root, form))
            in_child(partial(sweep_staging, action.result(root)))
            if checked(action.result(root), folder / "count") != CLIPS:
                raise AssertionError("the resumed store is not whole")
            left = list((action.result(root) / ".staging").glob("*"))
            if left:
                raise AssertionError(f"dead staging was not swept: {left}")
    finally:
        shutil.rmtree(folder)
    return counts


def seconds_of(action: Action, root: Path, form: Format) -> float:
    """How long the work takes when nobody disturbs it."""
    root.mkdir()
    in_child(partial(action.prepare, root, form))
    start = time.monotonic()
    in_child(partial(action.work, root, form))
    return time.monotonic() - start


def checked(path: Path, answer: Path) -> int:
    """`check` in a child of its own: this process must stay free of threads to be forked."""
    in_child(lambda: answer.write_text(str(check(path))))
    return int(answer.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--format", choices=get_args(Format), required=True)
    parser.add_argument("--action", nargs="+", choices=ACTIONS, required=True)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    for action in chosen.action:
        counts = run(ACTIONS[action], chosen.format, chosen.rounds, chosen.seed)
        sys.stdout.write(f"{chosen.format} {action}: {counts}\n")


if __name__ == "__main__":
    main()
