"""Death at any moment, races, and who may sweep whose leftovers."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from kill_rounds import ACTIONS, CLIPS
from sample_clips import PRODUCER, SPEC, clip_ids, fill_store, make_record, make_tokens

from stepcli.cache import create_store, open_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.parts.commit import Staging, sweep_staging
from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.storage.writer_identity import LEASE_HOURS, is_dead, new_owner, parse_owner
from stepcli.cache.tables.changes import read_clips
from stepcli.runtime.errors import SpecMismatch


@pytest.mark.parametrize("form", ["zarr", "hdf5"])
def test_killed_at_random_moments(form: str) -> None:
    """The short form of `make kill-test`."""
    script = Path(__file__).parents[1] / "kill_rounds.py"
    words = ("--format", form, "--action", *ACTIONS, "--rounds", "2")
    done = subprocess.run(
        [sys.executable, script, *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("'killed': 2") == len(ACTIONS)


def test_of_two_first_writers_with_different_specs_one_is_refused(tmp_path: Path) -> None:
    specs = [StoreSpec.model_validate({**dict(SPEC), "frames": frames}) for frames in (4, 8)]
    for attempt in range(5):
        frames = _create_together(tmp_path / str(attempt), specs * 4)
        winner = open_store(tmp_path / str(attempt)).spec.frames
        assert sorted(frames) == [0] * 4 + [winner] * 4


def _create_together(root: Path, specs: list[StoreSpec]) -> list[int]:
    """Frames of the store that each caller got, 0 where it was refused."""
    barrier = Barrier(len(specs))

    def create(spec: StoreSpec) -> int:
        barrier.wait()
        try:
            return create_store(root, spec, dataset="test").spec.frames
        except SpecMismatch:
            return 0

    with ThreadPoolExecutor(len(specs)) as pool:
        return list(pool.map(create, specs))


def test_clips_added_by_several_at_once_are_all_there(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "zarr", 1)
    row = read_clips(tmp_path)[0]

    def add(number: int) -> None:
        rows = [type(row)(f"{number}-{clip}", "label") for clip in range(5)]
        open_store(tmp_path).add_clips([row, *rows])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(add, range(6)))
    assert len(store.clips()) == 1 + 6 * 5
    assert verify_store(tmp_path).ok


def test_a_dead_writers_staging_is_swept_and_a_live_ones_is_not(tmp_path: Path) -> None:
    store = create_store(tmp_path, SPEC, dataset="test", format="hdf5")
    script = (
        "import os, sys; from stepcli.cache.parts.commit import Staging;"
        "from stepcli.cache.storage.places import place_of;"
        "staging = Staging(place_of(sys.argv[1])); staging.new_part(0);"
        "print(staging.folder.name, flush=True); sys.stdin.read(); os._exit(0)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = tmp_path / ".staging" / other.stdout.readline().strip()
        with store.writer(PRODUCER) as writer:
            writer.add(make_record("a"), make_tokens("a"))
            assert theirs.is_dir(), "a live writer's staging was swept"
            other.communicate("")
            assert sweep_staging(tmp_path) == [theirs.name]
            assert not theirs.exists()
        store.refresh()
    assert store.ids == ["a"]


def test_owners_elsewhere_keep_their_lease(tmp_path: Path) -> None:
    me = Staging(tmp_path).owner
    assert parse_owner(me.name) == me
    assert not is_dead(me, 0.0), "a living process of this machine needs no heartbeat"
    now = os.stat(tmp_path).st_mtime  # noqa: PTH116 (the time, as the file system tells it)
    for other in (parse_owner(me.name.replace(me.host, "elsewhere", 1)),):
        assert other is not None
        assert not is_dead(other, now)
        assert is_dead(other, now - LEASE_HOURS * 3600 - 60)
    reused_pid = parse_owner(me.name.replace(f"~{me.start}~", f"~{me.start + 1}~"))
    assert reused_pid is not None
    assert is_dead(reused_pid, now)
    assert new_owner() != me
    assert parse_owner("../../etc") is None


def test_what_is_no_part_is_ignored_by_readers(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "zarr", 2)
    (tmp_path / "parts" / "notes.txt").write_text("mine")
    (tmp_path / "parts" / "half").mkdir()
    store.refresh()
    assert open_store(tmp_path).ids == store.ids


FOUR_WRITERS = """
import os, sys
from pathlib import Path
from kill_rounds import write
for _ in range(4):
    if os.fork() == 0:
        write(Path(sys.argv[1]), sys.argv[2])
        os._exit(0)
sys.exit(any([os.wait()[1] for _ in range(4)]))
"""


@pytest.mark.parametrize("form", ["zarr", "hdf5"])
def test_four_processes_write_one_list_into_one_store(tmp_path: Path, form: str) -> None:
    command = [sys.executable, "-c", FOUR_WRITERS, tmp_path, form]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    writers = subprocess.Popen(command, env=environment)
    root = tmp_path / "store"
    seen = 0
    while writers.poll() is None:
        if (root / "manifest.json").exists():
            store = open_store(root)  # a reader during the writes
            tokens = store.read(store.ids)
            expected = [make_tokens(clip).astype(np.float16) for clip in store.ids]
            assert len(store) >= seen
            assert all(np.array_equal(a, b) for a, b in zip(tokens, expected, strict=True))
            seen = len(store)
    assert writers.returncode == 0
    store = open_store(root)
    assert store.ids == clip_ids(CLIPS)
    assert [row.id for row in store.clips()] == clip_ids(CLIPS)
    assert verify_store(root).ok
    assert not list((root / ".staging").iterdir())
