"""Bit flips, full disks, files cut short: found, said clearly, nothing else harmed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sample_clips import clip_ids, fill_store, make_tokens

from stepcli.cache import open_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.schema.manifest import Format


@pytest.mark.parametrize("form", ["zarr", "hdf5"])
def test_verify_finds_every_flipped_bit(form: Format) -> None:
    """The short form; `make fuzz` flips 1,000 a format."""
    script = Path(__file__).parents[1] / "flip_bits.py"
    command = [sys.executable, script, "--format", form, "--flips", "100"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "100 flips, 0 missed" in done.stdout


FULL_DISK = """
import resource, sys
from pathlib import Path
from sample_clips import PRODUCER, SPEC, clip_ids, make_record, make_tokens
from stepcli.cache import create_store
from stepcli.runtime.errors import StoreError
store = create_store(Path(sys.argv[1]), SPEC, dataset="test", format=sys.argv[2])
limit = int(sys.argv[3])
try:
    with store.writer(PRODUCER, part_clips=1000) as writer:
        for clip in clip_ids(150):
            if clip not in store:
                writer.add(make_record(clip), make_tokens(clip))
                if clip == "clip-0019":
                    writer.commit()
                    if limit:  # from now on no file grows beyond this
                        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
except StoreError as error:
    print("refused:", error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("form", ["zarr", "hdf5"])
def test_a_disk_that_is_full_in_the_middle_of_a_part(tmp_path: Path, form: Format) -> None:
    """The operating system refuses to let a file grow, as a full disk or a quota does."""

    def write(limit: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", FULL_DISK, str(tmp_path / "store"), form, str(limit)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )

    done = write(50 * make_tokens("any").size * 2)
    assert done.returncode == 1, done.stderr
    assert "refused: cannot write to" in done.stdout
    assert "File too large" in done.stdout
    store = open_store(tmp_path / "store")
    kept = store.ids
    assert set(clip_ids(20)) <= set(kept) < set(clip_ids(150))
    assert verify_store(store.path).ok
    assert not list((store.path / ".staging").iterdir())

    assert write(0).returncode == 0
    store.refresh()
    assert store.ids == clip_ids(150)
    expected = np.stack([make_tokens(clip) for clip in clip_ids(150)]).astype(np.float16)
    np.testing.assert_array_equal(store.read(store.ids), expected)


@pytest.mark.parametrize("form", ["zarr", "hdf5"])
def test_a_file_cut_short_under_an_open_reader_is_no_signal(tmp_path: Path, form: Format) -> None:
    store = fill_store(tmp_path, form, 5, part_clips=5)
    (part,) = store.parts
    name = "tokens.zarr/tokens/c.0.0.0.0" if form == "zarr" else "tokens.h5"
    script = (
        "import sys, os; from stepcli.cache import open_store; store = open_store(sys.argv[1]);"
        "store.read(store.ids); os.truncate(sys.argv[2], 100); store.read(store.ids)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path, tmp_path / "parts" / part / name],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "DamagedStore" in done.stderr
    assert "ends at byte 100" in done.stderr


def test_hostile_stores_do_no_harm() -> None:
    """Resealed manifests and records, indexes that lie, links to elsewhere: a share of them."""
    script = Path(__file__).parents[1] / "hostile.py"
    command = [sys.executable, script, "--share", "0.03"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "none did harm" in done.stdout
