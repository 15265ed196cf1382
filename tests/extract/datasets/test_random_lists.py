"""Random lists of a data set that changes under them: nothing is lost, nothing wrong is trained on.

`make list-test` tries 200; the suite a few (STEPCLI_RANDOM_LISTS sets their number).
"""

import csv
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepcli.cache import open_store
from stepcli.cache.store.origins import origins_of
from stepcli.extract.sources.origin import fresh_digest
from stepcli.runtime.errors import UsageError

FILES = 4
CONTENTS = 6
EXAMPLES = int(os.environ.get("STEPCLI_RANDOM_LISTS", "4"))
SPLITS = ("train", " Train", "training ", "TEST", "test", "dev", "", "holdout")

Changes = st.lists(
    st.one_of(
        st.tuples(st.just("replace"), st.integers(0, FILES - 1), st.integers(0, CONTENTS - 1)),
        st.tuples(st.just("delete"), st.integers(0, FILES - 1), st.just(0)),
        st.tuples(st.just("move"), st.integers(0, FILES - 1), st.just(0)),
        st.tuples(st.just("link"), st.integers(0, FILES - 1), st.just(0)),
        st.tuples(st.just("touch"), st.integers(0, FILES - 1), st.just(0)),
        st.tuples(st.just("root"), st.just(0), st.just(0)),
    ),
    max_size=3,
)
Row = st.tuples(
    st.integers(0, FILES - 1), st.sampled_from(("", " ", "\t")), st.sampled_from(SPLITS)
)
Step = st.tuples(
    Changes,
    st.lists(Row, min_size=1, max_size=FILES + 1),
    st.sampled_from((",", ";", "\t")),
    st.booleans(),  # prune
)
Plan = st.tuples(st.booleans(), st.lists(Step, min_size=2, max_size=3))


@dataclass
class World:
    """A folder of videos that somebody rearranges."""

    home: Path
    videos: list[Path]
    root: Path = field(init=False)
    paths: dict[int, str] = field(default_factory=dict)
    moves: int = 0

    def __post_init__(self) -> None:
        self.root = self.home / "root0"
        self.root.mkdir(parents=True)
        for number in range(FILES):
            self.paths[number] = f"{number}.mp4"
            shutil.copy(self.videos[number], self.root / self.paths[number])

    def change(self, what: str, number: int, content: int) -> None:
        self.moves += 1
        path = self.root / self.paths[number]
        if what == "root":
            self.root = self.root.rename(self.home / f"root{self.moves}")
        elif what == "replace":
            path.unlink(missing_ok=True)
            shutil.copy(self.videos[content], path)
        elif what == "delete":
            path.unlink(missing_ok=True)
        elif not path.exists():
            return
        elif what == "touch":
            os.utime(path, (self.moves, self.moves))
        elif what == "move":
            folder = self.root / f"moved{self.moves}"
            folder.mkdir()
            self.paths[number] = f"{folder.name}/{path.name}"
            path.rename(self.root / self.paths[number])
        elif what == "link":
            target = self.home / f"target{self.moves}.mp4"
            shutil.move(path.resolve(), target)
            path.unlink(missing_ok=True)
            path.symlink_to(target)

    def write(self, rows: list[tuple[int, str, str]], separator: str, with_ids: bool) -> Path:
        table = self.root / "clips.csv"
        with table.open("w", newline="") as lines:
            writer = csv.writer(lines, delimiter=separator)
            writer.writerow(["path", "label ", "split", *(["id"] if with_ids else [])])
            for number, blank, split in rows:
                cells = [blank + self.paths[number], "ab"[number % 2] + blank, split]
                writer.writerow([*cells, *([f"c{number}{blank}"] if with_ids else [])])
        return table


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, write_numbered: Any) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    made = [write_numbered(folder / f"{n}.mp4", 3, first=300 * n) for n in range(CONTENTS - 1)]
    broken = folder / "broken.mp4"
    broken.write_bytes(b"no video")
    return [*made, broken]


def test_every_list_is_accounted_for(
    extract: Callable[..., int],
    summaries: list[dict[str, Any]],
    videos: list[Path],
    tmp_path: Path,
) -> None:
    truth = tmp_path / "truth"  # the tokens of each video
    whole = tmp_path / "whole.csv"
    lines = "".join(f"{video},x,{fresh_digest(video)}\n" for video in videos[:-1])
    whole.write_text(f"path,label,id\n{lines}")
    extract(root=whole, store=truth)
    homes = count()

    @settings(max_examples=EXAMPLES, derandomize=True, deadline=None)
    @given(plan=Plan)
    def try_plan(plan: tuple[bool, list[Any]]) -> None:
        home = tmp_path / f"example{next(homes)}"
        world, store = World(home, videos), home / "store"
        with_ids, steps = plan
        for changes, rows, separator, prune in steps:
            for change in changes:
                world.change(*change)
            numbers = [number for number, *_ in rows]
            table = world.write(rows, separator, with_ids)
            if len(set(numbers)) < len(numbers):
                with pytest.raises(UsageError, match="appears twice, in line"):
                    extract(root=table, store=store)
                rows = [row for place, row in enumerate(rows) if row[0] not in numbers[:place]]
                table = world.write(rows, separator, with_ids)
            run = partial(extract, root=table, store=store, prune=prune, retry_failed=True)
            refusal = ""
            try:
                run()
            except UsageError as refused:
                refusal = str(refused)
            if "this run is on" in refusal:  # moved, and too little of it is the same
                return
            if refusal:
                assert "made from another source" in refusal
                run(changed="redo")
            check(store, truth, summaries[-1], world, [row[0] for row in rows])

    try_plan()


def check(
    store: Path, truth: Path, summary: dict[str, Any], world: World, numbers: list[int]
) -> None:
    found, right = open_store(store), open_store(truth)
    rows = {row.id: row for row in found.clips()}
    counted = sum(summary[name] for name in ("done", "quarantined", "left", "not_listed"))
    assert counted == len({*rows, *found.ids})
    assert summary["clips"] == summary["done"] + summary["quarantined"] == len(numbers)
    assert {row.split for row in rows.values()} <= {"train", "val", "test", "", "holdout"}
    listed = {}
    for number in numbers:
        path = world.root / world.paths[number]
        listed[number] = fresh_digest(path) if path.exists() else ""
    origins = origins_of(found)
    # What a probe can be trained on: listed clips are what the list names, to the last token.
    trained = [clip for clip in rows if clip in found]
    tokens = dict(zip(trained, found.read(trained), strict=True)) if trained else {}
    for clip in trained:
        digest = origins[clip].digest
        np.testing.assert_allclose(tokens[clip], right.read([digest])[0], atol=1e-5)
    by_path = {world.paths[number]: digest for number, digest in listed.items()}
    names = {f"c{number}": digest for number, digest in listed.items()} | by_path
    for clip in trained:
        if names.get(clip):
            assert origins[clip].digest == names[clip], clip
    # Every readable video of the list has its tokens in the store, under whatever id.
    stored = {origins[clip].digest for clip in trained}
    readable = {digest for digest in listed.values() if digest in right}
    assert readable <= stored
