"""The twins of finished runs on held-out slices of train, on which temperatures are fitted.

What comes out is kept beside each run, <runs>/<run>/calibration.json, and goes with it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from stepcli.cache.schema.views import clip_of
from stepcli.cache.store.store import open_store
from stepcli.probe.analysis.calibration import (
    EDGES,
    cross_validated,
    fit_temperature,
    softmax,
    threshold_for,
)
from stepcli.probe.config import SliceMinimum, TaskConfig
from stepcli.probe.runs.configurations import Configuration
from stepcli.probe.runs.predictions import read_predictions
from stepcli.probe.runs.record import FILE as RUN
from stepcli.probe.runs.record import RunRecord, read_run
from stepcli.probe.sweeps.holding import Size, missing, on_slice, size_of
from stepcli.probe.sweeps.of_store import not_of_run
from stepcli.probe.sweeps.session import Session
from stepcli.runtime.errors import StoreNotFound, UsageError
from stepcli.runtime.files import disk_errors, replace_synced
from stepcli.runtime.json_files import read_json

FILE = "calibration.json"
RISKS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of wrong answers for which a threshold of confidence is kept."""
SHARES = (0.2, 0.3, 0.4, 0.5)
"""Shares of train that are tried before one is recommended."""


@dataclass(frozen=True, slots=True)
class KeptCalibration:
    """What a run's twin learned on the slice of train that it had not seen."""

    temperature: float
    samples: int
    """Of the slice."""
    thresholds: dict[str, float | None]
    """Risk -> the lowest confidence above which at most that share of answers was wrong there; None
    where no confidence was enough."""

    def threshold(self, risk: float) -> float | None:
        """The confidence below which to abstain.

        Raises:
            UsageError: no threshold is kept for this risk.
        """
        key = f"{risk:g}"
        if key not in self.thresholds:
            raise UsageError(
                f"a risk of {key} has no threshold; choose one of {', '.join(self.thresholds)}"
            )
        return self.thresholds[key]


IMPORTED = "imported, so there is no probe to train on less"


@dataclass(frozen=True, slots=True)
class Fitted:
    """What came of one run."""

    title: str
    """Of its configuration: "step: arrow"."""
    seed: int
    kept: KeptCalibration | None
    note: str
    """Why there is none, or why it is 1; "" where there is nothing to say."""

    @property
    def failed(self) -> bool:
        """Whether there should be one."""
        return self.kept is None and self.note != IMPORTED


def keep_calibration(
    found: Sequence[Configuration], minimum: SliceMinimum, refused: Mapping[str, str]
) -> list[Fitted]:
    """Fit and keep the calibration of every run that has a twin on a slice.

    What does not come out well is not kept, and what an earlier fit left there is removed: a slice
    below the minimum, a temperature at the edge of its search. Where scaling does not lower the
    NLL of held-out samples, cross-validated over the slice's groups, the temperature stays 1.

    Args:
        found: Whose runs.
        minimum: Of a slice.
        refused: Runs whose twin was not trained, and why.
    """
    outcomes = []
    for each in found:
        for record, twin in zip(each.records, each.held_out, strict=True):
            path = each.runs / record.run / FILE
            kept, note = None, refused.get(record.run, IMPORTED)
            if twin is not None and record.run not in refused:
                try:
                    kept, note = _fit(each, record, twin, minimum)
                except UsageError as error:
                    note = str(error)
            with disk_errors(path):
                if kept is not None:
                    replace_synced(path, json.dumps(asdict(kept), indent=1).encode())
                else:
                    path.unlink(missing_ok=True)
            outcomes.append(Fitted(each.title, record.seed, kept, note))
    return outcomes


def _fit(
    each: Configuration, record: RunRecord, twin: str, minimum: SliceMinimum
) -> tuple[KeptCalibration, str]:
    held = read_predictions(each.runs / twin)
    size = Size(
        len({clip_of(clip) for clip in held.clips}),
        len(np.unique(held.labels)),
        len(set(held.groups)),
    )
    wanted = _wanted(each.runs, record, minimum)
    if missing(size, wanted):
        raise _too_small(size, wanted, "hold out more with --slice-share, or")
    note = ""
    temperature = fit_temperature(held.logits, held.labels)
    before, after = cross_validated(held.logits, held.labels, held.groups)
    if after >= before:
        note = (
            f"scaling does not lower the NLL of held-out samples ({before:.3f}, cross-validated "
            f"{after:.3f}), so the temperature stays 1"
        )
        temperature = 1.0
    chances = softmax(held.logits, temperature)
    thresholds = {f"{r:g}": threshold_for(chances, held.labels, r) for r in RISKS}
    return KeptCalibration(
        temperature,
        len(held.labels),
        {r: None if t == float("inf") else t for r, t in thresholds.items()},
    ), note


