"""A run is named by what was trained: files count by their content, not by where they lie."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import call

from stepcli.cache.store.store import Store
from stepcli.probe.config import DataConfig, RunConfig, TaskConfig
from stepcli.probe.methods.registry import methods
from stepcli.probe.runs.record import parse_run, read_runs
from stepcli.probe.runs.table import render
from stepcli.probe.sweeps.expand import run_configs

OWN = """
from torch import nn
class Mine(nn.Module):
    def __init__(self, frames, tokens, dim, classes):
        super().__init__()
        self.read = nn.Linear(dim, classes)
    def forward(self, x):
        return self.read(x.mean(dim=(1, 2)))
class Other(Mine):
    pass
"""


def config(method: str = "linear", **task: str) -> RunConfig:
    methods().load(method)
    (found,) = run_configs(method, [{}], {}, TaskConfig(**task), DataConfig(epochs=1), range(1))
    return found


@pytest.fixture
def homes(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders with the same split file and own probe."""
    found = (tmp_path / "one", tmp_path / "two")
    for home in found:
        home.mkdir()
        (home / "mine.py").write_text(OWN)
        lines = [
            f"{x}/{i},{'test' if i > 3 else 'train'}" for x in ("open", "close") for i in range(6)
        ]
        (home / "split.csv").write_text("\n".join(("clip,split", *lines)))
    return found


def test_ids_hold_digests_not_paths(homes: tuple[Path, Path]) -> None:
    split = [config(split_file=str(home / "split.csv")).run_id("f") for home in homes]
    own = [config(f"{home / 'mine.py'}:Mine").run_id("f") for home in homes]
    assert split[0] == split[1] != config().run_id("f")
    assert own[0] == own[1]
    assert own[0].startswith("Mine-")
    assert config(f"{homes[0] / 'mine.py'}:Other").run_id("f") not in own
    (homes[1] / "split.csv").write_text("clip,split\nopen/0,train\nclose/0,test\n")
    (homes[1] / "changed.py").write_text(OWN + "\n")
    assert config(split_file=str(homes[1] / "split.csv")).run_id("f") != split[0]
    assert config(f"{homes[1] / 'changed.py'}:Mine").run_id("f") != own[0]
    assert config().run_id("f") == config().earlier_run_id("f")


def test_a_moved_file_trains_nothing_again(
    homes: tuple[Path, Path], tmp_path: Path, store_of: Callable[..., Store]
) -> None:
    store = store_of(tmp_path / "s")
    runs = tmp_path / "runs"
    for home in homes:
        said = call(
            *("probe", "--method", f"linear,{home / 'mine.py'}:Mine", "--epochs", 1),
            *("--split-file", home / "split.csv", "--store", store.path, "--runs", runs),
        )
    assert "2 of 2 runs are done already" in said
    found = read_runs(runs)
    assert len(found) == 2
    # Both places in one table make one row per method; another split makes another row.
    home = str(homes[0]).encode()
    moved = [parse_run(run.encode().replace(home, b"elsewhere")) for run in found]
    assert len(render([*found, *moved], "markdown").splitlines()) == 4
    task = found[0].task_settings | {"split_digest": "0" * 64}
    other = found[0].model_copy(update={"config": found[0].config | {"task": task}})
    table = render([*found, other], "markdown")
    assert len(table.splitlines()) == 5
    assert "split_file=split.csv 00000000 " in table  # one name, so a digest tells them apart


def test_runs_of_an_earlier_version_are_found(
    homes: tuple[Path, Path], tmp_path: Path, store_of: Callable[..., Store]
) -> None:
    store = store_of(tmp_path / "s")
    runs = tmp_path / "runs"
    words = (
        *("probe", "--method", "linear", "--epochs", 1, "--split-file", homes[0] / "split.csv"),
        *("--store", store.path, "--runs", runs),
    )
    call(*words)
    (record,) = read_runs(runs)
    earlier = record.settings.earlier_run_id(record.fingerprint)
    assert earlier != record.run
    (runs / record.run).rename(runs / earlier)
    path = runs / earlier / "run.json"
    old = json.loads(path.read_bytes()) | {"run": earlier}
    del old["identity"], old["tables"]
    path.write_text(json.dumps(old))
    assert "1 of 1 run is done already" in call(*words)
    assert [run.run for run in read_runs(runs)] == [earlier]


