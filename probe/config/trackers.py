"""Names of experiment trackers, checked before any is imported."""

from stepcli.runtime.errors import UnknownName, UsageError
from stepcli.runtime.words import split_list

TRACKERS = ("tensorboard", "wandb")
REMOVED = ("mlflow",)
"""Trackers of earlier versions."""


def require_trackers(names: str | None) -> str | None:
    """Refuse names that are no tracker's; returns them.

    Raises:
        UnknownName: there is no such tracker.
        UsageError: it was removed.
    """
    for name in split_list(names or ""):
        if name in REMOVED:
            raise UsageError(f"--track {name} was removed; use {' or '.join(TRACKERS)}")
        if name not in TRACKERS:
            raise UnknownName("tracker", name, TRACKERS)
    return names
