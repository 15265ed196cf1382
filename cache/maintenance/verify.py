"""Is every byte of a store what was written? Digests first, parsing after, checksums last.

Token files are never given to a format's library here: most bit flips in a format's own metadata
change nothing readable and raise nothing, and on the rest a parser may crash. Their digests tell.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

from stepcli.cache.maintenance.identity import FOREIGN, copy_in_part, identity_of
from stepcli.cache.parts.commit import INDEX, PARTS, RECORD, list_parts, read_part_record
from stepcli.cache.parts.files import wrong_file
from stepcli.cache.parts.index import INDEX_LIMIT, decode_index
from stepcli.cache.parts.record import PartRecord
from stepcli.cache.parts.scan import part_clips
from stepcli.cache.parts.tombstones import check_tombstone, tombstone_files
from stepcli.cache.schema.manifest import FILE_NAME, Manifest, read_manifest
from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.storage.path import Location, StoragePath
from stepcli.cache.storage.places import place_of
from stepcli.cache.store.derived_files import derived_files, read_derived
from stepcli.cache.tables import changes as tables
from stepcli.cache.tables import table_versions
from stepcli.cache.tables.failures import failure_files, parse_failures
from stepcli.cache.tables.texts import FOLDER as TEXTS
from stepcli.cache.tables.texts import wrong_texts
from stepcli.runtime.errors import DamagedStore, StorageError, StoreError, StoreNotFound


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it was written."""

    place: str
    """Path below the store."""
    problem: str
    part: str = ""
    """The damaged part, "" when it is none."""
    clips: tuple[str, ...] = ()
    """Clips whose tokens are damaged or cannot be reached."""
    unread: bool = False
    """It could not be read, so nothing is known: no reason to touch it."""


