"""Files of a store outside of its parts, made again from what else is there.

The manifest has a copy in every part, the tables have versions, a tombstone's name says all that
matters, a failure's line carries its own checksum. What nothing else tells is left to the user.
"""

import uuid

from stepcli.cache.parts.commit import TOMBSTONES, is_part_name, staging_owners
from stepcli.cache.parts.damaged import DAMAGED, move_aside
from stepcli.cache.parts.index import INDEX_LIMIT
from stepcli.cache.parts.tombstones import rewrite_tombstone
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.store.derived_files import FOLDER as CACHE
from stepcli.cache.tables import changes as tables
from stepcli.cache.tables import table_versions
from stepcli.cache.tables.failures import FOLDER as FAILURES
from stepcli.cache.tables.failures import intact_lines
from stepcli.cache.tables.texts import FOLDER as TEXT
from stepcli.cache.tables.texts import is_damaged, set_aside


def restore_file(root: StoragePath, place: str, *, dry_run: bool) -> str:
    """Make one damaged file outside of the parts again.

    Args:
        root: the store.
        place: the file's path below it, as `verify` names it.
        dry_run: only say what would be done.

    Returns:
        What was done; "" when nothing can be done.
    """
    path = root / place
    folder, _, name = place.rpartition("/")
    if folder in (CACHE, table_versions.FOLDER):
        if not dry_run:
            path.remove()
        return "deleted: it is only a copy"
    if folder == TOMBSTONES and is_part_name(name.removesuffix(".json")):
        if not dry_run:
            rewrite_tombstone(path)
        return "written again: the part stays out of use"
    if place.startswith(f"{TEXT}/"):
        return _mend_text(root, place.split("/")[1], dry_run)
    if folder == FAILURES:
        return _mend_failures(root, path, dry_run)
    if place in (tables.CLIPS, tables.CLASSES, tables.SEGMENTS):
        return _mend_table(root, place, dry_run)
    return ""


def _mend_text(root: StoragePath, tower: str, dry_run: bool) -> str:
    if not is_damaged(root, tower):
        return ""
    if not dry_run:
        set_aside(root, tower)
    return f"moved to {DAMAGED}: extract --text on the same store embeds the texts again"


def _mend_failures(root: StoragePath, path: StoragePath, dry_run: bool) -> str:
    writers = {owner.unique for owner, _ in staging_owners(root)}
    if path.name.partition(".")[0] in writers:
        return ""  # its writer is at work and would go on writing to the old file
    lines, lost = intact_lines(path.read(INDEX_LIMIT))
    if not dry_run:
        # Its writer may be at work all the same, without a part: it sees that its file was moved
        # and continues in a new one. What it wrote until then is in the file that was moved.
        fresh = root / FAILURES / f"{uuid.uuid4().hex}.jsonl"
        fresh.create(lines)
        moved = move_aside(root, f"{FAILURES}/{path.name}")
        latest, lost = intact_lines(moved.read(INDEX_LIMIT))
        if latest != lines:
            fresh.write(latest)
    return f"{lost} damaged lines dropped: those clips count as left"


def _mend_table(root: StoragePath, name: str, dry_run: bool) -> str:
    if tables.is_readable(root, name):
        return ""  # perhaps the user's own edit: not for us to undo
    accepted = tables.accepted_digests(root).get(name, [])
    content = table_versions.newest_intact(root, name, accepted)
    if content is None:
        return ""
    if not dry_run:
        tables.restore(root, name, content)
    return "restored from its last version"


def restore_digests(root: StoragePath, *, dry_run: bool) -> str:
    """Seal tables.json anew, for the tables as they are."""
    if not dry_run:
        tables.seal_digests(root)
    return "written again for the tables as they are"


def advice(root: StoragePath, place: str) -> str:
    """What a user can do about a file that could not be restored."""
    if place.partition("/")[0] == TEXT:
        return "remove it; extract --text on the same store embeds the texts again"
    if place == tables.SEGMENTS:
        return "write it again: stepcli store labels --segments"
    if place not in (tables.CLIPS, tables.CLASSES):
        return "put it back from a backup"
    option = "--from" if place == tables.CLIPS else "--classes"
    path = root / place
    versions = table_versions.version_names(root, place)
    back = f"{root / table_versions.FOLDER / versions[-1]}" if versions else "a backup"
    if tables.is_readable(root, place):
        return (
            f"to keep it as it is: stepcli store labels {option} {path}; to go back: "
            f"stepcli store labels {option} {back}"
        )
    return "delete it and run the same stepcli extract, which writes the data set's labels again"
