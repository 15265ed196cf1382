"""Files that people hand over, and files of a store that lie: refused with the reason."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_bytes import parquet
from sample_clips import fill_store

from stepcli.cache.maintenance.relabel import relabel
from stepcli.cache.schema.clips import Failure
from stepcli.cache.storage.places import place_of
from stepcli.cache.tables.failures import FailureLog, intact_lines, parse_failures, read_failures
from stepcli.runtime.csv_tables import read_csv
from stepcli.runtime.errors import DamagedStore, StoreError, UsageError
from stepcli.runtime.files import (
    create_synced,
    disk_errors,
    own_folder,
    read_regular,
    replace_synced,
)
from stepcli.runtime.json_files import read_json
from stepcli.runtime.parquet_tables import read_parquet
from stepcli.runtime.sealed_json import seal, unseal


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,c\n1,2\n", "expected the columns a,b, found a,c; missing: b"),
        (b"", "found nothing"),
        (b'c,"a\n1,2\n\n', "expected the columns a,b, found c,a 1,2; missing: a, b"),
        (b"a,b, a\n1,2,3\n", "the column 'a' appears twice"),
        (b"a,b\n1\n", ", line 2: expected the 2 cells of the header, found 1"),
        (b"a,b\n1,2\n1,2,3\n", ", line 3: expected the 2 cells of the header, found 3"),
        (b"a,b\n\xff,2\n", "expected a CSV file in UTF-8, got: 'utf-8' codec"),
        (b"a,b\n" + b"x" * 200_000 + b",1\n", "expected a CSV file, got: field larger than"),
    ],
)
def test_csv_files_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError) as refused:
        read_csv(path, ("a", "b"))
    assert str(refused.value).startswith(f"{path}")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_csv_as_spreadsheets_write_it(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes('\ufeffa,b\r\n"x, y",\r\n\r\n1,"2\n3"\r\n'.encode())
    assert read_csv(path, ("b",)) == [{"a": "x, y", "b": ""}, {"a": "1", "b": "2\n3"}]
    path.write_text(" a ;b\nx,y ; 1\n")
    assert read_csv(path, ("b",)) == [{"a": "x,y", "b": "1"}]
    path.write_text("a\tb\n x \t;\n")
    assert read_csv(path, ("b", "a")) == [{"a": "x", "b": ";"}]
    path.write_text("a,b,\n1,2,\n")
    assert read_csv(path, ("a",)) == [{"a": "1", "b": "2", "": ""}]
    for other in (tmp_path, tmp_path / "nowhere", Path("/dev/null")):
        with pytest.raises(UsageError, match="expected a CSV file"):
            read_csv(other, ("a",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "expected JSON, but Expecting property name"),
        (b"\xff", "expected JSON, but 'utf-8' codec"),
        (b"[" * 100_000, "expected JSON, but "),
        (b"9" * 5000, "expected JSON, but Exceeds the limit"),
        (b"[]", "expected a JSON dict, found a list"),
    ],
)
def test_json_files_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_json(path, dict)
    with pytest.raises(UsageError, match="no such file"):
        read_json(tmp_path / "nowhere.json", dict)
    with pytest.raises(UsageError, match="expected a plain file"):
        read_json(tmp_path, dict)
    path.write_bytes(b'{"a": 1}')
    assert read_json(path, dict) == {"a": 1}


def test_parquet_files_are_read_within_bounds() -> None:
    data = parquet(pa.table({"a": [1, 2, 3], "l": [[1, 2], [], [3, 4]]}))
    assert read_parquet(data, "x", rows=3, values=5).num_rows == 3
    assert read_parquet(data, "x", rows=3, values=5, columns=["a"]).schema.names == ["a"]
    for options, message in (
        ({"rows": 2}, "x: expected at most 2 rows, found 3"),
        ({"values": 4}, "x: expected at most 4 values, found 5"),
        ({"columns": ["a", "b"]}, "x: expected the columns b, each once"),
    ):
        with pytest.raises(DamagedStore, match=message):
            read_parquet(data, "x", **{"rows": 3, "values": 5, **options})  # type: ignore[arg-type]
    packed = parquet(pa.table({"a": [1, 2, 3]}), compression="zstd")
    assert read_parquet(packed, "x", rows=3, values=3).num_rows == 3
    with pytest.raises(DamagedStore, match="x: compressed; write it as stepcli does"):
        read_parquet(packed, "x", rows=3, values=3, compressed=False)
    twice = parquet(pa.table([[1], [2]], names=["a", "a"]))
    with pytest.raises(DamagedStore, match="each once"):
        read_parquet(twice, "x", rows=3, values=3, columns=["a"])
    with pytest.raises(DamagedStore, match="not a Parquet file that can be read"):
        read_parquet(b"PAR1", "x", rows=3, values=3)


def test_labels_from_a_parquet_file(tmp_path: Path) -> None:
    fill_store(tmp_path / "s", "zarr", 2)
    path = tmp_path / "t.parquet"
    for table, message in (
        (pa.table({"label": ["x"]}), "expected a column id, each once; found label"),
        (pa.table({"id": ["clip-0000"], "label": [1.5]}), "column label: expected text"),
        (
            pa.table({"id": ["clip-0000"], "label": pa.array([None], pa.string())}),
            "row 1: the column 'label' is empty",
        ),
        (pa.table({"id": ["clip-0000"], "other": ["x"]}), "expected a column id and at least one"),
    ):
        pq.write_table(table, path)
        with pytest.raises(UsageError, match=message):
            relabel(tmp_path / "s", path)
    path.write_bytes(b"PAR1")
    with pytest.raises(UsageError, match="not a Parquet file"):
        relabel(tmp_path / "s", path)
    with pytest.raises(UsageError, match="no such file"):
        relabel(tmp_path / "s", tmp_path / "nowhere.parquet")
    pq.write_table(pa.table({"id": ["clip-0001"], "label": [7], "more": [0.5]}), path)
    assert relabel(tmp_path / "s", path).changed == {"clip-0001": {"label": "7"}}


def test_a_failure_is_what_was_written_or_damage(tmp_path: Path) -> None:
    log = FailureLog(tmp_path, "me")
    first, second = Failure("a", "a.mp4", "E", "m"), Failure("a", "a.mp4", "E", "again", 2)
    for failure in (second, first):
        log.append(failure)
    log.close()
    log.close()
    assert read_failures(tmp_path) == {"a": second}
    (path,) = (tmp_path / "failures").iterdir()
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    assert list(parse_failures(data + lines[0][:-20], "x")) == [second, first]  # torn by a crash
    for wrong, message in (
        (lines[0].replace(b'"m"', b'"n"').replace(b"again", b"Again"), "its checksum differs"),
        (lines[0].replace(b'"attempt":2', b'"attempt":"2"'), "a field of another type"),
        (lines[0].replace(b'"attempt":2,', b""), "other fields"),
        (b"[]\n", "line 1 is not what was written"),
        (b"not JSON\n", "line 1 is not what was written"),
        (lines[0][:-1] + b"x", "line 1 is not what was written"),
    ):
        with pytest.raises(DamagedStore, match=message):
            list(parse_failures(wrong, "x"))
    assert intact_lines(lines[0] + b"junk\n" + lines[1] + lines[0][:-9]) == (data, 2)


def test_links_devices_and_large_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    assert read_regular(tmp_path / "file", 3) == b"abc"
    for name, message in (
        ("link", "expected a plain file"),
        ("folder", "expected a plain file; remove"),
        ("pipe", "expected a plain file; remove"),
        ("file", "expected at most 2 bytes, found 3"),
    ):
        with pytest.raises(DamagedStore, match=message):
            read_regular(tmp_path / name, 2)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "nowhere", 2)
    with pytest.raises(DamagedStore, match="a link; a store's folders must be in the store"):
        own_folder(tmp_path, "link")
    with pytest.raises(DamagedStore, match="a file where a folder of the store belongs"):
        own_folder(tmp_path, "file")
    with (
        pytest.raises(StoreError, match="cannot write to here: No space left"),
        disk_errors("here"),
    ):  # type: ignore[arg-type]
        raise OSError(28, "No space left on device")


def test_files_appear_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    assert create_synced(path, b"one")
    assert not create_synced(path, b"two")
    replace_synced(path, b"three")
    assert path.read_bytes() == b"three"
    # A file system without hard links: exclusive creation still lets only one through.
    monkeypatch.setattr(os, "link", _no_links)
    assert not create_synced(path, b"four")
    assert create_synced(tmp_path / "other", b"five")
    assert (tmp_path / "other").read_bytes() == b"five"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "other"]
    assert unseal(seal({"b": [1], "a": None}), "x") == {"a": None, "b": [1]}
    for wrong in (b"[]", b"{}", b"\xff", b"[" * 100_000, seal({"a": 1}).replace(b"1", b"2", 1)):
        with pytest.raises(DamagedStore, match="x: "):
            unseal(wrong, "x")


def _no_links(source: Path, target: Path) -> None:
    raise OSError(38, "Function not implemented")


def test_places_are_told_from_urls() -> None:
    assert place_of("file:///a/b") == Path("/a/b")
    assert place_of("local:///a/b") == Path("/a/b")
    assert str(place_of("gcs://bucket/a")) == "gs://bucket/a"
    assert place_of("a/b") == Path("a/b")
    assert str(place_of("memory:/x/y/")) == "memory://x/y"
