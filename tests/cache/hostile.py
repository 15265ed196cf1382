"""Stores that somebody has made to do harm, with digests that match. Run as a process of its own
under a memory limit: every one must end in a StepcliError, or be read as far as it is true.

    python tests/cache/hostile.py
"""

import argparse
import io
import json
import random
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import pyarrow as pa
import pyarrow.parquet as pq
from sample_clips import PRODUCER, fill_store, make_record, make_tokens
from typer.testing import CliRunner

from stepcli.cache import open_store
from stepcli.cache.cli.store import app
from stepcli.cache.maintenance.repair import repair_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.parts.file_record import FileRecord
from stepcli.cache.storage.local import LocalPath
from stepcli.runtime.errors import StepcliError
from stepcli.runtime.sealed_json import seal, unseal

HOSTILE_VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    2**200,
    1e308,
    "",
    "../../outside",
    "/etc/passwd",
    "a\x00b",
    "\ud800",
    [],
    [[]],
    {},
    {"a": {"b": []}},
    [1] * 5000,
    ["../x"] * 3,
]

Change = Callable[[Path], None]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values within a JSON document."""
    if path:
        yield path
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    for key, item in inner:
        yield from places(item, (*path, key))


def resealed(file: Path, path: tuple[Any, ...], value: Any) -> bytes:
    content = json.loads(json.dumps(unseal(file.read_bytes(), file)))
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return seal(content)


def with_index(table: Callable[[pa.Table], pa.Table], **options: Any) -> Change:
    """Replace a part's index, digests and all."""

    def change(root: Path) -> None:
        part = sorted((root / "parts").iterdir())[0]
        sink = io.BytesIO()
        changed = table(pq.read_table(part / "index.parquet"))
        pq.write_table(changed, sink, compression=options.pop("compression", "none"), **options)
        put_index(part, sink.getvalue(), changed.num_rows)

    return change


def with_flips(generator: random.Random, flips: int) -> Change:
    """Flip bits of an index, most in its footer, and make the digests match."""

    def change(root: Path) -> None:
        part = sorted((root / "parts").iterdir())[0]
        data = bytearray((part / "index.parquet").read_bytes())
        footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        for _ in range(flips):
            first = 0 if generator.random() < 0.3 else footer
            bit = generator.randrange(8 * first, 8 * len(data))
            data[bit // 8] ^= 1 << bit % 8
        put_index(part, bytes(data), 2)

    return change


def put_index(part: Path, data: bytes, rows: int) -> None:
    (part / "index.parquet").write_bytes(data)
    record = unseal((part / "part.json").read_bytes(), part)
    record["files"]["index.parquet"] = FileRecord.of_bytes(data).model_dump()
    record["clips"] = max(1, rows)
    (part / "part.json").write_bytes(seal(record))


def column(name: str, values: Callable[[pa.ChunkedArray], Any]) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        number = table.schema.get_field_index(name)
        return table.set_column(number, name, values(table[name]))

    return change


def long_texts(table: pa.Table) -> pa.Table:
    """A million rows that share one text of 30 KB: 30 GB when each is written out."""
    rows = 1_000_000
    row = table.slice(0, 1).to_pylist()[0] | {"source": "x" * 30_000}
    columns = {
        name: pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), [row[name]])
        if isinstance(row[name], str)
        else pa.array([row[name]], table.schema.field(name).type).take(pa.array([0] * rows))
        for name in table.schema.names
    }
    return pa.table(columns)


INDEXES: dict[str, Change] = {
    "no columns": with_index(lambda table: table.select([])),
    "other columns": with_index(lambda table: table.rename_columns([*"abcdefgh"])),
    "other types": with_index(column("offset", lambda c: c.cast(pa.string()))),
    "offsets beyond any file": with_index(
        column("offset", lambda c: pa.array([2**62] * len(c), pa.int64()))
    ),
    "negative offsets": with_index(
        column("offset", lambda c: pa.array([-(2**62)] * len(c), pa.int64()))
    ),
    "ids that are paths": with_index(
        column("id", lambda c: pa.array([f"../../outside/{n}" for n in range(len(c))]))
    ),
    "ids with control characters": with_index(
        column("id", lambda c: pa.array([f"\x1b]0;{n}\x07\x00" for n in range(len(c))]))
    ),
    "one id again and again": with_index(column("id", lambda c: pa.array(["same"] * len(c)))),
    "empty cells": with_index(column("id", lambda c: pa.array([None] * len(c), pa.string()))),
    "texts of 30 GB": with_index(long_texts),
    "compressed": with_index(lambda table: table, compression="zstd"),
    "not Parquet": lambda root: put_index(
        sorted((root / "parts").iterdir())[0], b"PAR1" + bytes(50) + b"PAR1", 4
    ),
}


