"""Compare the manifest with the copies that the parts carry."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from stepcli.cache.parts.commit import PARTS, list_parts, read_part_record
from stepcli.cache.parts.index import INDEX_LIMIT
from stepcli.cache.parts.record import PartRecord
from stepcli.cache.schema.manifest import FILE_NAME, Manifest, parse_manifest, read_manifest
from stepcli.cache.storage.path import StoragePath
from stepcli.runtime.errors import DamagedStore, StoreError, StoreNotFound

Identity = tuple[str, str, str]
"""Data set, format and digest of the spec: parts of one store agree in these."""
_AT_ONCE = 8
_NAMED = 3
"""Parts named in an error, of each kind."""


def identity_of(manifest: Manifest) -> Identity:
    """What a manifest and the parts written for it agree in."""
    return manifest.dataset, manifest.format, manifest.spec_digest


def copy_in_part(root: StoragePath, name: str, record: PartRecord | None) -> Manifest | None:
    """A part's copy of the manifest; None where it has no whole one.

    Args:
        root: the store.
        name: the part's.
        record: the part's; None where it is damaged, so that only its own digest confirms the copy.

    Raises:
        StoreError: it could not be read, or a newer stepcli wrote it.
    """
    path = root / PARTS / name / FILE_NAME
    try:
        data = path.read(INDEX_LIMIT)
        if record is None:
            return parse_manifest(data, path)
        listed = record.files.get(FILE_NAME)
        if listed is None or hashlib.sha256(data).hexdigest() != listed.sha256:
            return None
        manifest = parse_manifest(data, path)
    except (FileNotFoundError, DamagedStore):
        return None
    same = (manifest.format, manifest.spec_digest) == (record.format, record.spec_digest)
    return manifest if same else None


@dataclass
class _Copies:
    manifests: dict[Identity, Manifest]
    parts: dict[Identity, list[str]]
    unread: list[StoreError]


def settled_manifest(root: StoragePath) -> tuple[Manifest, str]:
    """The manifest that the parts agree on, and what is wrong with the store's own, "" if nothing.

    Raises:
        StoreNotFound: there is no store at all.
        DamagedStore: the parts do not agree, or the manifest is damaged and no part has a copy.
        StorageError: what decides could not be read.
    """
    found: Manifest | None = None
    names = list_parts(root)
    try:
        found, reason = read_manifest(root), ""
    except StoreNotFound as error:
        if not names:
            raise
        reason = str(error)
    except DamagedStore as error:
        reason = str(error)
    copies = _copies(root, names)
    if found is not None and copies.manifests.keys() <= {identity_of(found)}:
        return found, ""
    if copies.unread:
        raise copies.unread[0]
    if not copies.manifests:
        raise DamagedStore(
            f"{root / FILE_NAME} is damaged and no part has a whole copy of it; put it back from a "
            "backup, or extract into another --store"
        )
    if len(copies.manifests) > 1:
        raise DamagedStore(
            f"{root}: its parts are of several stores: {_listed(copies.parts)}; nothing was "
            f"changed: move those that do not belong here out of {root / PARTS}, then repair again"
        )
    (manifest,) = copies.manifests.values()
    return manifest, reason or FOREIGN


FOREIGN = "of another store: all parts were written for another manifest"


def _copies(root: StoragePath, names: Sequence[str]) -> _Copies:
    copies = _Copies({}, {}, [])

    def look(name: str) -> Manifest | StoreError | None:
        try:
            try:
                record = read_part_record(root, name)
            except (FileNotFoundError, DamagedStore):
                record = None
            return copy_in_part(root, name, record)
        except StoreError as error:
            return error

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for name, found in zip(names, pool.map(look, names), strict=True):
            if isinstance(found, Manifest):
                copies.manifests.setdefault(identity_of(found), found)
                copies.parts.setdefault(identity_of(found), []).append(name)
            elif found is not None:
                copies.unread.append(found)
    return copies


def _listed(parts: dict[Identity, list[str]]) -> str:
    texts = []
    for (dataset, form, digest), names in parts.items():
        more = ", ..." if len(names) > _NAMED else ""
        texts.append(
            f"{len(names)} of data set {dataset}, {form}, spec {digest[:12]} "
            f"({', '.join(names[:_NAMED])}{more})"
        )
    return "; ".join(texts)
