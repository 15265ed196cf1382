"""Compressed tokens whose files are handed over: what a library must never be given."""

from pathlib import Path
from typing import Any

import google_crc32c
import h5py
import numpy as np
import pytest
from sample_clips import SPEC, clip_ids, fill_store, make_tokens

from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.parts.commit import read_part_record
from stepcli.cache.parts.file_record import FileRecord
from stepcli.cache.parts.packed_tokens import PackedTokens, open_packed
from stepcli.cache.parts.record import PartRecord
from stepcli.cache.parts.scan import part_clips
from stepcli.cache.parts.zarr_tokens import metadata_bytes
from stepcli.cache.schema.layout import layout_of
from stepcli.cache.store.snapshot import read_index
from stepcli.runtime.errors import DamagedStore
from stepcli.runtime.files import seal

LAYOUT = layout_of(SPEC)
SHARD = "tokens.zarr/tokens/c.0.0.0.0"


class Part:
    """A compressed part of three clips, and what a stranger may do to its file of tokens."""

    def __init__(self, root: Path, form: Any) -> None:
        compression: Any = "zstd" if form == "zarr" else "gzip"
        self.store = fill_store(root, form, 3, compression=compression)
        (self.name,) = self.store.parts
        self.root = root
        self.folder = root / "parts" / self.name
        self.form = form
        self.path = self.folder / (SHARD if form == "zarr" else "tokens.h5")

    @property
    def record(self) -> PartRecord:
        """The part's record, saying what the file of tokens is now."""
        record = read_part_record(self.root, self.name)
        file = self.path.relative_to(self.folder).as_posix()
        files = record.files | {file: FileRecord.of_bytes(self.path.read_bytes())}
        return record.model_copy(update={"files": files})

    def open(self, **changes: Any) -> PackedTokens:
        """Open the tokens by such a record, or one that says something else."""
        record = self.record.model_copy(update=changes)
        return open_packed(self.folder, self.form, LAYOUT, record)

    def table(self) -> np.ndarray:
        """[clips, 2]: offset and length of each chunk of the shard."""
        return np.frombuffer(self.path.read_bytes()[-52:-4], "<u8").reshape(3, 2).copy()

    def put_table(self, table: np.ndarray) -> None:
        data = table.astype("<u8").tobytes()
        checksum = google_crc32c.value(data).to_bytes(4, "little")
        self.path.write_bytes(self.path.read_bytes()[:-52] + data + checksum)


@pytest.mark.parametrize("form", ["zarr", "hdf5"])
def test_rows_come_back_whatever_their_order(tmp_path: Path, form: str) -> None:
    tokens = Part(tmp_path, form).open()
    out = np.empty(SPEC.clip_shape, np.float16)
    for row in (2, 0, 1, 2):
        tokens.read_row(row, out)
        np.testing.assert_array_equal(out, make_tokens(clip_ids(3)[row]).astype(np.float16))


def test_a_table_that_names_bytes_that_are_not_there(tmp_path: Path) -> None:
    part = Part(tmp_path, "zarr")
    body = part.path.stat().st_size - 52
    table = part.table()
    table[1] = (body - 1, 1)
    part.put_table(table)
    part.open()  # the last byte may be named
    behind = [(body - 1, 2), (body, 1), (body + 1, 0), (2**63, 0)]
    for entry in (*behind, (2**64 - 8, 8), (8, 2**64 - 8)):  # the last two: a sum of 0 in 64 bits
        table[1] = entry
        part.put_table(table)
        with pytest.raises(DamagedStore, match="its table names bytes that are not there"):
            part.open()


def test_a_table_is_held_against_its_checksum_and_the_files_size(tmp_path: Path) -> None:
    part = Part(tmp_path, "zarr")
    whole = part.path.read_bytes()
    for place in (-1, -4, -5, -52):
        data = bytearray(whole)
        data[place] ^= 1
        part.path.write_bytes(data)
        with pytest.raises(DamagedStore, match="its table does not match its checksum"):
            part.open()
    part.path.write_bytes(whole[:30])
    with pytest.raises(DamagedStore, match="too short for the table of 3 chunks"):
        part.open()
    many = metadata_bytes(LAYOUT.tokens, 1 << 24, "zstd")
    (part.folder / "tokens.zarr" / "tokens" / "zarr.json").write_bytes(many)
    with pytest.raises(DamagedStore, match="too short for the table of 16777216 chunks"):
        part.open(clips=1 << 24)


