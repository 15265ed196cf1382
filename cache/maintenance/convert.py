"""Copy a store into another format or dtype. Killed and started again, it resumes."""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from stepcli.cache.maintenance.segments import add_segments
from stepcli.cache.parts.commit import read_part_record
from stepcli.cache.parts.scan import StoredClip, intact_clips
from stepcli.cache.schema.clips import Failure
from stepcli.cache.schema.manifest import Format, read_manifest
from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.schema.quantize import decode_clips
from stepcli.cache.schema.spec import Dtype, Producer, StoreSpec
from stepcli.cache.storage.path import Location
from stepcli.cache.storage.places import place_of
from stepcli.cache.store.snapshot import read_index
from stepcli.cache.store.store import Store, create_store, open_store
from stepcli.cache.store.writer import StoreWriter
from stepcli.cache.tables.texts import copy_texts
from stepcli.runtime.errors import DamagedStore, StoreNotFound, TokensError, UsageError


@dataclass
class ConvertPlan:
    """What a conversion does, or did."""

    source: str
    target: str
    format: str
    dtype: str
    clips: int
    """To be written; those that the target holds already are not counted."""
    bytes: int
    """Their tokens' size in the target."""
    quarantined: int = 0
    """Clips whose values the dtype cannot hold."""


def convert_store(
    source: Location,
    target: Location,
    *,
    form: Format | None = None,
    dtype: Dtype | None = None,
    part_bytes: int = 1 << 30,
    part_clips: int = 4096,
    dry_run: bool = False,
    on_clip: Callable[[int, int], None] | None = None,
) -> ConvertPlan:
    """Write every clip of `source` to `target`; either may be a folder or a URL.

    With the dtype unchanged the bytes of every clip are, and so the store's fingerprint. Clips
    that another dtype cannot hold go to the target's quarantine.

    Args:
        source: store to read.
        target: store to make, or to go on with.
        form: "zarr" or "hdf5"; None: the source's.
        dtype: of the target; None: the source's.
        part_bytes: size at which a part closes.
        part_clips: number of clips at which a part closes.
        dry_run: only say what would be done.
        on_clip: called with (clips done, clips in all).

    Raises:
        SpecMismatch: `target` is there and was not made from such a store.
        DamagedStore: a clip of the source does not match its checksum.
    """
    reading = open_store(source)
    spec = StoreSpec.model_validate({**dict(reading.spec), "dtype": dtype or reading.spec.dtype})
    form = form or reading.format
    if reading.path.location == place_of(target).location:
        raise UsageError(f"{target}: a store cannot be converted in place; give another folder")
    done: set[str] = set()
    writing = None
    if not dry_run or _is_store(target):
        writing = create_store(target, spec, dataset=reading.dataset, format=form)
        done = {*writing.ids, *writing.quarantined()}
    left = [clip for clip in reading.ids if clip not in done]
    size = part_layout(spec).clip_bytes
    plan = ConvertPlan(
        str(source),
        str(target),
        form,
        spec.dtype,
        clips=len(left),
        bytes=len(left) * size,
    )
    if writing is not None and not dry_run:
        writing.add_clips(reading.clips())
        add_segments(writing, reading.segments())
        writing.add_classes(reading.classes())
        copy_texts(reading.path, writing.path)
        writer = partial(writing.writer, part_bytes=part_bytes, part_clips=part_clips)
        plan.quarantined = _copy_all(reading, writing, left, writer, on_clip)
        writing.save_index()
    return plan


def _is_store(place: Location) -> bool:
    try:
        read_manifest(place_of(place))
    except StoreNotFound:
        return False
    return True


def _copy_all(
    reading: Store,
    writing: Store,
    left: list[str],
    new_writer: Callable[[Producer], StoreWriter],
    on_clip: Callable[[int, int], None] | None,
) -> int:
    """Copy the clips; where a compact takes parts of the source away meanwhile, look again."""
    tried: set[tuple[str, ...]] = set()
    done: set[str] = set()
    quarantined = 0
    while True:
        try:
            with closing(_copy(reading, writing, set(left) - done, new_writer)) as copied:
                for clip, stored in copied:
                    done.add(clip)
                    quarantined += not stored
                    if on_clip is not None:
                        on_clip(len(done), len(left))
        except FileNotFoundError as error:
            if reading.parts in tried:
                raise DamagedStore(
                    f"{error.filename or error}: this file of a committed part is missing; run "
                    "stepcli store verify, then repair"
                ) from None
            tried.add(reading.parts)
            reading.refresh()
            continue
        return quarantined


def _copy(
    reading: Store,
    writing: Store,
    left: set[str],
    new_writer: Callable[[Producer], StoreWriter],
) -> Generator[tuple[str, bool], None, None]:
    """Copy clips; each one's id, and whether it was stored, not quarantined."""
    snapshot = reading.snapshot
    for number, name in enumerate(snapshot.parts):
        places = (snapshot.part_of == number).nonzero()[0]
        rows = sorted(
            int(snapshot.row_of[place]) for place in places if snapshot.ids[place] in left
        )
        if not rows:
            continue
        producer = _producer(read_part_record(reading.path, name).producer, reading, writing)
        index = read_index(reading.path, name, reading.manifest)
        intact = closing(intact_clips(reading.path, name, reading.manifest, index, rows))
        with new_writer(producer) as writer, intact as clips:
            for clip in clips:
                yield clip.record.id, _write(clip, reading, writing, writer)


def _producer(made: Producer, reading: Store, writing: Store) -> Producer:
    if reading.spec.dtype == writing.spec.dtype:
        return made
    numerics = f"{made.numerics}; stored as {reading.spec.dtype}, then as {writing.spec.dtype}"
    return made.model_copy(update={"numerics": numerics})


def _write(clip: StoredClip, reading: Store, writing: Store, writer: StoreWriter) -> bool:
    """False when the clip went to quarantine."""
    if reading.spec.dtype == writing.spec.dtype:
        writer.add_stored(clip.record, clip.arrays)
        return True
    floats = decode_clips([array[None] for array in clip.arrays], part_layout(reading.spec))[0]
    try:
        writer.add(clip.record, floats)
    except TokensError as error:
        writer.quarantine(Failure(clip.record.id, clip.record.source, "TokensError", str(error)))
        return False
    return True
