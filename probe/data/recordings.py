"""What a task on windows of recordings must be sure of before it trains."""

from collections import defaultdict
from typing import TYPE_CHECKING

from stepcli.cache.maintenance.recordings import require_rule
from stepcli.cache.schema.windows import split_window
from stepcli.probe.config import TaskConfig
from stepcli.probe.data.splits import LabelledClips
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted, listed

if TYPE_CHECKING:
    from stepcli.cache.store.store import Store


def require_recordings(config: TaskConfig, store: "Store", table: LabelledClips) -> None:
    """See that windows have labels, and that no recording is torn between splits or groups.

    Raises:
        UsageError: a store of clips, windows without a label, or a recording whose windows are on
            both sides or in several groups.
    """
    require_rule(store)
    rows = (*table.train, *table.test)
    blank = [row.id for row in rows if not row.label]
    if blank:
        raise UsageError(
            f"{counted(len(blank), 'window')} without a label (e.g. {blank[0]!r}): give the "
            "segments of the recordings with stepcli store labels --segments FILE"
        )
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        groups[split_window(row.id)[0]].add(table.group(row))
    trained, tested = (
        {split_window(row.id)[0] for row in side} for side in (table.train, table.test)
    )
    # Where one pass holds out all folds in turn, each probe is tested on its own fold alone.
    all_folds = config.folds is not None and config.fold is None
    torn = [] if all_folds else sorted(trained & tested)
    if torn:
        raise UsageError(
            f"windows of {counted(len(torn), 'recording')} are in train and in test: "
            f"{listed(torn)}; a recording belongs to one split"
        )
    if several := sorted(name for name, found in groups.items() if len(found) > 1):
        raise UsageError(
            f"windows of {counted(len(several), 'recording')} are in several groups: "
            f"{listed(several)}; give all windows of a recording one group"
        )
