"""Every file of a feature store, made hostile: the digests around it match, as an attacker's do."""

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
from compressed_parts import compress_parts
from mutate import mutated_bytes, mutated_json, mutated_table, mutated_text, same_size
from sample_clips import SPEC, fill_store

from stepcli.cache import open_store
from stepcli.cache.maintenance.compact import compact_store
from stepcli.cache.maintenance.repair import repair_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.parts.file_record import FileRecord
from stepcli.cache.schema.clips import ClassRow, Failure
from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.store.summary import clip_states, describe_clip, summarize
from stepcli.runtime.canonical_json import canonical_json
from stepcli.runtime.sealed_json import seal, unseal

Change = Callable[[Path, random.Random], None]
Use = Callable[[Path], None]


def make_plain(folder: Path) -> None:
    _fill(folder, "int8-channel", "zarr", 4)


def make_many(folder: Path) -> None:
    """Enough parts for a consolidated index."""
    _fill(folder, "int8", "hdf5", 1, clips=17)
    open_store(folder)  # writes the index


def make_zstd(folder: Path) -> None:
    _fill(folder, "float16", "zarr", 4)
    compress_parts(folder, "zstd")


def make_gzip(folder: Path) -> None:
    _fill(folder, "float16", "hdf5", 4)
    compress_parts(folder, "gzip")


def _fill(folder: Path, dtype: str, form: Any, part_clips: int, *, clips: int = 4) -> None:
    spec = StoreSpec.model_validate({**dict(SPEC), "dtype": dtype})
    store = fill_store(folder, form, clips, spec=spec, part_clips=part_clips)
    store.replace_classes(
        [ClassRow("open", 0, "close", "equivariant", "", "a door"), ClassRow("close", 1, "open")]
    )
    (folder / "failures").mkdir()
    line = {"id": "lost", "path": "lost.mp4", "error": "VideoError", "message": "x", "attempt": 1}
    assert Failure(**line)
    (folder / "failures" / "someone.jsonl").write_bytes(_failure(line) * 2)


def use_store(root: Path) -> None:
    """All that is done with a store that came from somewhere, writing left out."""
    store = open_store(root)
    for clip in store.ids[:2]:
        store.read([clip])
        store.read_floats([clip])
        store.record(clip)
        describe_clip(store, clip)
    store.read_arrays(store.ids[:4])
    store.storage_order(store.ids)
    store.records(store.ids)
    store.classes()
    summarize(store)
    list(clip_states(store))


def use_verify(root: Path) -> None:
    verify_store(root, workers=1)


def use_repair(root: Path) -> None:
    repair_store(root, workers=1)


def use_compact(root: Path) -> None:
    compact_store(root)


USES = (use_store, use_verify, use_repair)
COMPRESSED_USES = (use_verify, use_repair, use_compact)


def _part(root: Path) -> Path:
    return sorted((root / "parts").iterdir())[0]


def _put(root: Path, name: str, data: bytes, clips: int | None = None) -> None:
    """Replace a file of the first part, and what its record says of it."""
    part = _part(root)
    (part / name).write_bytes(data)
    record = unseal((part / "part.json").read_bytes(), part)
    record["files"][name] = FileRecord.of_bytes(data).model_dump()
    record["clips"] = clips or record["clips"]
    (part / "part.json").write_bytes(seal(record))


def manifest(root: Path, random: random.Random) -> None:
    path = root / "manifest.json"
    if random.random() < 0.1:
        path.write_bytes(mutated_bytes(path.read_bytes(), random))
        return
    content = mutated_json(unseal(path.read_bytes(), path), random)
    if isinstance(content, dict) and isinstance(content.get("spec"), dict):
        # As an attacker would: the digest of the new spec, there and in every part.
        try:
            content["spec_digest"] = StoreSpec.model_validate_json(
                json.dumps(content["spec"])
            ).digest
        except ValueError:
            content["spec_digest"] = "0" * 64
        for record in root.glob("parts/*/part.json"):
            whole = unseal(record.read_bytes(), record)
            record.write_bytes(seal({**whole, "spec_digest": content["spec_digest"]}))
    path.write_bytes(sealed(content))


def part_record(root: Path, random: random.Random) -> None:
    path = _part(root) / "part.json"
    data = path.read_bytes()
    if random.random() < 0.1:
        path.write_bytes(mutated_bytes(data, random))
    else:
        path.write_bytes(sealed(mutated_json(unseal(data, path), random)))


def tables_json(root: Path, random: random.Random) -> None:
    path = root / "tables.json"
    path.write_bytes(sealed(mutated_json(unseal(path.read_bytes(), path), random)))


