"""Whether an H.264 stream may hold single fields: then two packets can make one frame."""

from collections.abc import Iterator

SEQUENCE = 7
"""nal_unit_type of a sequence parameter set."""

_WITH_CHROMA_FORMAT = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


def may_have_fields(extradata: bytes) -> bool:
    """What the sequence parameter sets of a file say; True where there are none to be read.

    Args:
        extradata: an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1), as MP4 and
            Matroska hold it, or NAL units between start codes (H.264, annex B), as MPEG-TS does.
    """
    try:
        sets = list(_parameter_sets(extradata))
        return not sets or not all(map(_is_frames_only, sets))
    except IndexError:
        return True


def _parameter_sets(record: bytes) -> Iterator[bytes]:
    if record.startswith((b"\0\0\1", b"\0\0\0\1")):
        for unit in record.split(b"\0\0\1")[1:]:
            if unit[0] & 0x1F == SEQUENCE:
                yield _plain(unit[1:])
        return
    if record[0] != 1:
        return
    place = 6
    for _ in range(record[5] & 0x1F):
        size = int.from_bytes(record[place : place + 2], "big")
        yield _plain(record[place + 3 : place + 2 + size])
        place += 2 + size


def _plain(unit: bytes) -> bytes:
    """Without the bytes that keep start codes out of it."""
    return unit.replace(b"\0\0\3", b"\0\0")


def _is_frames_only(sps: bytes) -> bool:
    """frame_mbs_only_flag of a sequence parameter set (H.264, 7.3.2.1.1)."""
    bits = _Bits(sps)
    profile = bits.take(8)
    bits.take(16)
    bits.number()
    if profile in _WITH_CHROMA_FORMAT:
        chroma = bits.number()
        if chroma == 3:
            bits.take(1)
        bits.number()
        bits.number()
        bits.take(1)
        if bits.take(1):
            for index in range(12 if chroma == 3 else 8):
                if bits.take(1):
                    bits.skip_scaling_list(16 if index < 6 else 64)
    bits.number()
    kind = bits.number()
    if kind == 0:
        bits.number()
    elif kind == 1:
        bits.take(1)
        bits.number()
        bits.number()
        for _ in range(bits.number()):
            bits.number()
    bits.number()
    bits.take(1)
    bits.number()
    bits.number()
    return bool(bits.take(1))


class _Bits:
    """Bits from the most significant on; IndexError at the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def take(self, count: int) -> int:
        """An unsigned number of `count` bits."""
        value = 0
        for _ in range(count):
            byte = self._data[self._place >> 3]
            value = value << 1 | byte >> (7 - (self._place & 7)) & 1
            self._place += 1
        return value

    def number(self) -> int:
        """An unsigned Exp-Golomb number, ue(v); a signed one takes the same bits."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def skip_scaling_list(self, size: int) -> None:
        """7.3.2.1.1.1; signed numbers are mapped as in 9.1.1."""
        last = following = 8
        for _ in range(size):
            if following:
                code = self.number()
                delta = (code + 1) // 2 if code % 2 else -(code // 2)
                following = (last + delta) % 256
            last = following or last
