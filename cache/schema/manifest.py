"""manifest.json: what a store is. Created once, exclusively, and never changed."""

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.storage.path import Location, StoragePath
from stepcli.runtime.errors import DamagedStore, StoreError, StoreNotFound
from stepcli.runtime.sealed_json import SEALED_LIMIT, seal, unseal

SCHEMA = 1
"""Number of the layout on disk; readers read this one and all older ones."""
FILE_NAME = "manifest.json"

Format = Literal["zarr", "hdf5"]


class Manifest(BaseModel):
    """Identity of a store. Its spec never changes; parts of another spec are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["stepcli feature store"] = "stepcli feature store"
    schema_number: int = SCHEMA
    dataset: str
    format: Format
    spec: StoreSpec
    spec_digest: str


def create_manifest(root: StoragePath, spec: StoreSpec, dataset: str, form: Format) -> bool:
    """Create the store's manifest; False when another writer was first."""
    path = root / FILE_NAME
    if _is_written(path):
        return False
    manifest = Manifest(dataset=dataset, format=form, spec=spec, spec_digest=spec.digest)
    content = manifest_bytes(manifest)
    # Without hard links a file is created by claiming its name and then filling it. Under the
    # lock an empty manifest is what a killed writer left, never one that is about to be filled.
    with root.exclusive():
        if path.create(content):
            return True
        if not _is_none(root):
            return False
        path.write(content)
        return True


def _is_written(path: StoragePath) -> bool:
    """Whether there is a manifest that is not empty, whatever it says."""
    try:
        return bool(path.read(SEALED_LIMIT))
    except FileNotFoundError:
        return False
    except DamagedStore:
        return True


def _is_none(root: StoragePath) -> bool:
    """Whether the manifest is an empty file and the store has no part: then there is no store."""
    try:
        empty = not (root / FILE_NAME).read(SEALED_LIMIT)
    except (FileNotFoundError, DamagedStore):
        return False
    return empty and not (root / "parts").child_names()


def manifest_bytes(manifest: Manifest) -> bytes:
    """The one spelling of a manifest; every part carries a copy, to restore the store's from."""
    return seal(manifest.model_dump(mode="json"))


def read_manifest(root: StoragePath) -> Manifest:
    """Read and check a store's manifest.

    Raises:
        StoreNotFound: there is no manifest in `root`.
        DamagedStore: its bytes are not those that were written.
        StoreError: a newer stepcli wrote it.
    """
    path = root / FILE_NAME
    try:
        data = path.read(SEALED_LIMIT)
        if not data and _is_none(root):
            raise FileNotFoundError
    except (FileNotFoundError, NotADirectoryError):
        lost = (root / "parts").is_there()
        advice = (
            f"`stepcli store repair --store {root}` restores it from its parts"
            if lost
            else "give the store's folder, or make one with stepcli extract"
        )
        raise StoreNotFound(
            f"no feature store at {root}: it has no {FILE_NAME}; {advice}"
        ) from None
    try:
        return parse_manifest(data, path)
    except DamagedStore as error:
        raise DamagedStore(
            f"{error}; `stepcli store repair --store {root}` restores it from its parts"
        ) from error


def unseal_known(data: bytes, place: Location) -> dict[str, Any]:
    """The content of a sealed file of a store.

    Raises:
        DamagedStore: the bytes are not those that were written.
        StoreError: a later version wrote them.
    """
    content = unseal(data, place)
    number = content.get("schema_number")
    if isinstance(number, int) and number > SCHEMA:
        raise StoreError(
            f"{place} has schema {number}, this stepcli reads up to {SCHEMA}; upgrade stepcli"
        )
    return content


def parse_manifest(data: bytes, place: Location) -> Manifest:
    """Check the bytes of a manifest and return what they say."""
    content = unseal_known(data, place)
    try:
        # Through JSON: only there may strict mode read a list as the tuple that it was.
        manifest = Manifest.model_validate_json(json.dumps(content))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(step) for step in first["loc"])
        raise DamagedStore(f"{place}: field {field}: {first['msg']}") from error
    if manifest.spec.digest != manifest.spec_digest:
        raise DamagedStore(f"{place}: spec_digest is not the digest of its spec")
    return manifest
