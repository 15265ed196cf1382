"""The clips of each task in a store's tables, and a digest of them: part of what a run is of."""

import hashlib
import json

from stepcli.cache.schema.official_splits import official_names
from stepcli.cache.store.store import Store
from stepcli.probe.config import TaskConfig
from stepcli.probe.config.task import MULTI_LABEL, ORDER_SUITE
from stepcli.probe.data.each_group import leave_out
from stepcli.probe.data.splits import LabelledClips, labelled_clips, only_base, subsample


class ClipTables:
    """The tables of one store as they were when it was opened, read once for each choice of splits.

    Args:
        store: The store.
        copies: Sets of its clips with equal tokens.
    """

    def __init__(self, store: Store, copies: tuple[tuple[str, ...], ...]) -> None:
        self._store = store
        self._copies = copies
        self._tables: dict[tuple[str, str, str | None, str | None, bool, bool], LabelledClips] = {}
        self._digests: dict[tuple[object, ...], str] = {}

    def of_task(self, config: TaskConfig) -> LabelledClips:
        """The clips that a task trains on and its test split, before anything is held out.

        Raises:
            UsageError: a split has no clip.
        """
        table = self.every_clip(config)
        if config.leaves_a_group_out:
            table = leave_out(table, config.held_group)
        if config.subsampled:
            table = subsample(table, config.train_share, config.shots, config.draw_seed or 0)
        if config.protocol == "base-to-novel":
            table = only_base(table)
        return table

    def every_clip(self, config: TaskConfig) -> LabelledClips:
        """The clips of a task before a group is left out, or anything held out or drawn."""
        splits = (config.train_split, config.test_split, config.split_file, config.split)
        pooled, several = config.leaves_a_group_out, config.name == MULTI_LABEL
        if (*splits, pooled, several) not in self._tables:
            self._tables[*splits, pooled, several] = labelled_clips(
                self._store,
                *splits[:3],
                official=config.split,
                split_digest=config.split_digest,
                copies=self._copies,
                pooled=pooled,
                several=several,
            )
        return self._tables[*splits, pooled, several]

    def digest(self, config: TaskConfig) -> str:
        """SHA-256 over what a task reads: ids, labels, sides and groups of its clips, its classes.

        Of the order suite's tasks over the classes' pairs and kinds too, of "anticipate" over the
        segments. The same for all seeds, slices, folds, drawn shares and held-out groups, and for
        all official splits of a store. Labels of clips in neither split are not part of it.

        Raises:
            UsageError: a split has no clip.
        """
        splits = (config.train_split, config.test_split, config.split_file, config.split)
        key = (*splits, config.leaves_a_group_out, config.name, config.pairs)
        if key not in self._digests:
            self._digests[key] = self._digest(config, self.every_clip(config))
        return self._digests[key]

    def _digest(self, config: TaskConfig, table: LabelledClips) -> str:
        read: dict[str, object] = {"classes": table.classes, "clips": self._sides(config, table)}
        if config.name in ORDER_SUITE:
            read["kinds"] = (sorted(table.invariant), sorted(table.irreversible))
            pairs = table.pairs if config.pairs is None else config.pairs
            read["pairs"] = sorted(sorted(pair) for pair in pairs)
        if config.name == "anticipate":
            read["segments"] = [
                (one.recording, one.start_seconds, one.end_seconds, one.label)
                for one in self._store.segments()
            ]
        return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()

    def _sides(self, config: TaskConfig, table: LabelledClips) -> list[tuple[str, ...]]:
        """Side, id, label and group of each clip, in one order."""
        rows = self._store.clips()
        if config.split_file is None and official_names(row.split for row in rows):
            # One cell names the side in each official split, and results are means over them.
            here = (row for row in rows if row.id in self._store)
            return sorted((row.split, row.id, row.label, row.group) for row in here)
        return sorted(
            (side, row.id, row.label, table.group(row))
            for side, rows in (("train", table.train), ("test", table.test))
            for row in rows
        )
