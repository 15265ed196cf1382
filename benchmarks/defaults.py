"""Would another setting be a better default? Compares settings over stores, on slices of train.

    stepcli sweep recipes/step-defaults.yaml --store STORE --runs runs/STORE
    python benchmarks/defaults.py step --reference lr=5e-4 runs/STORE runs/OTHER

A cell is a store and a part of train to learn from; the score of a setting in it is the mean top-1
over folds or draws and seeds, all of train: no test clip is read. A setting passes if, over all
cells, its mean gain over the reference is at least GAIN points and twice its standard error, and no
cell loses more than LOSS points (docs/maintainers/decisions/200-how-steps-defaults-are-chosen.md).
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stepcli.probe.config import OptimConfig
from stepcli.probe.methods.registry import methods, parse_options
from stepcli.probe.runs.record import RunRecord, read_runs
from stepcli.probe.sweeps.expand import parse_settings
from stepcli.runtime.errors import StepcliError, UsageError
from stepcli.runtime.settings import JsonObject

GAIN, ERRORS, LOSS = 1.0, 2.0, 2.0
"""Points, standard errors, points."""
Part = tuple[int | None, int | None, int]
"""Slice, fold and seed of a run."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting beside the reference; points of top-1."""

    name: str
    """What differs from the reference; empty for the reference itself."""
    scores: dict[str, float]
    """Cell -> mean top-1."""
    gains: dict[str, float]
    """Cell -> score minus that of the reference."""
    everywhere: bool
    """Whether it has runs in every cell of the reference."""

    @property
    def gain(self) -> float:
        """Mean over cells."""
        return float(np.mean(list(self.gains.values())))

    @property
    def error(self) -> float:
        """Standard error of the gain over cells; infinite for one cell."""
        gains = list(self.gains.values())
        return float(np.std(gains, ddof=1) / len(gains) ** 0.5) if len(gains) > 1 else float("inf")

    @property
    def passes(self) -> bool:
        """Whether it may replace the reference."""
        enough = self.gain >= GAIN and self.gain >= ERRORS * self.error
        return self.everywhere and enough and min(self.gains.values()) >= -LOSS


def compare(folders: Sequence[Path], method: str, reference: Sequence[str]) -> list[Setting]:
    """Every setting of a method with runs on slices of train, the reference first.

    Args:
        folders: Folders of runs.
        method: Its name; runs of other methods, and runs on test, are left out.
        reference: "option=value" where the reference is not the method's present default.

    Raises:
        UsageError: the reference has no run, or a setting lacks folds, draws or seeds in a cell
            that the reference has there.
    """
    base = _reference(method, reference)
    found: dict[str, dict[str, dict[Part, float]]] = defaultdict(lambda: defaultdict(dict))
    for folder in folders:
        for record in read_runs(folder, slices=True):
            if record.method == method and record.split.startswith("train-"):
                task = record.settings.task
                part = (task.slice_seed, task.fold, record.seed)
                found[_name(record, base)][_cell(record)][part] = 100 * record.top1
    if "" not in found:
        raise UsageError(f"no run of {method} on a slice of train has the reference's settings")
    cells = found[""]
    for name, own in found.items():
        for cell, parts in own.items():
            if cell not in cells or parts.keys() != cells[cell].keys():
                raise UsageError(f"{name}, {cell}: other folds, draws or seeds than the reference")
    return sorted(
        (_setting(name, own, cells) for name, own in found.items()),
        key=lambda setting: (setting.name != "", -setting.gain),
    )


def _reference(method: str, changed: Sequence[str]) -> JsonObject:
    """Training settings and options of the reference, by name."""
    info = methods().load(method)
    values = {name: v[0] for name, v in parse_settings(changed, [method])[method].items()}
    own = {name: v for name, v in values.items() if name not in OptimConfig.model_fields}
    mine = {name: v for name, v in values.items() if name in OptimConfig.model_fields}
    recipe = OptimConfig(**({"lr": info.lr} | mine))  # type: ignore[arg-type]
    return recipe.model_dump(mode="json") | parse_options(info, own).model_dump(mode="json")


def _name(record: RunRecord, base: JsonObject) -> str:
    """What of a run's settings differs from the reference."""
    own = record.settings.recipe.model_dump(mode="json") | record.settings.options
    return ", ".join(f"{key}={own[key]}" for key in own if own[key] != base.get(key))


def _cell(record: RunRecord) -> str:
    task = record.settings.task
    part = f"{task.folds} folds" if task.folds else f"{1 - task.slice_share:.0%} of train"
    return f"{Path(record.store).name or record.fingerprint[:8]}, {part}"


def _setting(
    name: str, own: dict[str, dict[Part, float]], cells: dict[str, dict[Part, float]]
) -> Setting:
    scores = {cell: float(np.mean(list(parts.values()))) for cell, parts in own.items()}
    gains = {cell: scores[cell] - float(np.mean(list(cells[cell].values()))) for cell in scores}
    return Setting(name, scores, gains, own.keys() == cells.keys())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("method")
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs")
    parser.add_argument(
        "--reference", action="append", default=[], metavar="option=value", help="repeatable"
    )
    asked = parser.parse_args()
    try:
        settings = compare(asked.runs, asked.method, asked.reference)
    except StepcliError as error:
        raise SystemExit(f"error: {error}") from None
    cells = sorted(settings[0].scores)
    print("| setting | " + " | ".join(cells) + " | mean gain | standard error | lowest | passes |")
    print("| --- |" + " ---: |" * (len(cells) + 3) + " --- |")
    for each in settings:
        scores = " | ".join(f"{each.scores[c]:.1f}" if c in each.scores else "" for c in cells)
        lowest = min(each.gains.values())
        verdict = "" if not each.name else "yes" if each.passes else "no"
        print(
            f"| {each.name or 'reference'} | {scores} | {each.gain:+.2f} | {each.error:.2f} | "
            f"{lowest:+.1f} | {verdict} |"
        )


if __name__ == "__main__":
    main()