def link(inside: str) -> Change:
    """Replace something in the store by a link to a like thing outside."""

    def change(root: Path) -> None:
        target = root.parent / "outside"
        place = next(root.glob(inside), root / inside)
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        target.mkdir(exist_ok=True)
        (target / "file").write_text("precious")
        place.symlink_to(target / "file" if place.suffix else target)

    return change


LINKS = [
    "parts",
    "parts/*",
    "parts/*/tokens.zarr",
    "parts/*/index.parquet",
    "parts/*/part.json",
    "failures",
    "tombstones",
    ".staging",
    ".cache",
    "manifest.json",
    "clips.parquet",
    "classes.csv",
    "tables.json",
]


def use(root: Path) -> None:
    """All that a user may do with a store that came from somewhere."""
    for step in (
        use_reading,
        use_writing,
        lambda root: verify_store(root, workers=1),
        repair_store,
    ):
        try:
            step(root)
        except StepcliError as error:
            if "\n" in str(error):
                raise AssertionError(f"more than one line: {error}") from error
    for words in (["ls"], ["info", "--json"]):
        done = CliRunner().invoke(app, [*words, "--store", str(root)])
        if done.exception is not None and not isinstance(done.exception, StepcliError):
            raise done.exception
        if "\x1b" in done.output:
            raise AssertionError("control characters reach the terminal")


def use_reading(root: Path) -> None:
    store = open_store(root)
    for clip in store.ids[:2]:
        store.read([clip])
        store.record(clip)
    store.clips(), store.classes(), store.quarantined(), store.fingerprint


def use_writing(root: Path) -> None:
    store = open_store(root)
    with store.writer(PRODUCER) as writer:
        writer.add(make_record("mine"), make_tokens("mine"))


def try_one(made: Path, folder: Path, name: str, change: Change) -> None:
    shutil.copytree(made, folder / "store")
    change(folder / "store")
    before = outside(folder)
    try:
        use(folder / "store")
    except Exception as error:
        raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error
    if outside(folder) != before:
        raise AssertionError(f"{name}: something outside of the store was touched")
    for path in folder.iterdir():
        shutil.rmtree(path)


def outside(folder: Path) -> dict[str, bytes]:
    others = (path for path in folder.iterdir() if path.name != "store")
    files = (path for other in others for path in other.rglob("*"))
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the changed JSON files")
    share = parser.parse_args().share
    generator = random.Random(0)
    with tempfile.TemporaryDirectory() as text:
        made, folder = LocalPath(text) / "made", LocalPath(text) / "tried"
        folder.mkdir()
        store = fill_store(made, "zarr", 4, part_clips=2)
        part = made / "parts" / store.parts[0]
        limit = 6 << 30  # bytes of address space; libraries and thread stacks take most of it
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        tried = 0
        for file in (made / "manifest.json", part / "part.json", made / "tables.json"):
            content = unseal(file.read_bytes(), file)
            for path in places(content):
                for value in HOSTILE_VALUES:
                    if generator.random() > share:
                        continue
                    try:
                        data = resealed(file, path, value)
                    except UnicodeEncodeError:
                        continue  # not even JSON in UTF-8 says that
                    relative = file.relative_to(made)

                    def change(root: Path, relative: Path = relative, data: bytes = data) -> None:
                        (root / relative).write_bytes(data)

                    try_one(made, folder, f"{relative} {path} {str(value)[:30]}", change)
                    tried += 1
        for name, change in INDEXES.items():
            try_one(made, folder, f"index: {name}", change)
        for name in LINKS:
            try_one(made, folder, f"link: {name}", link(name))
        for number in range(max(1, int(200 * share))):
            flip = with_flips(random.Random(number), 1 + number % 4)
            try_one(made, folder, f"index: flips {number}", flip)
            tried += 1
        tried += len(INDEXES) + len(LINKS)
    sys.stdout.write(f"{tried} hostile stores, none did harm\n")


if __name__ == "__main__":
    main()
