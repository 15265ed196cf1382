"""Valid files made invalid, or valid and hostile, at random: bytes, JSON, text, Parquet."""

import io
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1] / "cache"))

from hostile import HOSTILE_VALUES, places

WORDS = (
    *(
        ",",
        '"',
        '""',
        "\n",
        "\r\n",
        "\r",
        "\t",
        ";",
        "|",
        "\x00",
        "\ufeff",
        "\u2028",
        "é",
        "\x1b[2J",
    ),
    *("0", "-1", "1e999", "nan", "inf", "9" * 30, "9" * 5000, "0x10", "١٢", "1_000", " "),
    *("[", "]", "{", "}", ":", "- ", "&a ", "*a ", "<<: *a", "!!python/name:os.system ", "null"),
    *("../../outside", "/etc/passwd", "x" * 40_000, "# ", "---\n", "? ", "%TAG", "'", "`", "~"),
)
"""What CSV, YAML and JSON readers stumble over, and numbers that are none or too large."""


def mutated_bytes(data: bytes, random: random.Random) -> bytes:
    """One to four changes: a bit, a byte, a run cut out, doubled, zeroed, or the end cut off."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        if not changed:
            return bytes(random.randbytes(8))
        at = random.randrange(len(changed))
        run = random.choice((1, 2, 4, 8, 64))
        kind = random.randrange(7)
        if kind == 0:
            changed[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            changed[at] = random.choice((0, 1, 127, 128, 255, random.randrange(256)))
        elif kind == 2:
            del changed[at : at + run]
        elif kind == 3:
            changed[at:at] = changed[at : at + run]
        elif kind == 4:
            changed[at : at + run] = bytes(len(changed[at : at + run]))
        elif kind == 5:
            changed[at : at + run] = b"\xff" * len(changed[at : at + run])
        elif random.random() < 0.3:
            del changed[at:]
    return bytes(changed)


def same_size(data: bytes, random: random.Random) -> bytes:
    """Changed without becoming longer or shorter; the ends are likelier than the middle."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 6)):
        end = random.randrange(3)
        span = min(len(changed), 1024)
        at = random.randrange(len(changed) if end == 0 else span)
        at = len(changed) - 1 - at if end == 2 else at
        changed[at] = random.choice((0, 1, 255, changed[at] ^ (1 << random.randrange(8))))
    return bytes(changed)


def mutated_json(content: Any, random: random.Random) -> Any:
    """One to three values replaced, dropped, added or moved, at any depth."""
    changed = _changed_json(json.loads(json.dumps(content)), random)
    return json.loads(json.dumps(changed))


def _changed_json(changed: Any, random: random.Random) -> Any:
    for _ in range(random.randint(1, 3)):
        known = list(places(changed))
        if not known:
            return _hostile(random)
        *way, last = random.choice(known)
        inner = changed
        for key in way:
            inner = inner[key]
        kind = random.randrange(8)
        if kind == 0:
            del inner[last]
        elif kind == 1 and isinstance(inner, dict):
            inner[random.choice(("", "extra", "__class__", "../x"))] = _hostile(random)
        elif kind == 1:
            inner.append(_hostile(random))
        elif kind == 2:
            *other_way, other = random.choice(known)
            found = changed
            try:
                for key in (*other_way, other):
                    found = found[key]
            except (KeyError, IndexError, TypeError):
                continue  # dropped by an earlier change
            inner[last] = json.loads(json.dumps(found))
        elif kind == 3 and isinstance(inner[last], int | float):
            inner[last] = inner[last] * random.choice((-1, 2, 1000, 0)) + random.choice((0, 1, -1))
        else:
            inner[last] = _hostile(random)
    return changed


def mutated_text(text: str, random: random.Random, words: Sequence[str] = ()) -> bytes:
    """Lines doubled, dropped or swapped, words of trouble put in, cells moved; or bytes changed."""
    if random.random() < 0.25:
        return mutated_bytes(text.encode(), random)
    lines = text.splitlines(keepends=True) or [""]
    for _ in range(random.randint(1, 4)):
        row = random.randrange(len(lines))
        kind = random.randrange(5)
        if kind == 0:
            lines.insert(row, random.choice(lines))
        elif kind == 1 and len(lines) > 1:
            del lines[row]
        elif kind == 2:
            cells = lines[row].split(",")
            cells[random.randrange(len(cells))] = random.choice((*WORDS, *words))
            lines[row] = ",".join(cells)
        else:
            at = random.randrange(len(lines[row]) + 1)
            cut = random.choice((0, 0, 1, 3))
            word = random.choice((*WORDS, *words))
            lines[row] = lines[row][:at] + word + lines[row][at + cut :]
    return "".join(lines).encode("utf-8", "surrogatepass")


def mutated_table(data: bytes, random: random.Random) -> bytes:
    """A Parquet file whose columns hold other things, or whose bytes changed, mostly its footer."""
    if random.random() < 0.5:
        footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        head, tail = data[:footer], data[footer:]
        if random.random() < 0.7:
            return head + same_size(tail, random)
        return same_size(head, random) + tail
    table = pq.read_table(pa.BufferReader(data))
    for _ in range(random.randint(1, 3)):
        number = random.randrange(table.num_columns)
        name, column = table.schema.names[number], table.column(number)
        kind = random.randrange(5)
        if kind == 0 and table.num_columns > 1:
            table = table.remove_column(number)
        elif kind == 1:
            table = table.append_column(random.choice((name, "extra")), column)
        elif kind == 2:
            table = table.take([random.randrange(len(table)) for _ in range(len(table))])
        elif kind == 3:
            other = random.choice((pa.string(), pa.int64(), pa.float64(), pa.binary(), pa.null()))
            values = [random.choice((None, "x", 1, -1, 2**40, b"\xff")) for _ in range(len(table))]
            values = [value if _fits(value, other) else None for value in values]
            table = table.set_column(number, name, pa.array(values, other))
        else:
            values = column.to_pylist()
            for row in range(len(values)):
                if random.random() < 0.7:
                    values[row] = _other(values[row], random)
            try:
                table = table.set_column(number, name, pa.array(values, column.type))
            except (pa.ArrowException, OverflowError, TypeError, ValueError):
                continue  # the column cannot hold that
    sink = io.BytesIO()
    compression = random.choice(("none", "none", "zstd", "snappy"))
    pq.write_table(table, sink, compression=compression, write_page_checksum=random.random() < 0.5)
    return sink.getvalue()


def _fits(value: Any, kind: pa.DataType) -> bool:
    try:
        pa.scalar(value, kind)
    except (pa.ArrowException, TypeError, ValueError):
        return False
    return True


def _other(value: Any, random: random.Random) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return random.choice((-1, 0, 1, value + 1, -value, 2**31 - 1, 2**62, -(2**63)))
    if isinstance(value, float):
        return random.choice((float("nan"), float("inf"), -1.0, 1e308))
    if isinstance(value, str):
        return random.choice(
            ("", "same", value + "@left", "\x1b[2J", "../../x", "a\x00b", "y" * 999)
        )
    if isinstance(value, list):
        return random.choice(([], value * 2, value[:-1], [None]))
    return None


def _hostile(random: random.Random) -> Any:
    """A value of its own: what is put in is changed further."""
    return json.loads(json.dumps(random.choice(HOSTILE_VALUES)))
