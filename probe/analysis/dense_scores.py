"""<runs>/<run>/dense.json: how a run of --task dense labels recordings, and how well.

A run may come from anybody, so the file is checked when it is read.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from stepcli.probe.analysis.frame_scores import Smoothing
from stepcli.runtime.errors import UsageError
from stepcli.runtime.files import disk_errors, replace_synced
from stepcli.runtime.json_files import read_json

FILE = "dense.json"


@dataclass(frozen=True, slots=True)
class RecordingScores:
    """How well one recording is labelled."""

    steps: int
    right: int
    """Steps with the right label."""
    edit: float
    f1_50: float
    predicted: list[tuple[float, float, str]]
    """Start, end (seconds) and class of each predicted segment."""
    true: list[tuple[float, float, str]]


@dataclass(frozen=True, slots=True)
class DenseScores:
    """What is kept beside a run; fractions of 1."""

    smoothing: Smoothing
    seconds_per_step: float
    chosen_on: str
    """For users."""
    frame_accuracy: float
    edit: float
    """Mean over recordings."""
    f1: dict[str, float]
    """By overlap, "10", "25", "50"; counted over all recordings."""
    map: dict[str, float]
    """By temporal IoU, "0.1" to "0.7"."""
    f1_50_by_class: dict[str, float]
    recordings: dict[str, RecordingScores] = field(default_factory=dict)
    labels_map: float | None = None
    """Which labels occur in a recording: mean average precision of the largest probability over its
    steps. None: there are no labels but background, or a version before this number wrote it."""

    @property
    def mean_map(self) -> float:
        """Mean over the thresholds."""
        return float(np.mean(list(self.map.values())))


def write_scores(folder: Path, scores: DenseScores) -> None:
    """Keep a run's scores beside it."""
    path = folder / FILE
    with disk_errors(path):
        replace_synced(path, json.dumps(asdict(scores), indent=1).encode())


def read_scores(folder: Path) -> DenseScores | None:
    """What is kept beside a run; None where nothing is.

    Raises:
        UsageError: the file is not what `write_scores` writes.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    content = json.dumps(read_json(path, dict))
    try:
        found: DenseScores = TypeAdapter(DenseScores).validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"{path}: {place}: {first['msg']}; delete it, run stepcli dense again"
        ) from None
    how = found.smoothing
    if not (0 <= how.reach < 1 << 20 and 1 <= how.shortest < 1 << 20):
        raise UsageError(f"{path}: smoothing out of range; delete it, run stepcli dense again")
    return found
