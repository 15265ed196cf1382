"""Change labels, splits, groups and views from a table that the user keeps."""

import csv
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow as pa

from stepcli.cache.schema.alike import alike_warning, composed
from stepcli.cache.schema.clips import ClassRow, ClipRow
from stepcli.cache.schema.label_sets import of_known
from stepcli.cache.schema.leakage import find_leakage
from stepcli.cache.schema.matching import match_ids
from stepcli.cache.schema.official_splits import official_names, split_in
from stepcli.cache.schema.split_names import normalise_split, split_notes, unused_splits
from stepcli.cache.storage.path import Location
from stepcli.cache.store.store import Store, open_store
from stepcli.cache.tables.changes import CLASSES, CLIPS, ROWS_LIMIT, parse_classes
from stepcli.runtime.csv_tables import WrongLines, read_csv
from stepcli.runtime.errors import DamagedStore, UsageError
from stepcli.runtime.files import disk_errors, read_regular
from stepcli.runtime.parquet_tables import LARGEST, read_parquet
from stepcli.runtime.sealed_json import SEALED_LIMIT
from stepcli.runtime.words import counted, listed

_COLUMNS = [column.name for column in fields(ClipRow)]


@dataclass
class RelabelPlan:
    """What a new table changes, or changed."""

    lines: int
    """Of the new table."""
    columns: list[str] = field(default_factory=list)
    """Those that it may change."""
    changed: dict[str, dict[str, str]] = field(default_factory=dict)
    """By clip: column to its new text."""
    blank: dict[str, int] = field(default_factory=dict)
    """By column: lines with an empty cell there, which empties the column for that clip."""
    notes: list[str] = field(default_factory=list)
    """What was read differently from how it is written, and splits that are not used."""
    alike: list[str] = field(default_factory=list)
    """Labels and groups that look alike after the change."""
    leakage: list[str] = field(default_factory=list)
    """What train and test share after the change."""


def relabel(root: Location, table: Path, *, dry_run: bool = False) -> RelabelPlan:
    """Take labels, splits, groups or views from a CSV or Parquet file into the clips table.

    Args:
        root: the store's folder.
        table: file with the column id and any of label, split, group, view; clips that it does
            not name stay as they are.
        dry_run: only say what would change.

    Raises:
        UsageError: no such columns, unknown clips, or clips named twice.
    """
    store = open_store(root)
    lines = list(read_lines(table))
    plan = RelabelPlan(lines=len(lines))
    texts = [line["split"] for line in lines if "split" in line]
    unused = unused_splits(texts)
    plan.notes += [*split_notes(texts), *([] if unused is None else [unused])]
    # A table that was edited in place is what it says; a copy of it made here might be older.
    in_place = str(table.resolve()) == (store.path / CLIPS).location

    def change(rows: list[ClipRow]) -> list[ClipRow]:
        return rows if in_place else _relabel(rows, lines, store, table, plan)

    if dry_run:
        change(store.clips())
    else:
        store.change_clips(change)
    return plan


def _relabel(
    present: list[ClipRow],
    lines: list[dict[str, str]],
    store: Store,
    table: Path,
    plan: RelabelPlan,
) -> list[ClipRow]:
    """The rows with what a user's lines say; `plan` tells what that changes."""
    rows = {row.id: row for row in present}
    # Also where the table has been lost, or a clip was taken out of it; others stay out.
    known = dict.fromkeys([*rows, *store.ids])
    names, _ = match_ids(table, [line["id"] for line in lines], known)
    if unknown := [line["id"] for line, name in zip(lines, names, strict=True) if name is None]:
        raise UsageError(
            f"{table}: {len(unknown):,} of {counted(len(lines), 'line')} not in the store's clips "
            f"table: {listed(map(repr, unknown))}; its ids are listed by stepcli store ls"
        )
    names_in = {column: {getattr(row, column) for row in present} for column in _COLUMNS}
    plan.changed, plan.blank, plan.alike, plan.leakage = {}, {}, [], []
    for line, name in zip(lines, names, strict=True):
        assert name is not None
        rows.setdefault(name, ClipRow(name, ""))
        texts = {key: text for key, text in line.items() if key != "id"}
        if "split" in texts:
            texts["split"] = normalise_split(texts["split"])
        plan.columns = list(texts)
        for column, text in texts.items():
            if not text:
                plan.blank[column] = plan.blank.get(column, 0) + 1
        # A label that came from a folder's name may have white space around it, or be decomposed;
        # a table's cells are not. It stays, unless clips of the plain name are to take it in.
        changed = {
            column: text
            for column, text in texts.items()
            if (old := getattr(rows[name], column)) != text
            and (composed(old.strip()) != text or text in names_in[column])
        }
        if changed:
            plan.changed[name] = changed
            rows[name] = replace(rows[name], **changed)
    for column in ("label", "group"):
        warning = alike_warning((getattr(row, column) for row in rows.values()), column)
        plan.alike += [] if warning is None else [warning]
    for name in official_names(row.split for row in rows.values()) or (None,):
        sides: dict[str, list[ClipRow]] = {"train": [], "test": []}
        for row in rows.values():
            sides.get(split_in(row.split, name), []).append(row)
        mark = "" if name is None else f"official split {name}: "
        found = find_leakage(sides["train"], sides["test"]).warnings
        plan.leakage += [f"{mark}{warning}" for warning in found]
    return list(rows.values())


