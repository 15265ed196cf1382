"""HDF5 parts as h5py writes and reads them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from sample_clips import PRODUCER, SPEC, clip_ids, fill_store, make_record, make_tokens

from stepcli.cache import create_store, open_store
from stepcli.cache.parts import hashed_file
from stepcli.cache.parts.hashed_file import HashedFile
from stepcli.cache.parts.hdf5_tokens import Hdf5TokenWriter
from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.schema.quantize import encode_clip
from stepcli.runtime.errors import StoreError

LAYOUT = part_layout(SPEC.model_copy(update={"dtype": "int8-channel"}))


def arrays_of(clip: str) -> list[np.ndarray]:
    return encode_clip(make_tokens(clip), LAYOUT, clip)


@pytest.mark.parametrize("planned", [1, 3, 4096])
@pytest.mark.parametrize("clips", [1, 3])
def test_offsets_are_those_of_the_chunks(tmp_path: Path, clips: int, planned: int) -> None:
    writer = Hdf5TokenWriter(tmp_path, LAYOUT, max(clips, planned))
    expected = [arrays_of(clip) for clip in clip_ids(clips)]
    for row, arrays in enumerate(expected):
        writer.write(row, arrays)
    done = writer.finish(clips)
    data = (tmp_path / "tokens.h5").read_bytes()
    with h5py.File(tmp_path / "tokens.h5") as file:
        tokens = file["tokens"]
        assert (tokens.chunks, tokens.compression) == ((1, *SPEC.clip_shape), None)
        chunks = [tokens.id.get_chunk_info(row).byte_offset for row in range(clips)]
        assert done.offsets["tokens"].tolist() == chunks
        assert chunks[0] % 4096 == 0
        for array, known in zip(LAYOUT.arrays, zip(*expected, strict=True), strict=True):
            np.testing.assert_array_equal(file[array.name], np.stack(known))
            for place, clip in zip(done.offsets[array.name].tolist(), known, strict=True):
                assert data[place : place + clip.nbytes] == clip.tobytes()
    assert done.files["tokens.h5"].size == len(data)
    assert len(data) < 40_000, "as large as its clips, not as planned"


@pytest.mark.parametrize("clips", [4, 3])
def test_only_a_part_that_is_not_full_is_hashed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clips: int
) -> None:
    again: list[Path] = []
    real = hashed_file.hash_file

    def note(path: Path) -> Any:
        again.append(path)
        return real(path)

    monkeypatch.setattr(hashed_file, "hash_file", note)
    writer = Hdf5TokenWriter(tmp_path, LAYOUT, 4)
    for row, clip in enumerate(clip_ids(clips)):
        writer.write(row, arrays_of(clip))
    record = writer.finish(clips).files["tokens.h5"]
    assert len(again) == (clips < 4)
    assert record == real(tmp_path / "tokens.h5")


def test_what_the_disk_refuses_is_an_error_and_the_clip_may_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libhdf5 is told nothing of it, since it would end the process when the file is closed."""
    writer = Hdf5TokenWriter(tmp_path, LAYOUT, 2)
    real = HashedFile.write_at

    def refused(self: HashedFile, data: memoryview, offset: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(HashedFile, "write_at", refused)
    with pytest.raises(OSError, match="No space left"):
        writer.write(0, arrays_of("a"))
    monkeypatch.setattr(HashedFile, "write_at", real)
    writer.write(0, arrays_of("b"))
    writer.finish(1)
    with h5py.File(tmp_path / "tokens.h5") as file:
        np.testing.assert_array_equal(file["tokens"][0], arrays_of("b")[0])


FORKING = """
import os, sys
from pathlib import Path
from sample_clips import PRODUCER, SPEC, clip_ids, make_record, make_tokens
from stepcli.cache import create_store
writer = create_store(Path(sys.argv[1]), SPEC, dataset="test", format="hdf5").writer(PRODUCER)
for number, clip in enumerate(clip_ids(4)):
    writer.add(make_record(clip), make_tokens(clip))
    if number == 1 and os.fork() == 0:
        sys.exit()  # libhdf5 closes its files at a process's exit
    if number == 1:
        os.wait()
writer.commit()
writer.add(make_record("left"), make_tokens("left"))  # never committed, never closed
"""


def test_a_child_and_an_exit_leave_the_part_alone(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert (done.returncode, done.stderr) == (0, "")
    store = open_store(tmp_path / "store")
    expected = np.stack([make_tokens(clip) for clip in clip_ids(4)]).astype(np.float16)
    np.testing.assert_array_equal(store.read(clip_ids(4)), expected)


def test_reading_needs_neither_library(tmp_path: Path) -> None:
    for form in ("zarr", "hdf5"):
        fill_store(tmp_path / form, form, 2)  # type: ignore[arg-type]
    script = (
        "import sys; from stepcli.cache import open_store\n"
        "for path in sys.argv[1:]:\n"
        "    store = open_store(path); store.read(store.ids)\n"
        "print(sys.modules.keys() & {'h5py', 'zarr', 'numcodecs'})"
    )
    places = [str(tmp_path / "zarr"), str(tmp_path / "hdf5")]
    command = [sys.executable, "-c", script, *places]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_disk_that_is_full_from_the_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = create_store(tmp_path, SPEC, dataset="test", format="hdf5")

    def refused(self: HashedFile, data: memoryview, offset: int) -> None:
        raise OSError(28, "No space left on device")

    with store.writer(PRODUCER) as writer:
        monkeypatch.setattr(HashedFile, "write_at", refused)
        with pytest.raises(StoreError, match="No space left on device"):
            writer.add(make_record("a"), make_tokens("a"))
        monkeypatch.undo()
        writer.add(make_record("b"), make_tokens("b"))
    store.refresh()
    assert store.ids == ["b"]