IDS = {
    "asu": "d872704cfe6326d4",
    "attentive": "90e40c45e32843da",
    "attentive-deep": "efb1d3dea48dd3d4",
    "concat": "d742b59e9dd0cf10",
    "concat-lowrank": "1439e640e84ff31b",
    "conv1d": "078ec7d8aae32316",
    "dct": "3401368c20792b51",
    "difference": "6057b9e3d73bf553",
    "duration": "e2819986faee5c3d",
    "early-late": "30879d6c544509ef",
    "efficient": "ad5f515ac948a82d",
    "evl": "81be1c07350a3a81",
    "first-frame": "30ee37573215092a",
    "first-last": "df2fb57419d54a53",
    "gru": "4d0bb01a30ed9d1f",
    "knn": "3e7ead9e2c4ef2f1",
    "last-frame": "7f6460b254a2b453",
    "lift": "d29133bb6f7dabd6",
    "linear": "9147710d08601ace",
    "lstm": "659f27eb945767ed",
    "middle-frame": "33729f42755caa6f",
    "mlp": "96b5dc2ce7cf9dc1",
    "prototype": "ed371b2b692aa9a2",
    "rvm": "4501d3a55a374094",
    "self-attention": "3fa9daa7876035f7",
    "self-similarity": "ade829d9d34e64f1",
    "spectral": "b1eec2307230f8b8",
    "step": "e06df417dde937b2",
    "temporal-transformer": "1abac89fc11b267a",
    "trn": "4492cf2b55e6cd68",
    "tsm": "4a0a64bdc3d199ae",
    "vcs": "2b0eb9b3bdcd6c37",
    "xclip": "1eee37c86d6a8ece",
    "zero-shot": "53af80fd7cd26567",
}
"""Method -> digest in the id of its run with the default settings of commit 1453978."""
THEN: dict[str, dict[str, float]] = {"asu": {"layers": 1}, "step": {"pe_scale": 0.3}}
"""Method -> defaults that have changed since."""


def test_ids_of_built_in_methods_never_change() -> None:
    names = [name for name in methods().names() if ".py:" not in name]
    found = {}
    for name in names:
        methods().load(name)
        settings = (TaskConfig(), DataConfig(epochs=1), range(1))
        (then,) = run_configs(name, [THEN.get(name, {})], {}, *settings)
        found[name] = then.run_id("f")
    assert found == {name: f"{name}-{digest}" for name, digest in IDS.items()}


@pytest.mark.parametrize(
    ("method", "tried", "task", "data", "seed", "run_id"),
    [
        (
            "step",
            {"heads": 4, "lr": 1e-3, "dropout": 0.1, "pe_scale": 0.3},
            {"name": "arrow", "clip_frames": 4, "temporal_crop": True},
            {"mixup": 0.2, "accumulate": 2},
            3,
            "step-3398d0ff9d31707f",
        ),
        (
            "linear",
            {},
            {"slice_seed": 1, "folds": 3, "fold": 1},
            {"steps": 100},
            0,
            "linear-fdcca37c0497af0f",
        ),
        (
            "linear",
            {},
            {"shots": 4, "protocol": "base-to-novel", "pairs": [("a", "b")]},
            {},
            2,
            "linear-0dabf562ced091c3",
        ),
    ],
)
def test_ids_of_other_settings_never_change(
    method: str, tried: dict[str, float], task: Any, data: Any, seed: int, run_id: str
) -> None:
    (found,) = run_configs(method, [tried], {}, TaskConfig(**task), DataConfig(**data), [seed])
    assert found.run_id("tokens") == run_id
