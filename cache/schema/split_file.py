"""A split file: which clip is in which split, in place of the store's own splits."""

import hashlib
from collections.abc import Collection
from pathlib import Path

from stepcli.cache.schema.matching import match_ids
from stepcli.cache.schema.split_names import normalise_split, split_notes
from stepcli.runtime.csv_tables import LARGEST, read_csv
from stepcli.runtime.errors import UsageError
from stepcli.runtime.files import read_regular
from stepcli.runtime.words import counted


def match_splits(
    path: Path, known: Collection[str], digest: str | None = None
) -> tuple[dict[str, str], list[str]]:
    """Clip of the store to normalised split, and notes on what in the file fits nothing.

    Args:
        path: CSV file with the columns clip and split.
        known: ids of the store's clips, without views.
        digest: sha256 that the file must have; None: any.

    Raises:
        UsageError: the file is missing, has changed, is not such a table, names a clip twice or
            none of the store's.
    """
    if digest is not None and hashlib.sha256(_content(path)).hexdigest() != digest:
        raise UsageError(
            f"--split-file {path}: the file has changed since the run was configured (expected "
            f"sha256 {digest[:12]}...); restore it, or train again"
        )
    rows = read_csv(path, ("clip", "split"))
    names, notes = match_ids(path, [row["clip"] for row in rows], known)
    found = [
        (name, row["split"]) for name, row in zip(names, rows, strict=True) if name is not None
    ]
    notes += [f"{path}: {note}" for note in split_notes(split for _, split in found)]
    if blank := sum(not split for _, split in found):
        notes.append(
            f"{path}: {counted(blank, 'clip')} with a blank split, not trained or tested on"
        )
    if absent := len(known) - len(found):
        notes.append(
            f"{path}: {absent:,} of {counted(len(known), 'clip')} of the store are not listed, so "
            "not trained or tested on"
        )
    return {name: normalise_split(split) for name, split in found}, notes


def _content(path: Path) -> bytes:
    try:
        return read_regular(path.resolve(), LARGEST)
    except OSError as error:
        raise UsageError(f"--split-file {path}: expected a CSV file, got: {error}") from None
