"""Choose among finished runs by method, task, store and seed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stepcli.probe.runs.labels import tables_word
from stepcli.probe.runs.record import RunRecord
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import listed


@dataclass(frozen=True)
class RunFilter:
    """Values that a run may have; an empty tuple does not restrict."""

    methods: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()
    """Places of stores, names of their folders, or beginnings of fingerprints."""
    seeds: tuple[int, ...] = ()
    settings: tuple[str, ...] = ()
    """Options of methods, of training or of the task: heads=12."""

    def takes(self, run: RunRecord) -> bool:
        """Whether a run passes."""
        try:
            return bool(self([run]))
        except UsageError:
            return False

    def __call__(self, records: Sequence[RunRecord]) -> list[RunRecord]:
        """The records that pass, in their order.

        Raises:
            UsageError: none has one of the values; the message lists the values that there are.
        """
        rest = list(records)
        rest = _keep("--method", self.methods, rest, lambda run: (run.method,))
        rest = _keep("--task", self.tasks, rest, lambda run: (run.task,))
        rest = _keep("--store", self.stores, rest, store_words)
        rest = _keep("--seed", [str(seed) for seed in self.seeds], rest, lambda r: (str(r.seed),))
        for wanted in self.settings:
            setting = partial(_setting, name=wanted.partition("=")[0])
            rest = _keep("--set", [wanted], rest, setting)
        return rest

    def __bool__(self) -> bool:
        """Whether anything is restricted."""
        return self != EVERY_RUN


EVERY_RUN = RunFilter()


def store_words(run: RunRecord) -> tuple[str, ...]:
    """What a run's store may be called: the name of its folder first."""
    place = run.store.rstrip("/")
    return (Path(place).name or run.fingerprint[:8], place, run.fingerprint)


def _setting(run: RunRecord, name: str) -> tuple[str]:
    """A setting of a run as name=value, from the section that has it."""
    if name == "labels":
        return (tables_word(run),)
    for section in ("options", "recipe", "shared", "task"):
        values = run.config.get(section)
        if isinstance(values, dict) and name in values:
            return (f"{name}={values[name]}",)
    return (f"{name} (none)",)


def _keep(
    option: str,
    wanted: Sequence[str],
    records: list[RunRecord],
    values_of: Callable[[RunRecord], Iterable[str]],
) -> list[RunRecord]:
    if not wanted:
        return records
    kept = set[str]()
    for value in wanted:
        mine = {run.run for run in records if _names(option, value, run, values_of)}
        if not mine:
            known = sorted({next(iter(values_of(run))) for run in records})
            raise UsageError(
                f"{option} {value}: no run among those chosen has it; they have {listed(known, 8)}"
            )
        kept |= mine
    return [run for run in records if run.run in kept]


def _names(
    option: str, value: str, run: RunRecord, values_of: Callable[[RunRecord], Iterable[str]]
) -> bool:
    if option != "--store":
        return value in values_of(run)
    name, place, fingerprint = store_words(run)
    value = value.rstrip("/")
    same = value in (name, place) or (bool(place) and str(Path(value).absolute()) == place)
    return same or (len(value) >= 6 and fingerprint.startswith(value))
