"""The digest that a second thread takes while a file is written is the file's, whatever happens."""

from pathlib import Path

import numpy as np
import pytest

from stepcli.cache.parts.file_record import hash_file
from stepcli.cache.parts.stream import TokenStream

CLIP = np.arange(1000, dtype=np.uint8)


@pytest.mark.parametrize("flush_bytes", [1, 1 << 30])
@pytest.mark.parametrize("head", [b"", b"head"])
@pytest.mark.parametrize("final_head", [b"head", b"HEAD"])
@pytest.mark.parametrize("torn", [None, 0, 7])
@pytest.mark.parametrize("kept", [20, 19, 3])
def test_digest_of_a_followed_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flush_bytes: int,
    head: bytes,
    final_head: bytes,
    torn: int | None,
    kept: int,
) -> None:
    monkeypatch.setattr("stepcli.cache.parts.stream.FLUSH_BYTES", flush_bytes)
    stream = TokenStream(tmp_path / "file", head)
    for number in range(20):
        if number == torn:
            stream.write(np.zeros_like(CLIP).data, number * CLIP.size)
        stream.write((CLIP + number).data, number * CLIP.size)
    final = final_head if head else b""
    record = stream.finish(kept * CLIP.size, b"tail", final)
    body = b"".join((CLIP + number).tobytes() for number in range(kept))
    assert (tmp_path / "file").read_bytes() == final + body + b"tail"
    assert record == hash_file(tmp_path / "file")


def test_closing_without_finishing_stops_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepcli.cache.parts.stream.FLUSH_BYTES", 1)
    stream = TokenStream(tmp_path / "file")
    stream.write(CLIP.data, 0)
    stream.close()
    stream.close()
    assert (tmp_path / "file").stat().st_size == CLIP.size
