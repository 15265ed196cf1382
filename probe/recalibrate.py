"""The twins of finished runs on held-out slices of train, on which temperatures are fitted."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from stepcli.cache.errors import UsageError
from stepcli.probe.config import RunConfig
from stepcli.probe.configurations import Configuration
from stepcli.probe.session import Session
from stepcli.probe.sweep import on_slice


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