def test_a_chunk_that_does_not_unpack_costs_its_clip_alone(tmp_path: Path) -> None:
    part = Part(tmp_path, "zarr")
    start, length = part.table()[1].tolist()
    data = bytearray(part.path.read_bytes())
    data[start : start + length] = b"x" * length
    part.path.write_bytes(data)
    out = np.empty(SPEC.clip_shape, np.float16)
    tokens = part.open()
    with pytest.raises(DamagedStore, match=r"cannot be read \(\w+ \w.+\); run stepcli"):
        tokens.read_row(1, out)
    tokens.read_row(2, out)
    record = part.record  # a stranger's files agree with each other
    (part.folder / "part.json").write_bytes(seal(record.model_dump(mode="json")))
    index = read_index(tmp_path, part.name, part.store.manifest)
    found = list(part_clips(tmp_path, part.name, part.store.manifest, index))
    assert [clip.intact for clip in found] == [True, False, True]
    assert [len(clip.arrays) for clip in found] == [1, 0, 1]
    assert verify_store(tmp_path).problems[-1].clips == ("clip-0001",)


def test_files_that_the_record_does_not_list_are_not_opened(tmp_path: Path) -> None:
    part = Part(tmp_path, "hdf5")
    others = {path: known for path, known in part.record.files.items() if path != "tokens.h5"}
    for files in (others, others | {"tokens.h5": FileRecord.of_bytes(b"another size")}):
        with pytest.raises(DamagedStore, match="bytes are not what the part's record says"):
            part.open(files=files)
    record = part.record
    part.path.unlink()
    with pytest.raises(FileNotFoundError):
        open_packed(part.folder, "hdf5", LAYOUT, record)


def hdf5_file(path: Path, kind: str) -> None:
    """What another HDF5 file may hold under the name of the tokens."""
    shape, chunks = (3, *SPEC.clip_shape), (1, *SPEC.clip_shape)
    options: dict[str, Any] = {"dtype": "<f2", "chunks": chunks, "compression": "gzip"}
    with h5py.File(path.with_name("elsewhere.h5"), "w") as other:
        other.create_dataset("tokens", shape, **options)
    with h5py.File(path, "w") as file:
        match kind:
            case "nothing":
                pass
            case "a group":
                file.create_group("tokens")
            case "a link":
                file.create_dataset("other", shape, **options)
                file["tokens"] = h5py.SoftLink("/other")
            case "a link out of the file":
                file["tokens"] = h5py.ExternalLink("elsewhere.h5", "tokens")
            case "a virtual dataset":
                virtual = h5py.VirtualLayout(shape, "<f2")
                virtual[:] = h5py.VirtualSource("elsewhere.h5", "tokens", shape)
                file.create_virtual_dataset("tokens", virtual)
            case "bytes of another file":
                place = str(path.with_name("elsewhere.h5"))
                file.create_dataset("tokens", shape, "<f2", external=[(place, 0, 540)])
            case "another shape":
                file.create_dataset("tokens", (4, *SPEC.clip_shape), **options)
            case "another dtype":
                file.create_dataset("tokens", shape, **options | {"dtype": "<u2"})
            case "other chunks":
                file.create_dataset("tokens", shape, **options | {"chunks": shape})
            case _:
                file.create_dataset("tokens", shape, **options | {"compression": kind})


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nothing", "holds no tokens of its own"),
        ("a group", "holds no tokens of its own"),
        ("a link", "holds no tokens of its own"),
        ("a link out of the file", "holds no tokens of its own"),
        ("a virtual dataset", "holds no tokens of its own"),
        ("bytes of another file", "holds no tokens of its own"),
        ("another shape", r"holds \(\(4, 3, 5, 6\), .*, expected \(\(3, 3, 5, 6\), .* with gzip"),
        ("another dtype", "holds .*uint16"),
        ("other chunks", r"holds .*\(3, 3, 5, 6\)\), expected"),
        ("lzf", "with gzip"),
    ],
)
def test_hdf5_files_that_stepcli_does_not_write(tmp_path: Path, kind: str, message: str) -> None:
    part = Part(tmp_path, "hdf5")
    hdf5_file(part.path, kind)
    with pytest.raises(DamagedStore, match=message):
        part.open()


def test_bytes_that_are_no_hdf5_are_one_line(tmp_path: Path) -> None:
    part = Part(tmp_path, "hdf5")
    part.path.write_bytes(b"junk" * 300)
    with pytest.raises(
        DamagedStore, match=r"cannot be read \(.*\); run stepcli store verify"
    ) as no:
        part.open()
    assert "\n" not in str(no.value)
    assert len(str(no.value)) < 500
