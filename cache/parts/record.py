"""part.json: what a whole part consists of, file by file."""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from stepcli.cache.parts.file_record import FileRecord
from stepcli.cache.schema.manifest import SCHEMA, Format, unseal_known
from stepcli.cache.schema.spec import Producer
from stepcli.cache.storage.path import Location
from stepcli.runtime.errors import DamagedStore

CLIPS_LIMIT = 1 << 24
"""No part holds more clips; a record that claims more is damaged."""

_FILE = re.compile(r"(?:[a-z][a-z_.]{0,40}/){0,2}[a-z][a-z0-9_.]{0,40}")
"""No ".." and nothing absolute: a path cannot leave its part."""


def is_part_file(path: str) -> bool:
    """Whether a file of a part may have that path below the part's folder."""
    return _FILE.fullmatch(path) is not None


class PartRecord(BaseModel):
    """part.json: what a whole part consists of. Written last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_number: int = Field(default=SCHEMA, ge=1, le=SCHEMA)
    name: str
    format: Format
    spec_digest: str
    clips: int = Field(ge=1, le=CLIPS_LIMIT)
    files: dict[str, FileRecord]
    """By path below the part's folder, "/" between folders."""
    compression: Literal["none", "zstd", "gzip"] = "none"
    """Of the tokens; earlier versions could write other values than "none"."""

    @field_validator("files")
    @classmethod
    def _stay_in_the_part(cls, files: dict[str, FileRecord]) -> dict[str, FileRecord]:
        for path in files:
            if not is_part_file(path):
                raise ValueError(f"{path!r} is no file of a part")
        return files

    producer: Producer
    created: str
    """When, in UTC, as ISO 8601."""


def parse_part_record(data: bytes, place: Location) -> PartRecord:
    """Check the bytes of a part.json and return what they say."""
    content = unseal_known(data, place)
    try:
        return PartRecord.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(step) for step in first["loc"])
        raise DamagedStore(f"{place}: field {field}: {first['msg']}") from error
