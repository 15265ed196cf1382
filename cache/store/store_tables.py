"""What a store says about clips and classes, and how that is changed."""

from collections.abc import Callable, Iterable, Sequence

from stepcli.cache.schema.clips import ClassRow, ClipRow, SegmentRow
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.tables import changes as tables
from stepcli.runtime.files import disk_errors


class StoreTables:
    """The tables of the store at `path`: clips.parquet, classes.csv, segments.parquet."""

    def __init__(self, path: StoragePath) -> None:
        self.path = path
        self._digests: dict[str, str] = {}
        """Of the tables as they were read last."""

    def clips(self) -> list[ClipRow]:
        """The clips table: all clips of the data set, committed or not.

        Raises:
            DamagedStore: it cannot be read, or there was one and it is gone.
        """
        return self._read_table(tables.CLIP_TABLE)

    def classes(self) -> list[ClassRow]:
        """The classes table, by index; errors as of `clips`."""
        return self._read_table(tables.CLASS_TABLE)

    def segments(self) -> list[SegmentRow]:
        """The segments table, in its own order; errors as of `clips`."""
        return self._read_table(tables.SEGMENT_TABLE)

    def _read_table(self, table: tables.Table[tables.Row]) -> list[tables.Row]:
        rows, self._digests[table.name] = tables.read_table(self.path, table)
        return rows

    def add_clips(self, rows: Iterable[ClipRow]) -> list[ClipRow]:
        """Add the clips that the table lacks; existing lines belong to the user and stay.

        Returns:
            Those of `rows` whose line in the table says something else.
        """
        with disk_errors(self.path):
            return tables.add_clips(self.path, rows)

    def add_classes(self, rows: Sequence[ClassRow]) -> None:
        """Write the classes where the table has none; existing lines belong to the user."""
        with disk_errors(self.path):
            tables.add_classes(self.path, rows)

    def change_clips(self, change: Callable[[list[ClipRow]], Sequence[ClipRow]]) -> None:
        """Change the clips table; changes that others make at the same time stay.

        Args:
            change: from the newest rows to those that are to be. It may be called again.
        """
        self._change(tables.CLIP_TABLE, change)

    def change_classes(self, change: Callable[[list[ClassRow]], Sequence[ClassRow]]) -> None:
        """Change the classes table; as `change_clips`."""
        self._change(tables.CLASS_TABLE, change)

    def change_segments(self, change: Callable[[list[SegmentRow]], Sequence[SegmentRow]]) -> None:
        """Change the segments table; as `change_clips`."""
        self._change(tables.SEGMENT_TABLE, change)

    def replace_clips(self, rows: Sequence[ClipRow]) -> None:
        """Replace the clips table whole.

        Raises:
            StoreError: `clips` was called, and the table has been changed since: `rows` may lack
                that change.
        """
        self._change(tables.CLIP_TABLE, lambda _: rows, self._digests.get(tables.CLIPS, ""))

    def replace_classes(self, rows: Sequence[ClassRow]) -> None:
        """Replace the classes table whole; as `replace_clips`."""
        self._change(tables.CLASS_TABLE, lambda _: rows, self._digests.get(tables.CLASSES, ""))

    def _change(
        self,
        table: tables.Table[tables.Row],
        change: Callable[[list[tables.Row]], Sequence[tables.Row]],
        expected: str = "",
    ) -> None:
        with disk_errors(self.path):
            digest = tables.change_table(self.path, table, change, expected=expected)
        if expected:
            self._digests[table.name] = digest
