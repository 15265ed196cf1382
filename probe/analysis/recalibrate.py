"""The twins of finished runs on held-out slices of train, on which temperatures are fitted.

What comes out is kept beside each run, <runs>/<run>/calibration.json, and goes with it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from pydantic import ValidationError

from stepcli.cache.durable import disk_errors, replace_synced
from stepcli.cache.errors import UsageError
from stepcli.cache.json_files import read_json
from stepcli.probe.analysis.calibration import fit_temperature, softmax, threshold_for
from stepcli.probe.config import RunConfig
from stepcli.probe.results.configurations import Configuration
from stepcli.probe.results.predictions import read_predictions
from stepcli.probe.sweeps.holding import on_slice
from stepcli.probe.sweeps.session import Session

FILE = "calibration.json"
RISKS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of wrong answers for which a threshold of confidence is kept."""


@dataclass(frozen=True, slots=True)
class KeptCalibration:
    """What a run's twin learned on the slice of train that it had not seen."""

    temperature: float
    samples: int
    """Of the slice."""
    thresholds: dict[str, float | None]
    """Risk -> the lowest confidence from which on at most so many answers were wrong there; None
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


def keep_calibration(found: Sequence[Configuration]) -> None:
    """Fit and keep the calibration of every run that has a twin on a slice."""
    for each in found:
        for record, twin in zip(each.records, each.held_out, strict=True):
            if twin is None:
                continue
            held = read_predictions(each.runs / twin)
            temperature = fit_temperature(held.logits, held.labels)
            chances = softmax(held.logits, temperature)
            thresholds = {f"{r:g}": threshold_for(chances, held.labels, r) for r in RISKS}
            kept = KeptCalibration(
                temperature,
                len(held.labels),
                {r: None if t == float("inf") else t for r, t in thresholds.items()},
            )
            path = each.runs / record["run"] / FILE
            with disk_errors(path):
                replace_synced(path, json.dumps(asdict(kept), indent=1).encode())


def kept_calibration(folder: Path) -> KeptCalibration | None:
    """What is kept beside a run; None where nothing is.

    Raises:
        UsageError: the file is not what `keep_calibration` writes.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    kept = read_json(path, dict, links=False)
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
    return KeptCalibration(**kept)


def train_slices(
    runs: Path, found: Sequence[Configuration], store: Path | None, device: str
) -> None:
    """Train the twin of every run that has none; imported runs have no probe to train.

    Raises:
        StoreNotFound: a store is not where it was, and no other place was given.
        UsageError: a run's settings are not of this version, or the store has other tokens now.
    """
    left: dict[Path, list[RunConfig]] = {}
    for each in found:
        for record, twin in zip(each.records, each.held_out, strict=True):
            if twin is None and "imported" not in record["config"]:
                place = store or Path(record["store"])
                left.setdefault(place, []).append(on_slice(config_of(record)))
    for place, configs in left.items():
        session = Session(place, runs, device)
        for each in found:
            if session.store.fingerprint != each.first["fingerprint"]:
                raise UsageError(
                    f"{place} holds other tokens than {each.label} was trained on (fingerprint "
                    f"{session.store.fingerprint[:8]}, expected {each.first['fingerprint'][:8]}); "
                    "give --store, or --method"
                )
        session.run(configs)


def config_of(record: dict[str, object]) -> RunConfig:
    """The settings of a finished run.

    Raises:
        UsageError: another version of stepcli wrote them.
    """
    try:
        return RunConfig.model_validate(record["config"])
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"run {record['run']}: this stepcli does not know its setting {place} "
            f"({first['msg']}); use the version that trained it, or train it again"
        ) from None
