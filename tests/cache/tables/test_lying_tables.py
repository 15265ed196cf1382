"""Tables and indexes of a store that lie or are lost: noticed, passed over, made anew."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_bytes import parquet
from sample_clips import fill_store

from stepcli.cache import open_store
from stepcli.cache.maintenance.identity import settled_manifest
from stepcli.cache.maintenance.restore import restore_file
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.schema.clips import ClassRow, ClipRow
from stepcli.cache.schema.manifest import parse_manifest, read_manifest
from stepcli.cache.tables import changes as tables
from stepcli.cache.tables import table_versions
from stepcli.runtime.errors import DamagedStore, StoreError, UsageError
from stepcli.runtime.sealed_json import seal, unseal


def test_tables_that_cannot_be_stored(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "zarr", 1)
    for rows, message in (
        ([ClipRow("a", "x"), ClipRow("a", "y")], "clip id 'a' occurs twice"),
        ([ClipRow("", "x")], "a clip without an id"),
        ([ClipRow("a", "x" * 40_000)], "must be UTF-8 of at most 32768 bytes"),
        ([ClipRow("a", "\udcff")], "must be UTF-8"),
    ):
        with pytest.raises(UsageError, match=message):
            store.replace_clips(rows)
    for classes, message in (
        ([ClassRow("a", 0), ClassRow("b", 0)], "class index 0 occurs twice"),
        ([ClassRow("a", 0, prompt="\udcff")], "class 'a': texts must be UTF-8"),
    ):
        with pytest.raises(UsageError, match=message):
            store.replace_classes(classes)
    text = [ClassRow('a,\n"b"', 1, "c\r", "invariant", "", "'é\0"), ClassRow("c\r", 0)]
    store.replace_classes(text)
    assert store.classes() == [text[1], text[0]]
    assert verify_store(tmp_path).ok


def test_digests_of_tables_that_lie(tmp_path: Path) -> None:
    fill_store(tmp_path, "zarr", 1)
    (tmp_path / "tables.json").write_bytes(seal({tables.CLIPS: "x"}))
    with pytest.raises(DamagedStore, match="expected a list of digests"):
        tables.accepted_digests(tmp_path)
    assert not verify_store(tmp_path).ok
    (tmp_path / "tables.json").unlink()
    assert tables.accepted_digests(tmp_path) == {}


def test_a_consolidated_index_that_lies_is_not_used(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "zarr", 17, part_clips=1)
    open_store(tmp_path)
    (path,) = (tmp_path / ".cache").glob("index-*")
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[b"stepcli"])
    size = len(table)

    def put(changed: pa.Table) -> Path:
        data = parquet(changed, write_page_checksum=True, write_statistics=False)
        for old in (tmp_path / ".cache").iterdir():
            old.unlink()
        made = path.with_name(f"index-{hashlib.sha256(data).hexdigest()}.parquet")
        made.write_bytes(data)
        return made

    def with_column(name: str, values: list[Any]) -> pa.Table:
        number = table.schema.get_field_index(name)
        return table.set_column(number, name, pa.array(values, table.schema.field(name).type))

    other = {"stepcli": json.dumps({**about, "spec": "0" * 64})}
    for lie in (
        with_column("part", [99] * size),
        with_column("row", [-1] * size),
        with_column("offset", [-5] * size),
        with_column("id", ["same"] * size),
        table.replace_schema_metadata(None),
        table.replace_schema_metadata(other),
    ):
        made = put(lie)
        again = open_store(tmp_path)
        assert again.ids == store.ids
        assert again.record("clip-0003") == store.record("clip-0003")
        assert not made.exists()  # and one that is true is written in its place
    put(with_column("row", [5] * size))
    with pytest.raises(DamagedStore, match="is not where the consolidated index has it"):
        open_store(tmp_path).record("clip-0003")
    data = path.read_bytes() if path.exists() else b"x"
    (tmp_path / ".cache" / f"index-{'0' * 64}.parquet").write_bytes(data)
    assert any("do not match its name" in each.problem for each in verify_store(tmp_path).problems)


def test_a_manifest_is_put_together_from_the_parts(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "zarr", 2, part_clips=1)
    path = tmp_path / "manifest.json"
    content = unseal(path.read_bytes(), path)
    with pytest.raises(StoreError, match="has schema 9, this stepcli reads up to 1; upgrade"):
        parse_manifest(seal({**content, "schema_number": 9}), path)
    with pytest.raises(DamagedStore, match="field format"):
        parse_manifest(seal({**content, "format": "npz"}), path)
    with pytest.raises(DamagedStore, match="spec_digest is not the digest of its spec"):
        parse_manifest(seal({**content, "spec_digest": "0" * 64}), path)
    assert settled_manifest(tmp_path) == (read_manifest(tmp_path), "")
    path.unlink()
    first, second = sorted((tmp_path / "parts").iterdir())
    (first / "manifest.json").write_bytes(b"junk")
    assert settled_manifest(tmp_path)[0] == store.manifest
    # A copy that is not the one of the part's record says nothing, whatever it says.
    (first / "manifest.json").write_bytes(seal({**content, "dataset": "other"}))
    assert settled_manifest(tmp_path)[0] == store.manifest
    (first / "part.json").write_bytes(b"junk")  # now only its own digest confirms the copy
    with pytest.raises(DamagedStore, match="its parts are of several stores"):
        settled_manifest(tmp_path)
    (first / "manifest.json").unlink()
    (second / "manifest.json").unlink()
    with pytest.raises(DamagedStore, match="no part has a whole copy of it"):
        settled_manifest(tmp_path)
    assert restore_file(tmp_path, "notes.txt", dry_run=False) == ""


def test_a_damaged_version_of_a_table_is_passed_over(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "zarr", 1)
    rows = store.clips()
    for label in "abcdef":
        store.replace_clips([ClipRow(row.id, label) for row in rows])
    store.replace_clips([ClipRow(row.id, "f") for row in rows])  # nothing new: no version
    names = table_versions.version_names(tmp_path, tables.CLIPS)
    assert len(names) == table_versions.KEPT
    newest = tmp_path / "versions" / names[-1]
    newest.write_bytes(b"junk")
    found = table_versions.newest_intact(tmp_path, tables.CLIPS)
    assert found == (tmp_path / "versions" / names[-2]).read_bytes()
    with pytest.raises(DamagedStore, match="do not match its name; delete it"):
        table_versions.read_version(tmp_path, names[-1])
    for name in names:
        (tmp_path / "versions" / name).unlink()
    assert table_versions.newest_intact(tmp_path, tables.CLIPS) is None
