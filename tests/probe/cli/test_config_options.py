"""Options of `probe` and `sweep` are made from the configs, and `--config` gives them."""

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import call, invoke
from pydantic import BaseModel
from typer.main import get_command

from stepcli.cache.store.store import Store
from stepcli.cli import app
from stepcli.probe.config import DataConfig, OptimConfig, SweepConfig, TaskConfig
from stepcli.runtime.settings import keys_of, setting_of


def settings_of(runs: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text())["config"] for path in runs.glob("*/run.json")]


def test_a_file_gives_the_options_of_a_probe(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "probe.yaml"
    file.write_text(
        f"method: linear\nstore: {store.path}\nepochs: 2\nbatch-size: 6\nlr: 0.003\n"
        "dropout: 0.2\nmixup: 0.3\nseeds: 2\nclip_frames: 3\njitter: true\n"
    )
    call("probe", "--config", file, "--runs", tmp_path / "runs", "--epochs", 1, "--warmup", 0)
    first, second = settings_of(tmp_path / "runs")
    assert {first["seed"], second["seed"]} == {0, 1}
    assert first["recipe"] == OptimConfig(lr=0.003, dropout=0.2, warmup=0).model_dump()
    assert first["shared"] == DataConfig(epochs=1, batch_size=6, mixup=0.3).model_dump()
    task = TaskConfig(clip_frames=3, jitter=True).model_dump(mode="json")
    assert first["task"] == task


def test_without_a_rate_the_methods_own_counts(store: Store, tmp_path: Path) -> None:
    words = ("--store", store.path, "--runs", tmp_path / "runs", "--epochs", 1)
    call("probe", "--method", "linear", *words)
    (config,) = settings_of(tmp_path / "runs")
    assert config["recipe"] == OptimConfig(lr=1e-2).model_dump()


def test_a_sweep_tries_several_values_of_each_training_setting(
    store: Store, tmp_path: Path
) -> None:
    words = ("--store", store.path, "--runs", tmp_path / "runs", "--epochs", 1, "--seeds", 1)
    tried = ("--lr", "1e-3,1e-2", "--dropout", "0,0.1", "--label-smoothing", 0)
    call("sweep", "--method", "linear", *tried, *words)
    found = {(c["recipe"]["lr"], c["recipe"]["dropout"]) for c in settings_of(tmp_path / "runs")}
    assert found == {(lr, dropout) for lr in (1e-3, 1e-2) for dropout in (0.0, 0.1)}
    assert {c["recipe"]["label_smoothing"] for c in settings_of(tmp_path / "runs")} == {0.0}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("probe", "--lr", 0), "--lr 0.0: "),
        (("probe", "--dropout", 1), "--dropout 1.0: "),
        (("probe", "--observed", 0), "--observed 0.0: expected a value greater than 0"),
        (("probe", "--accumulate", 7), "--accumulate 7 does not divide --batch-size 64"),
        (
            (
                "probe",
                "--jitter",
            ),
            "--jitter needs a length",
        ),
        (("sweep", "--observed", 0), "sweep: task.observed: Input should be greater than 0"),
        (("sweep", "--slice-min", "clips=x"), "--slice-min 'clips=x': expected clips=N"),
        (("sweep", "--dropout", "0.1,2"), "--dropout '2': "),
    ],
)
def test_values_that_do_not_fit_are_one_line(
    words: tuple[object, ...], said: str, store: Store, tmp_path: Path
) -> None:
    place = ("--method", "linear", "--store", store.path, "--runs", tmp_path / "runs")
    done = invoke(*words, *place)
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "models"),
    [
        ("probe", (TaskConfig, DataConfig, OptimConfig)),
        ("sweep", (TaskConfig, DataConfig, OptimConfig, SweepConfig)),
    ],
)
def test_every_setting_is_an_option_with_the_fields_help(
    name: str, models: tuple[type[BaseModel], ...]
) -> None:
    group: Any = get_command(app)
    command = group.get_command(None, name)
    command.make_context(name, [], resilient_parsing=True)
    helps = {each.name: each.help for each in getattr(command, "params", [])}
    for model in models:
        for key, field in keys_of(model).items():
            info = model.model_fields[field]
            assert info.description
            assert setting_of(info) is not None
            assert helps[key].replace("\\", "") == info.description
