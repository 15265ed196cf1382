"""Size and digest of one file: what part.json says of each file of a part."""

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class FileRecord(BaseModel):
    """Size and content of one file of a part."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    size: int = Field(ge=0)
    """Bytes."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @classmethod
    def of_bytes(cls, data: bytes) -> "FileRecord":
        """The record of a file with this content."""
        return cls(size=len(data), sha256=hashlib.sha256(data).hexdigest())


def hash_file(path: Path, block: int = 1 << 20) -> FileRecord:
    """Size and sha256 of a file, read in blocks."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        buffer = memoryview(bytearray(block))
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            size += count
    return FileRecord(size=size, sha256=digest.hexdigest())