def _wanted(runs: Path, record: RunRecord, minimum: SliceMinimum) -> Size:
    """The least that a run's slice must be; by default of half of the classes of its test."""
    classes = minimum.classes
    if classes is None:
        classes = max(1, len(np.unique(read_predictions(runs / record.run).labels)) // 2)
    # Two groups at least, so that held-out samples can be told from those that were fitted.
    return Size(minimum.clips, classes, max(2, minimum.groups))


def _too_small(size: Size, wanted: Size, advice: str) -> UsageError:
    return UsageError(
        f"its slice is too small to fit a temperature: {size}, needed are {wanted} (missing: "
        f"{missing(size, wanted)}); {advice} lower the minimum with --slice-min"
    )


def _advice(session: Session, task: TaskConfig, wanted: Size) -> str:
    """How to get a slice of the wanted size, if any share of train gives one."""
    for share in SHARES:
        if share > task.slice_share:
            try:
                size = size_of([session.task(task.model_copy(update={"slice_share": share}))])
            except UsageError:  # no group fits into such a slice
                continue
            if not missing(size, wanted):
                return f"hold out more with --slice-share {share:g}, or"
    return (
        f"no --slice-share up to {SHARES[-1]:g} is enough; add training clips or finer groups, or"
    )


def undo_calibration(found: Sequence[Configuration]) -> int:
    """Remove what was kept beside runs; returns beside how many."""
    removed = 0
    for each in found:
        for record in each.records:
            path = each.runs / record.run / FILE
            with disk_errors(path):
                removed += path.is_file()
                path.unlink(missing_ok=True)
    return removed


def kept_calibration(folder: Path) -> KeptCalibration | None:
    """What is kept beside a run; None where nothing is.

    Raises:
        UsageError: the file is not what `keep_calibration` writes, or has a temperature that is
            none, as earlier versions kept where the slice was too small.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    kept = read_json(path, dict)
    thresholds = kept.get("thresholds")
    known = kept.keys() == {field.name for field in fields(KeptCalibration)}
    if not (
        known
        and isinstance(kept["temperature"], float)
        and isinstance(kept["samples"], int)
        and isinstance(thresholds, dict)
        and all(value is None or isinstance(value, float) for value in thresholds.values())
    ):
        raise UsageError(f"{path}: not a calibration; delete it, run stepcli calibrate")
    # Earlier versions ended a hair away from the edge.
    if not 1.001 * EDGES[0] < kept["temperature"] < 0.999 * EDGES[1]:
        raise UsageError(
            f"{path}: temperature {kept['temperature']:g} is at the edge of its search, so it is "
            f"none; remove it with stepcli calibrate {folder.parent} --undo"
        )
    return KeptCalibration(**kept)


def train_slices(
    runs: Path,
    found: Sequence[Configuration],
    store: Path | None,
    device: str,
    minimum: SliceMinimum,
    share: float | None,
) -> dict[str, str]:
    """Train the twin of every run that has none; imported runs have no probe to train.

    Args:
        runs: Folder of the runs.
        found: Whose runs.
        store: Where the store is now that some of the runs were trained on; runs of others are
            looked up where their store was.
        device: "auto", "cpu", "cuda" or "cuda:1".
        minimum: Of a slice; no twin is trained on a smaller one.
        share: Of each class's training clips that a slice takes; None: as the runs' settings say.

    Returns:
        Runs that cannot be asked, and why: too small a slice, a store that is not where it was or
        has other tokens or labels now.

    Raises:
        StoreNotFound: there is no store at the given place.
        UsageError: a run's settings are not of this version.
    """
    refused: dict[str, str] = {}
    for place, members in _by_store(found, store, share).items():
        try:
            session = Session(place, runs, device)
        except StoreNotFound as error:
            refused |= {record.run: str(error) for _, record in members}
            continue
        configs = []
        for label, record in members:
            if reason := not_of_run(session, record, label):
                refused[record.run] = reason
                continue
            config = on_slice(record.settings)
            if share is not None:
                task = config.task.model_copy(update={"slice_share": share})
                config = config.model_copy(update={"task": task})
            try:
                size = size_of([session.task(config.task)])
                wanted = _wanted(runs, record, minimum)
                if missing(size, wanted):
                    raise _too_small(size, wanted, _advice(session, config.task, wanted))
            except UsageError as error:
                refused[record.run] = str(error)
            else:
                configs.append(config)
        if configs:
            session.run(configs)
    return refused


def _share_of(twin: Path) -> float:
    return read_run(twin / RUN).settings.task.slice_share


def _by_store(
    found: Sequence[Configuration], given: Path | None, share: float | None
) -> dict[Path, list[tuple[str, RunRecord]]]:
    """The runs without a twin on such a share, by the store that they are looked up in."""
    fingerprint = None if given is None else open_store(given).fingerprint
    others = {record.fingerprint for each in found for record in each.records}
    members: dict[Path, list[tuple[str, RunRecord]]] = {}
    for each in found:
        for record, twin in zip(each.records, each.held_out, strict=True):
            if record.imported or (
                twin is not None and (share is None or _share_of(each.runs / twin) >= share)
            ):
                continue
            # A store that is none of the runs' is an error, and is named by the caller.
            here = given is not None and (
                record.fingerprint == fingerprint or fingerprint not in others
            )
            place = given if here and given is not None else Path(record.store_place)
            members.setdefault(place, []).append((each.title, record))
    return members
