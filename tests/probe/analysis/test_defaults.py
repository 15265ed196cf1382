"""`benchmarks/defaults.py` compares settings over stores by the scores of the runs themselves."""

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from command_line import invoke

from stepcli.cache.store.store import Store
from stepcli.runtime.errors import UsageError

TREE = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def defaults() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("defaults", TREE / "benchmarks" / "defaults.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their names
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


SWEEP = {
    "methods": {"linear": {"lr": [1e-2, 3e-2]}},
    "task": {"name": "classify", "slice_seed": 0},
    "variants": [{"folds": 2, "fold": 0}, {"folds": 2, "fold": 1}, {"slice_share": 0.75}],
    "shared": {"epochs": 1},
    "seeds": 2,
}


def test_scores_are_means_per_store_and_part_of_train(
    defaults: ModuleType, store_of: Callable[..., Store], tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(yaml.safe_dump(SWEEP))
    folders = []
    for name in ("a", "b"):
        store = store_of(tmp_path / name, clips_each=12)
        folders.append(tmp_path / f"runs-{name}")
        place = ("--store", store.path, "--runs", folders[-1])
        assert invoke("sweep", sweep, *place).exit_code == 0
        # Neither runs on test nor other methods count.
        assert invoke("probe", "--method", "linear", "--epochs", 1, *place).exit_code == 0
    reference, other = defaults.compare(folders, "linear", ["lr=3e-2"])
    assert (reference.name, other.name) == ("", "lr=0.01")
    cells = {f"{name}, {part}" for name in "ab" for part in ("2 folds", "25% of train")}
    assert set(other.scores) == cells
    assert set(reference.gains.values()) == {0.0}
    scores: dict[tuple[float, str], list[float]] = {}
    for folder in folders:
        for path in folder.glob("*/run.json"):
            record = json.loads(path.read_text())
            task, lr = record["config"]["task"], record["config"]["recipe"]["lr"]
            if task["slice_seed"] is not None:
                part = "2 folds" if "folds" in task else "25% of train"
                scores.setdefault((lr, f"{folder.name[-1]}, {part}"), []).append(record["top1"])
    for cell in cells:
        assert other.scores[cell] == pytest.approx(100 * np.mean(scores[1e-2, cell]))
        assert other.gains[cell] == pytest.approx(
            100 * (np.mean(scores[1e-2, cell]) - np.mean(scores[3e-2, cell]))
        )
    assert other.everywhere
    with pytest.raises(UsageError, match="no run of linear on a slice of train has"):
        defaults.compare(folders, "linear", ["lr=1"])
    lost = next(path for path in folders[0].glob("*/run.json") if "fold" in path.parent.name)
    lost.unlink()
    with pytest.raises(UsageError, match="other folds, draws or seeds than the reference"):
        defaults.compare(folders, "linear", ["lr=3e-2"])


@pytest.mark.parametrize(
    ("gains", "everywhere", "passes"),
    [
        ((2.0, 2.5, 3.0), True, True),
        ((2.0, 2.5, 3.0), False, False),  # not tried in every cell
        ((0.9, 0.9, 0.9), True, False),  # too small a gain
        ((9.0, 0.0, 0.0), True, False),  # one cell alone
        ((5.0, 5.0, 5.0, 5.0, -2.1), True, False),  # a loss
        ((5.0, 5.0, 5.0, 5.0, -2.0), True, True),
        ((5.0,), True, False),  # one cell has no standard error
    ],
)
def test_a_setting_passes_by_gain_error_and_loss(
    defaults: ModuleType, gains: tuple[float, ...], everywhere: bool, passes: bool
) -> None:
    each = {str(cell): gain for cell, gain in enumerate(gains)}
    assert defaults.Setting("lr=1", each, each, everywhere).passes is passes