def replace_classes(root: Location, table: Path, *, dry_run: bool = False) -> tuple[int, list[str]]:
    """Take over a user's classes.csv. Cells are stripped.

    Returns:
        The number of classes, and notes on names that fit nothing.

    Raises:
        UsageError: it is not such a table.
    """
    store = open_store(root)
    labels = dict.fromkeys(row.label for row in store.clips())
    try:
        rows = parse_classes(read_regular(table.resolve(), SEALED_LIMIT).decode("utf-8-sig"), table)
    except DamagedStore as error:
        raise UsageError(str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{table}: {error}") from error
    # A label that came from a folder's name may have white space around it: it stays.
    texts = ("name", "partner", "mirror", "prompt")
    for place, row in enumerate(rows):
        cells = {name: getattr(row, name) for name in texts}
        clean: dict[str, Any] = {
            name: text if text in labels else composed(text.strip()) for name, text in cells.items()
        }
        rows[place] = replace(row, **clean)
    if not dry_run:
        in_place = str(table.resolve()) == (store.path / CLASSES).location
        store.change_classes(lambda present: present if in_place else rows)
    return len(rows), _class_notes(rows, labels)


def _class_notes(rows: Sequence[ClassRow], labels: Collection[str]) -> list[str]:
    """What a table of classes names that there is not, and labels that it lacks."""
    names = {row.name for row in rows}
    labels = {name for label in labels for name in of_known(label, names) or [label]}
    related = [name for row in rows for name in (row.partner, row.mirror) if name]
    found = {
        "{} of the store's clips not in the table": [
            label for label in labels if label and label not in names
        ],
        "{} of the table without a clip": [row.name for row in rows if row.name not in labels],
        "{} named as partner or mirror but not in the table": [
            name for name in dict.fromkeys(related) if name not in names
        ],
    }
    return [
        f"{text.format(counted(len(each), 'class', 'classes'))}: {listed(map(repr, each))}"
        for text, each in found.items()
        if each
    ]


def read_lines(table: Path) -> Iterator[dict[str, str]]:
    """The lines of a user's table: id and what it has of the clips table's columns."""
    if not table.is_file():
        raise UsageError(f"{table}: no such file; give a CSV or Parquet file with a column id")
    lines: Sequence[Mapping[str, object]]
    if table.suffix == ".parquet":
        found = _read_parquet(table)
        names, lines = found.schema.names, found.to_pylist()
    else:
        lines = read_csv(table, ["id"])
        names = list(lines[0]) if lines else []
        _require_no_typo(table, names)
    known = [name for name in names if name in _COLUMNS]
    if len(known) < 2:
        raise UsageError(
            f"{table}: expected a column id and at least one of {', '.join(_COLUMNS[1:])}; found "
            f"{', '.join(names) or 'no line'}"
        )
    # Of a CSV no cell is None.
    wrong = WrongLines(table, "row")
    for number, line in enumerate(lines, 1):
        if empty := [name for name in known if line[name] is None]:
            wrong.add(number, f"the column {empty[0]!r} is empty; put a text there")
    wrong.refuse()
    for line in lines:
        texts = {name: str(line[name]).strip() for name in known}
        # Not the id, which matches in either form: a file may really be called so.
        yield {name: text if name == "id" else composed(text) for name, text in texts.items()}


def _require_no_typo(table: Path, names: Sequence[str]) -> None:
    """Refuse columns that mean nothing and look like one that the table does not have; others, such
    as "path" of a list of clips, are left aside.

    Raises:
        UsageError: there is one.
    """
    absent = [name for name in _COLUMNS if name not in names]
    for name in names:
        near = get_close_matches("".join(name.casefold().split()), absent, 1, 0.7)
        if near and name not in _COLUMNS:
            raise UsageError(
                f"{table}: unknown column: {name!r} looks like {near[0]!r}; rename it, or remove it"
            )


def _read_parquet(table: Path) -> pa.Table:
    try:
        data = read_regular(table.resolve(), LARGEST)
        found = read_parquet(data, table, rows=ROWS_LIMIT, values=ROWS_LIMIT)
    except DamagedStore as error:
        raise UsageError(str(error)) from error
    names = found.schema.names
    if "id" not in names or len(set(names)) < len(names):
        raise UsageError(f"{table}: expected a column id, each once; found {', '.join(names)}")
    _require_no_typo(table, names)
    kept = found.select([name for name in names if name in _COLUMNS])
    for column in kept.schema:
        if not (pa.types.is_string(column.type) or pa.types.is_integer(column.type)):
            raise UsageError(f"{table}: column {column.name}: expected text, found {column.type}")
    return kept


def write_lines(root: Location, table: Path, *, dry_run: bool = False) -> int:
    """Write the clips table as CSV, for a user to edit; returns the number of lines."""
    rows = open_store(root).clips()
    if dry_run:
        return len(rows)
    with disk_errors(table), table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        writer.writerows([getattr(row, name) for name in _COLUMNS] for row in rows)
    return len(rows)
