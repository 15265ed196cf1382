"""How much a Parquet file will unpack to, found out before any library is asked to.

pyarrow ends the whole process on some damaged footers when their columns are looked at from Python
(an uncaught exception: "Definition level histogram size mismatch"), and believes what a
page says about its size. So the footer and the page headers are read here: they are Thrift structs
in the compact protocol, of which only integers matter.

Source: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift and
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from dataclasses import dataclass
from typing import Any

MAGIC = b"PAR1"
DEEPEST = 16
"""Structs and lists within each other; Parquet's own go to 10."""

_TRUE, _FALSE, _BYTE = 1, 2, 3
_INTEGERS = (4, 5, 6)
_DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 7, 8, 9, 10, 11, 12


@dataclass(frozen=True)
class Extent:
    """What a file claims to hold, footer and pages agreeing."""

    rows: int
    most_values: int
    """Of any column: rows, or more for lists."""
    unpacked_bytes: int
    """Of all pages, uncompressed."""
    compressed: bool


def measure(data: bytes) -> Extent:
    """Read a file's footer and all its page headers.

    Raises:
        ValueError: they are not such, or contradict each other.
    """
    if len(data) < 12 or data[:4] != MAGIC or data[-4:] != MAGIC:
        raise ValueError("not a Parquet file")
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    if start < 4:
        raise ValueError("its footer is longer than the file")
    footer = _Thrift(data, start, len(data) - 8).struct()
    values: dict[int, int] = {}
    unpacked = 0
    compressed = False
    for group in _structs(footer.get(4, [])):
        for number, chunk in enumerate(_structs(group.get(1))):
            column = chunk.get(3)
            if not isinstance(column, dict) or 1 in chunk:
                raise ValueError("a column without metadata, or in another file")
            compressed |= _integer(column, 4) != 0
            count, size = _pages(data, column, start)
            if count != _integer(column, 5):
                raise ValueError("pages and footer disagree about the number of values")
            values[number] = values.get(number, 0) + count
            unpacked += size
    return Extent(_integer(footer, 3), max(values.values(), default=0), unpacked, compressed)


def _pages(data: bytes, column: dict[int, Any], limit: int) -> tuple[int, int]:
    """Values and uncompressed bytes in the pages of a column chunk."""
    # A dictionary page comes first; a column without rows has no other, and 0 for the data's place.
    places = [_integer(column, key) for key in (9, 11) if column.get(key)]
    first = min(places, default=_integer(column, 9))
    end = first + _integer(column, 7)
    if end > limit:
        raise ValueError("a column ends beyond the pages")
    position, values, unpacked = first, 0, 0
    while position < end:
        reader = _Thrift(data, position, end)
        header = reader.struct()
        unpacked += _integer(header, 2)
        for kind in (5, 8):  # data page, version 1 or 2
            if kind in header:
                if not isinstance(header[kind], dict):
                    raise ValueError("a page header that is none")
                values += _integer(header[kind], 1)
        position = reader.position + _integer(header, 3)
    if position != end:
        raise ValueError("a page ends beyond its column")
    return values, unpacked


def _integer(struct: dict[int, Any], key: int) -> int:
    value = struct.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"field {key} should be a count, found {value!r}")
    return value


def _structs(value: Any) -> list[dict[int, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError("expected a list of structs")
    return value


class _Thrift:
    """Reads one struct of the compact protocol into a dict by field number."""

    def __init__(self, data: bytes, position: int, end: int) -> None:
        self._data = data
        self.position = position
        self._end = end

    def struct(self, depth: int = 0) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while kind := self._byte():
            number = number + (kind >> 4) if kind >> 4 else self._zigzag()
            fields[number] = self._value(kind & 15, depth, in_list=False)
        return fields

    def _value(self, kind: int, depth: int, *, in_list: bool) -> Any:
        if depth > DEEPEST:
            raise ValueError("values nested too deep")
        if kind in (_TRUE, _FALSE):
            return self._byte() == _TRUE if in_list else kind == _TRUE
        if kind == _BYTE:
            return self._byte()
        if kind in _INTEGERS:
            return self._zigzag()
        if kind == _DOUBLE:
            return self._take(8)
        if kind == _BINARY:
            return self._take(self._varint())
        if kind in (_LIST, _SET):
            head = self._byte()
            count = head >> 4 if head >> 4 != 15 else self._varint()
            self._require(count)  # an element takes a byte at least
            return [self._value(head & 15, depth + 1, in_list=True) for _ in range(count)]
        if kind == _MAP and (count := self._varint()) == 0:
            return {}
        if kind == _STRUCT:
            return self.struct(depth + 1)
        raise ValueError(f"a Thrift type {kind} where none belongs")

    def _byte(self) -> int:
        return self._take(1)[0]

    def _take(self, count: int) -> bytes:
        self._require(count)
        self.position += count
        return self._data[self.position - count : self.position]

    def _require(self, count: int) -> None:
        if count > self._end - self.position:
            raise ValueError("ends in the middle of a value")

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("an integer of more than 64 bits")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