def index(root: Path, random: random.Random) -> None:
    data = mutated_table((_part(root) / "index.parquet").read_bytes(), random)
    _put(root, "index.parquet", data, random.choice((None, None, 1, 2, 8)))


def clips_table(root: Path, random: random.Random) -> None:
    path = root / "clips.parquet"
    path.write_bytes(mutated_table(path.read_bytes(), random))


def classes_table(root: Path, random: random.Random) -> None:
    path = root / "classes.csv"
    words = ("equivariant", "sideways", "open", "0", "1", "1048576")
    path.write_bytes(mutated_text(path.read_text(), random, words))


def consolidated(root: Path, random: random.Random) -> None:
    (path,) = root.glob(".cache/index-*.parquet")
    data = mutated_table(path.read_bytes(), random)
    path.unlink()
    path.with_name(f"index-{hashlib.sha256(data).hexdigest()}.parquet").write_bytes(data)


def consolidated_records(root: Path, random: random.Random) -> None:
    (path,) = root.glob(".cache/records-*.parquet")
    data = mutated_table(path.read_bytes(), random)
    path.unlink()
    path.with_name(f"records-{hashlib.sha256(data).hexdigest()}.parquet").write_bytes(data)


def failures(root: Path, random: random.Random) -> None:
    path = root / "failures" / "someone.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    content = json.loads(lines[0])
    del content["crc32c"]
    hostile = mutated_json(content, random)
    data = _failure(hostile) if isinstance(hostile, dict) else json.dumps(hostile).encode()
    lines[random.randrange(2)] = data if random.random() < 0.8 else mutated_bytes(lines[0], random)
    path.write_bytes(b"".join(lines))


def shard(root: Path, random: random.Random) -> None:
    name = "tokens.zarr/tokens/c.0.0.0.0"
    data = (_part(root) / name).read_bytes()
    if random.random() < 0.2:
        _put(root, name, mutated_bytes(data, random))
        return
    # The table of offsets and sizes behind the clips, its checksum made to match.
    table = bytearray(data[-4 - 16 * 4 : -4])
    for _ in range(random.randint(1, 3)):
        place = 8 * random.randrange(len(table) // 8)
        value = random.choice((0, 1, 2**63, 2**64 - 1, 2**40, random.randrange(4096)))
        table[place : place + 8] = value.to_bytes(8, "little")
    body = data[: -4 - len(table)] if random.random() < 0.5 else same_size(data, random)[:-68]
    checksum = google_crc32c.value(bytes(table)).to_bytes(4, "little")
    _put(root, name, body + bytes(table) + checksum)


def zarr_json(root: Path, random: random.Random) -> None:
    name = random.choice(("tokens.zarr/zarr.json", "tokens.zarr/tokens/zarr.json"))
    content = mutated_json(json.loads((_part(root) / name).read_bytes()), random)
    _put(root, name, json.dumps(content).encode("utf-8", "surrogatepass"))


def hdf5(root: Path, random: random.Random) -> None:
    data = (_part(root) / "tokens.h5").read_bytes()
    _put(root, "tokens.h5", same_size(data, random))


def sealed(content: Any) -> bytes:
    if not isinstance(content, dict):
        return json.dumps(content).encode()
    try:
        return seal(content)
    except ValueError:  # Infinity, or what no UTF-8 says
        return b"{}"


def _failure(content: dict[str, Any]) -> bytes:
    try:
        checksum = google_crc32c.value(canonical_json(content).encode())
        return (canonical_json({**content, "crc32c": checksum}) + "\n").encode()
    except ValueError:  # Infinity, or what no UTF-8 says: a line without a checksum
        return (json.dumps(content) + "\n").encode()


FORMATS: dict[str, tuple[Callable[[Path], None], Change, tuple[Use, ...]]] = {
    "manifest.json": (make_plain, manifest, USES),
    "part.json": (make_plain, part_record, USES),
    "tables.json": (make_plain, tables_json, USES),
    "index.parquet": (make_plain, index, USES),
    "clips.parquet": (make_plain, clips_table, USES),
    "classes.csv": (make_plain, classes_table, USES),
    "failures": (make_plain, failures, USES),
    "consolidated index": (make_many, consolidated, USES),
    "consolidated records": (make_many, consolidated_records, USES),
    "compressed Zarr": (make_zstd, shard, COMPRESSED_USES),
    "zarr.json": (make_plain, zarr_json, USES),
    "compressed HDF5": (make_gzip, hdf5, COMPRESSED_USES),
}