@dataclass
class VerifyReport:
    """What `verify_store` found."""

    parts: int = 0
    clips: int = 0
    """Copies of clips in all parts."""
    bytes: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Everything was read and is as written."""
        return not self.problems

    @property
    def unread(self) -> list[Problem]:
        """What could not be read."""
        return [problem for problem in self.problems if problem.unread]

    @property
    def damaged_clips(self) -> list[str]:
        """Ids of the clips named in any problem, sorted."""
        return sorted({clip for problem in self.problems for clip in problem.clips})


@dataclass
class _PartResult:
    clips: int = 0
    bytes: int = 0
    problems: list[Problem] = field(default_factory=list)
    foreign: list[Problem] = field(default_factory=list)
    """That the part belongs to another store."""
    gone: bool = False
    """The part was taken away since it was listed: nothing that was seen of it counts."""


def verify_store(
    path: Location,
    *,
    workers: int = 4,
    on_part: Callable[[int, int], None] | None = None,
    manifest: Manifest | None = None,
) -> VerifyReport:
    """Check every file of a store.

    Args:
        path: the store's folder or URL.
        workers: parts checked at the same time.
        on_part: called with (parts done, parts in all).
        manifest: what the parts are compared with; None: the store's own.

    Raises:
        StoreNotFound: there is no store at all.
    """
    root = place_of(path)
    names = list_parts(root)
    report = VerifyReport()
    try:
        manifest = manifest or read_manifest(root)
    except StoreNotFound:
        if not names:
            raise
        report.problems.append(Problem(FILE_NAME, "missing"))
    except StoreError as error:
        report.problems.append(_told(FILE_NAME, error))
    foreign: list[Problem] = []
    seen: set[str] = set()
    with ThreadPoolExecutor(max_workers=workers) as pool:
        while names:
            seen.update(names)
            results = pool.map(lambda name: _verify_part(root, name, manifest), names)
            gone = 0
            for done, result in enumerate(results, 1 + len(seen) - len(names)):
                gone += result.gone
                report.clips += result.clips
                report.bytes += result.bytes
                report.problems += result.problems
                foreign += result.foreign
                if on_part is not None:
                    on_part(done, len(seen))
            report.parts += len(names) - gone
            # What was compacted away is in parts that were not listed yet.
            names = [name for name in list_parts(root) if name not in seen] if gone else []
    # Where all are of another store, it is the manifest that does not belong here.
    all_foreign = foreign and len(foreign) == report.parts
    report.problems += [Problem(FILE_NAME, FOREIGN)] if all_foreign else foreign
    report.problems += _verify_tables(root)
    return report


def _verify_part(root: StoragePath, name: str, manifest: Manifest | None) -> _PartResult:
    result = _PartResult()
    try:
        _check_part(root, name, manifest, result)
    except FileNotFoundError as error:
        if not result.problems:  # else the problem is reported already
            result.problems.append(Problem(f"{PARTS}/{name}", f"{error.filename}: missing", name))
    except (StoreError, OSError, MemoryError) as error:
        result.problems.append(_told(f"{PARTS}/{name}", error, name))
    try:
        if (result.problems or not result.clips) and name not in list_parts(root):
            return _PartResult(gone=True)
    except StoreError as error:
        result.problems.append(_told(PARTS, error, name))
    return result


def _told(place: str, error: Exception, part: str = "") -> Problem:
    """Only what was read and found wrong is damage; any other error says nothing of the bytes."""
    text = str(error) or type(error).__name__
    return Problem(place, text, part, unread=not isinstance(error, DamagedStore))


def _check_part(
    root: StoragePath, name: str, manifest: Manifest | None, result: _PartResult
) -> None:
    folder = root / PARTS / name

    def problem(path: str, text: str, clips: tuple[str, ...] = ()) -> None:
        result.problems.append(Problem(f"{PARTS}/{name}/{path}", text, name, clips))

    try:
        record = read_part_record(root, name)
    except FileNotFoundError:
        problem(RECORD, "missing")
        return
    except DamagedStore as error:
        problem(RECORD, str(error))
        return
    result.clips = record.clips
    found = {*folder.names()}
    for stray in sorted(found - record.files.keys() - {RECORD}):
        problem(stray, "not a file of this part")
    for path, expected in sorted(record.files.items()):
        # A hostile record must not name files outside the part.
        text = wrong_file(folder / path, expected) if path in found else "missing"
        if text:
            problem(path, text)
        result.bytes += expected.size
    if manifest is None:
        return
    copy = copy_in_part(root, name, record)
    theirs = (record.format, record.spec_digest)
    mine = identity_of(manifest)
    if theirs != mine[1:] or (copy is not None and identity_of(copy) != mine):
        text = "written for another store: of another spec, format or data set"
        result.foreign.append(Problem(f"{PARTS}/{name}/{RECORD}", text, name))
    else:
        for text, clips in _wrong_clips(root, record, manifest):
            problem("", text, clips)


def _wrong_clips(
    root: StoragePath, record: PartRecord, manifest: Manifest
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Clips of a part whose bytes do not match their checksums."""
    folder = root / PARTS / record.name
    try:
        data = (folder / INDEX).read(INDEX_LIMIT)
        listed = record.files.get(INDEX)
        if listed is None or hashlib.sha256(data).hexdigest() != listed.sha256:
            return  # said already, and what an index says that is damaged counts for nothing
        table = decode_index(data, record.clips, part_layout(manifest.spec), folder / INDEX)
        with closing(part_clips(root, record.name, manifest, table)) as clips:
            damaged = tuple(clip.record.id for clip in clips if not clip.intact)
    except DamagedStore as error:
        yield str(error), ()
        return
    if damaged:
        yield f"{len(damaged)} of {record.clips} clips are damaged", damaged


def _below(root: StoragePath, path: StoragePath) -> str:
    return str(path).removeprefix(f"{root}/")


def _check_failures(path: StoragePath) -> None:
    for _ in parse_failures(path.read(INDEX_LIMIT), path):
        pass


def _verify_tables(root: StoragePath) -> Iterator[Problem]:
    for wrong in (tables.wrong_tables, wrong_texts):
        try:
            for name, text in wrong(root):
                yield Problem(name, text)
        except StorageError as error:
            yield _told(tables.CLIPS if wrong is tables.wrong_tables else TEXTS, error)
    versions = (root / table_versions.FOLDER / name for name in table_versions.version_names(root))
    for check, paths in (
        (check_tombstone, tombstone_files(root)),
        (read_derived, derived_files(root)),
        (lambda path: table_versions.read_version(root, path.name), versions),
        (_check_failures, failure_files(root)),
    ):
        for path in paths:
            try:
                check(path)
            except FileNotFoundError:
                continue  # replaced or taken away meanwhile, by a user, a newer one or a repair
            except StoreError as error:
                yield _told(_below(root, path), error)
