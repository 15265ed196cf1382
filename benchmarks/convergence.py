"""Have probes converged? What twice the epochs change, on a slice of train.

    python benchmarks/convergence.py recipes/all-methods.yaml --epochs 60 --store STORE --runs RUNS

trains the methods of a sweep with 60 and with 120 epochs on all of train but a slice of a quarter
of each class, what is done already excepted, and prints every such pair of RUNS. Scores are those
of the slice; no test clip is read.

A method has converged with n epochs if 2 n epochs change its mean accuracy over seeds by less than
half the width of the 95 % interval that it has with n epochs (over seeds and groups), or nothing.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stepcli.probe.runs.compare import correctness
from stepcli.probe.runs.record import RunRecord, read_runs
from stepcli.probe.runs.stats import FEWEST_GROUPS, accuracy_interval
from stepcli.probe.sweeps.options import checked_grids, options_over
from stepcli.probe.sweeps.run import run_sweep
from stepcli.probe.sweeps.session import Session
from stepcli.runtime.canonical_json import canonical_json
from stepcli.runtime.errors import StepcliError, UsageError

SHARE = 0.25
"""Of each class's training clips, held out."""
Runs = tuple[Path, list[RunRecord]]
"""A folder, and the records of one configuration's seeds in it."""


@dataclass(frozen=True, slots=True)
class Doubling:
    """One configuration with n and with 2 n epochs; fractions of 1."""

    method: str
    task: str
    epochs: int
    """n."""
    short: float
    """Mean accuracy over seeds with n epochs."""
    long: float
    """The same with 2 n epochs."""
    half_width: float
    """Of the 95 % interval of `short`."""

    @property
    def converged(self) -> bool:
        """Whether the change is smaller than half the interval's width, or nothing changes."""
        change = abs(self.long - self.short)
        # Order-blind probes can have exactly 50 % for each group: an interval of no width.
        return change < self.half_width or change < 1e-12


def doublings(folders: Sequence[Path]) -> list[Doubling]:
    """Every pair of configurations on slices of train that differ in nothing but twice the epochs.

    Args:
        folders: Folders of runs; a configuration's seeds are in one folder.

    Raises:
        UsageError: no such pair, or a pair differs in its seeds or test samples, or a slice has
            too few groups for an interval.
    """
    found: dict[str, dict[int, Runs]] = {}
    for folder in folders:
        for record in read_runs(folder, slices=True):
            if not record.split.startswith("train-") or record.imported:
                continue
            epochs = record.settings.shared.epochs
            config = record.settings.model_dump(exclude={"seed": True, "shared": {"epochs"}})
            name = canonical_json([config, record.fingerprint])
            place, records = found.setdefault(name, {}).setdefault(epochs, (folder, []))
            if place != folder:
                raise UsageError(f"{record.method}, {epochs} epochs: in {place} and in {folder}")
            records.append(record)
    pairs = [
        _doubling(epochs, runs, lengths[2 * epochs])
        for lengths in found.values()
        for epochs, runs in lengths.items()
        if 2 * epochs in lengths
    ]
    if not pairs:
        raise UsageError(
            f"no configuration has runs on a slice of train with n and with 2 n epochs in "
            f"{', '.join(map(str, folders))}"
        )
    return sorted(pairs, key=lambda pair: (pair.task, pair.epochs, pair.short))


def _doubling(epochs: int, short: Runs, long: Runs) -> Doubling:
    (first, *_), method = short[1], short[1][0].method
    seeds = [sorted(record.seed for record in records) for _, records in (short, long)]
    if seeds[0] != seeds[1]:
        raise UsageError(f"{method}: seeds {seeds[0]} with {epochs} epochs, {seeds[1]} with twice")
    before, after = correctness(*short), correctness(*long)
    if before.samples != after.samples:
        raise UsageError(f"{method}: other test samples with {2 * epochs} epochs")
    interval = accuracy_interval(before.right, before.groups)
    if interval.low is None or interval.high is None:
        raise UsageError(f"{method}: a slice of fewer than {FEWEST_GROUPS} groups has no interval")
    half = (interval.high - interval.low) / 2
    return Doubling(method, first.task, epochs, interval.mean, float(after.right.mean()), half)


def train(
    file: Path, methods: Sequence[str] | None, epochs: Sequence[int], store: Path, runs: Path
) -> None:
    """A sweep's methods on the slice, with each number of epochs."""
    for each in epochs:
        sweep = options_over(
            file,
            methods=methods,
            settings=[],
            optim={},
            task={"slice_seed": 0, "slice_share": SHARE},
            data={"epochs": each},
            search={"select": False},
        )
        run_sweep(Session(store, runs, "auto"), sweep, checked_grids(sweep), dry_run=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path, help="sweep's YAML file")
    parser.add_argument("--method", help="of those of the recipe: a,b (default: all)")
    parser.add_argument("--epochs", type=int, required=True, help="n; 2 n are trained as well")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    asked = parser.parse_args()
    try:
        names = None if asked.method is None else asked.method.split(",")
        train(asked.recipe, names, (asked.epochs, 2 * asked.epochs), asked.store, asked.runs)
        pairs = doublings([asked.runs])
    except StepcliError as error:
        raise SystemExit(f"error: {error}") from None
    print(f"{'method':22} epochs  top-1   twice  change  half the interval")
    for each in pairs:
        print(
            f"{each.method:22} {each.epochs:>6}  {100 * each.short:5.1f}   {100 * each.long:5.1f}  "
            f"{100 * (each.long - each.short):+6.1f}  {100 * each.half_width:17.1f}"
            f"{'' if each.converged else '  not converged'}"
        )


if __name__ == "__main__":
    main()
