"""`benchmarks/convergence.py` says what twice the epochs change, from the runs' own predictions."""

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
from stepcli.probe.runs.predictions import read_predictions
from stepcli.probe.runs.stats import accuracy_interval
from stepcli.runtime.errors import UsageError

TREE = Path(__file__).resolve().parents[3]
METHODS = {"conv1d": {"lr": 1e-2}, "prototype": {}}


@pytest.fixture(scope="module")
def convergence() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location(
        "convergence", TREE / "benchmarks" / "convergence.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their names
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"methods": METHODS, "task": {"name": "arrow"}, "seeds": 2}))
    return path


def test_change_and_verdict_are_those_of_the_predictions(
    convergence: ModuleType, recipe: Path, store_of: Callable[..., Store], tmp_path: Path
) -> None:
    """`prototype` is fitted, not trained: more epochs change nothing. Four epochs are too short
    for `conv1d`. Runs on the test split do not count."""
    store = store_of(tmp_path / "store", clips_each=120)
    runs = tmp_path / "runs"
    for epochs in (4, 8):
        place = ("--epochs", epochs, "--store", store.path, "--runs", runs)
        assert invoke("sweep", recipe, *place).exit_code == 0
    tested = {path.parent for path in runs.glob("*/run.json")}
    convergence.train(recipe, None, [4], store.path, runs)
    with pytest.raises(UsageError, match="no configuration has runs on a slice of train with n"):
        convergence.doublings([runs])
    convergence.train(recipe, None, [4, 8], store.path, runs)
    found = {each.method: each for each in convergence.doublings([runs])}
    assert set(found) == set(METHODS)
    rights: dict[tuple[str, int], list[np.ndarray]] = {}
    groups: tuple[str, ...] = ()
    for folder in {path.parent for path in runs.glob("*/run.json")} - tested:
        config = json.loads((folder / "run.json").read_text())["config"]
        predictions = read_predictions(folder)
        rights.setdefault((config["method"], config["shared"]["epochs"]), []).append(
            predictions.correct
        )
        groups = tuple(predictions.groups)
    assert len(set(groups)) >= 20
    for method, each in found.items():
        interval = accuracy_interval(np.stack(rights[method, 4]), groups)
        assert each.epochs == 4
        assert each.short == pytest.approx(np.mean(rights[method, 4]))
        assert each.long == pytest.approx(np.mean(rights[method, 8]))
        assert interval.low is not None
        assert interval.high is not None
        assert each.half_width == pytest.approx((interval.high - interval.low) / 2)
    assert found["prototype"].long == found["prototype"].short
    assert found["prototype"].converged
    conv = found["conv1d"]
    assert conv.long - conv.short > conv.half_width
    assert not conv.converged


def test_other_seeds_or_too_few_groups_are_refused(
    convergence: ModuleType, recipe: Path, store_of: Callable[..., Store], tmp_path: Path
) -> None:
    store = store_of(tmp_path / "store", clips_each=30)
    runs = tmp_path / "runs"
    convergence.train(recipe, ["conv1d"], [1, 2], store.path, runs)
    with pytest.raises(UsageError, match="fewer than 20 groups"):
        convergence.doublings([runs])
    recipe.write_text(recipe.read_text().replace("seeds: 2", "seeds: 3"))
    convergence.train(recipe, ["conv1d"], [2], store.path, runs)
    with pytest.raises(UsageError, match=r"seeds \[0, 1\] with 1 epochs, \[0, 1, 2\] with twice"):
        convergence.doublings([runs])
