"""Adaptive searches: on held-out slices, taken up where they were, several on one study."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
from command_line import invoke

from stepcli.cache.store.store import Store
from stepcli.probe.config import DataConfig, SliceMinimum, SweepConfig
from stepcli.probe.sweeps.adaptive import adaptive_search
from stepcli.probe.sweeps.session import Session


def test_optuna_searches_on_slices_and_takes_up_where_it_was(store: Store, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    place = ("--store", store.path, "--runs", runs, "--seeds", 2, "--epochs", 2)
    words = ("sweep", "--method", "linear", "--lr", "1e-4..1e-1", "--set", "norm=tokens,none")
    search = ("--slice-min", "clips=1,groups=1", "--search", "optuna", "--trials")
    dry = invoke(*words, *search, 3, *place, "--dry-run")
    assert "3 points for each of linear, 2 seeds each, on held-out slices" in dry.output
    assert not runs.exists()
    done = invoke(*words, *search, 3, *place)
    assert done.exit_code == 0, done.output
    splits = [json.loads(path.read_text())["split"] for path in runs.glob("*/run.json")]
    assert (splits.count("train-slice"), splits.count("test")) == (6, 2)
    (selection,) = runs.glob("selection-*.json")
    chosen = json.loads(selection.read_text())["methods"]["linear"]
    assert len(chosen["expected_best_top1"]) == 3
    assert chosen["settings"][0] == chosen["settings"][1]
    more = invoke(*words, *search, 4, *place)
    assert more.exit_code == 0, more.output
    assert "4 of 4 points" in more.output
    assert "3 of 3" not in more.output
    wrong = invoke(*words[:3], "--lr", "1e-2..1e-4", *search, 2, *place)
    assert "first end must be below" in wrong.stderr


def test_two_searches_on_one_study_try_different_points(store: Store, tmp_path: Path) -> None:
    """Each would draw the very same points, were the sampler seeded alike in both."""
    sweep = SweepConfig(
        methods={"linear": {"lr": "1e-4..1e-1"}},
        search="optuna",
        trials=6,
        seeds=1,
        shared=DataConfig(epochs=1),
        select=True,
        slice_min=SliceMinimum(clips=1, groups=1),
    )
    together = threading.Barrier(2)

    def search() -> None:
        session = Session(store.path, tmp_path, "cpu")
        together.wait()
        adaptive_search(session, sweep)

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(search) for _ in range(2)]:
            future.result()
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "optuna.journal"))
    storage = optuna.storages.JournalStorage(backend)
    study = optuna.load_study(study_name=None, storage=storage)
    rates = [trial.params["lr"] for trial in study.trials]
    assert len(rates) >= 6
    assert len(set(rates)) == len(rates)
