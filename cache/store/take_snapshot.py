"""Look at a store: which parts are there, and where each clip lies."""

import pyarrow as pa

from stepcli.cache.parts.commit import list_parts
from stepcli.cache.schema.manifest import Manifest
from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.store.consolidated import load_consolidated, save_consolidated
from stepcli.cache.store.consolidated_records import load_records, save_records
from stepcli.cache.store.derived_files import FEWEST_PARTS, pays_to_save
from stepcli.cache.store.snapshot import Snapshot, combine, read_index
from stepcli.runtime.errors import DamagedStore


def take_snapshot(root: StoragePath, manifest: Manifest, *, save: bool) -> Snapshot:
    """Read the indexes of all committed parts that the consolidated index does not cover.

    Args:
        root: the store.
        manifest: its own.
        save: whether to write the consolidated files for the next, where there is much to save.

    Raises:
        DamagedStore: an index or a part's record is not what was written.
    """
    read: dict[str, pa.Table] = {}
    missed = ""
    while True:
        names = list_parts(root)
        large = len(names) >= FEWEST_PARTS
        known = load_consolidated(root, manifest, names) if large else None
        covered = set(known.parts) if known is not None else set()
        if known is not None and len(covered) == len(names):
            return known
        left = [name for name in names if name not in covered]
        try:
            for name in left:
                if name not in read:
                    read[name] = read_index(root, name, manifest)
        except FileNotFoundError as error:
            if name == missed and name in list_parts(root):
                raise DamagedStore(
                    f"{error.filename}: this file of a committed part is missing; run stepcli "
                    "store verify, then repair"
                ) from None
            missed = name
            continue  # compacted since it was listed: its clips are in a part not listed yet
        tables = {name: read[name] for name in left}
        snapshot = combine(names, tables, part_layout(manifest.spec), known)
        if save and pays_to_save(len(left), len(names)):
            save_consolidated(root, manifest, snapshot)
            save_records(root, manifest, names, tables, load_records(root, manifest, names))
        return snapshot
