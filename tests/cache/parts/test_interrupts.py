"""Ctrl-C again and again while a part is being committed: it is committed, whole."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sample_clips import clip_ids, fill_store
from store_commands import files_of, run

from stepcli.cache import open_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.parts.interrupts import uninterrupted
from stepcli.cache.schema.manifest import Format
from stepcli.runtime.errors import DamagedStore

# Each fsync of the commit is a slow disk on which the user presses Ctrl-C.
IMPATIENT = """
import os, signal, sys, threading
from pathlib import Path
from sample_clips import PRODUCER, SPEC, clip_ids, make_record, make_tokens
from stepcli.cache.maintenance.compact import compact_store
from stepcli.cache.maintenance.convert import convert_store
from stepcli.cache import create_store
# A suite that runs in the background has SIGINT ignored, and hands that on.
signal.signal(signal.SIGINT, signal.default_int_handler)
action, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
presses = int(sys.argv[4])
main, real = threading.main_thread().ident, os.fsync
pressed = 0
def slow_fsync(descriptor):
    global pressed
    if ".staging" in os.readlink(f"/proc/self/fd/{descriptor}") and pressed < presses:
        pressed += 1
        signal.pthread_kill(main, signal.SIGINT)
    real(descriptor)
os.fsync = slow_fsync
try:
    if action == "convert":
        convert_store(source, target, part_clips=3)
    elif action == "compact":
        compact_store(source)
    else:
        store = create_store(target, SPEC, dataset="test", format=sys.argv[5])
        with store.writer(PRODUCER, part_clips=3) as writer:
            for clip in clip_ids(8):
                writer.add(make_record(clip), make_tokens(clip))
except KeyboardInterrupt:
    print("interrupted", pressed)
"""


@pytest.mark.parametrize("form", ["zarr", "hdf5"])
@pytest.mark.parametrize("action", ["convert", "compact", "write"])
def test_a_commit_that_has_begun_ends(tmp_path: Path, action: str, form: Format) -> None:
    source = fill_store(tmp_path / "source", form, 8, part_clips=2)
    target = tmp_path / ("source" if action == "compact" else "target")
    done = subprocess.run(
        [sys.executable, "-c", IMPATIENT, action, source.path, target, "6", form],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.stdout == "interrupted 6\n", done.stderr
    assert verify_store(target).problems == []
    found = open_store(target)
    assert len(found) == {"convert": 2, "compact": 8, "write": 3}[action]
    assert not list((target / ".staging").iterdir())
    assert (found.read(found.ids) == source.read(found.ids)).all()


@pytest.fixture
def heeds_interrupts() -> Iterator[None]:
    """As at a prompt: a suite that runs in the background has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_interrupts")
def test_what_came_acts_afterwards_and_hides_no_error() -> None:
    steps = []

    def press(count: int) -> None:
        with uninterrupted():
            for _ in range(count):
                signal.raise_signal(signal.SIGINT)
                steps.append("after")

    with pytest.raises(KeyboardInterrupt):
        press(3)
    assert steps == ["after"] * 3

    def fail() -> None:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("the work's own")

    with pytest.raises(ValueError, match="the work's own"):
        fail()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("empty", [True, False])
def test_a_folder_without_a_record_is_seen_and_set_aside(tmp_path: Path, empty: bool) -> None:
    store = fill_store(tmp_path, "zarr", 6, part_clips=2)
    whole = files_of(tmp_path)
    folder = tmp_path / "parts" / ("000000-" + 32 * "a")
    (folder / "tokens.zarr").mkdir(parents=True)
    if not empty:
        (folder / "index.parquet").write_bytes(b"torn")
    (problem,) = verify_store(tmp_path).problems
    assert (problem.part, problem.unread) == (folder.name, False)
    run("verify", "--store", tmp_path, fails=DamagedStore)
    assert list(run("repair", "--store", tmp_path)["parts"]) == [folder.name]
    assert verify_store(tmp_path).ok
    assert open_store(tmp_path).ids == store.ids == clip_ids(6)
    after = files_of(tmp_path)
    assert after.items() >= whole.items()
    assert (tmp_path / ".damaged" / folder.name / "tokens.zarr").is_dir()
