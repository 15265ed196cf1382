"""Sweeps: what a file or flags mean, how the best is chosen, and that nothing is done twice."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import invoke

from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.store.store import Store
from stepcli.extract.config import ExtractConfig
from stepcli.probe.config import DataConfig, RunConfig, SweepConfig, TaskConfig
from stepcli.probe.data.slices import hold_out
from stepcli.probe.data.splits import LabelledClips, subsample
from stepcli.probe.sweeps.choice import choose
from stepcli.probe.sweeps.expand import (
    budget_warnings,
    points,
    read_sweep,
    run_configs,
    shipped_recipes,
    sweep_configs,
)
from stepcli.probe.sweeps.holding import on_slice
from stepcli.runtime.errors import UnknownName, UsageError

YAML = """
methods:
  step: {lr: [1e-3, 3e-3], heads: 4}
  linear: {lr: [1e-3, 1e-2], norm: [tokens, none]}
task: {name: arrow, clip_frames: 4, temporal_crop: true}
shared: {epochs: 2, batch_size: 8}
recipe: {weight_decay: 0.01}
seeds: 2
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(YAML)
    return path


def test_a_file_expands_to_every_point_and_seed(file: Path) -> None:
    configs = sweep_configs(read_sweep(file))
    assert {method: len(each) for method, each in configs.items()} == {"step": 4, "linear": 8}
    assert {c.recipe.weight_decay for c in configs["step"]} == {0.01}
    assert {(c.recipe.lr, c.seed) for c in configs["step"]} == {
        *((1e-3, 0), (1e-3, 1), (3e-3, 0), (3e-3, 1))
    }
    assert {c.options["heads"] for c in configs["step"]} == {4}
    (warning,) = budget_warnings(configs)
    assert "step 2, linear 4" in warning


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("methods:", "method:", "field of .*'method'; did you mean methods"),
        ("step:", "stepp:", "unknown method 'stepp'; did you mean step"),
        ("heads:", "head:", "setting of method step 'head'; did you mean heads"),
        ("weight_decay", "weight_decai", "field of recipe 'weight_decai'; did you mean weight_dec"),
        ("seeds: 2", "seeds: two", "seeds: Input should be a valid integer.*got 'two'"),
        ("epochs: 2", "epochs: 0", "shared.epochs: Input should be greater"),
        ("name: arrow", "name: arow", "task.name: Input should be 'classify'"),
        ("{lr: [1e-3, 3e-3], heads: 4}", "7", "methods.step: Input should be a valid dict"),
        ("seeds: 2", "seeds: [", "expected a YAML file"),
    ],
)
def test_mistakes_in_a_file_are_named(old: str, new: str, message: str, file: Path) -> None:
    file.write_text(YAML.replace(old, new, 1))
    with pytest.raises((UsageError, UnknownName), match=message):
        read_sweep(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a YAML file"):
        read_sweep(tmp_path / "nowhere.yaml")


def test_points_of_a_grid_a_zip_and_a_random_choice() -> None:
    values = {"lr": [1, 2, 3], "heads": [4, 5]}
    assert len(points(values, "grid", 0, 0)) == 6
    zipped = points({"lr": [1, 2], "heads": [4, 5], "pe": ["none"]}, "zip", 0, 0)
    assert zipped == [{"lr": 1, "heads": 4, "pe": "none"}, {"lr": 2, "heads": 5, "pe": "none"}]
    with pytest.raises(UsageError, match="heads has 2 values where another list has 3"):
        points(values, "zip", 0, 0)
    drawn = points(values, "random", 4, seed=1)
    assert len({json.dumps(point) for point in drawn}) == 4
    assert drawn == points(values, "random", 4, seed=1)
    assert points(values, "random", 99, seed=1) == points(values, "grid", 0, 0)


def configs_of(rates: list[float], seeds: int) -> list[RunConfig]:
    return run_configs(
        "linear", [{"lr": rate} for rate in rates], {}, TaskConfig(), DataConfig(), range(seeds)
    )


def test_each_seed_chooses_on_its_own_slice() -> None:
    configs = configs_of([1e-3, 1e-2, 1e-1], seeds=2)
    score = {(1e-3, 0): 0.5, (1e-2, 0): 0.9, (1e-1, 0): 0.9}
    score |= {(1e-3, 1): 0.7, (1e-2, 1): 0.6, (1e-1, 1): 0.2}
    choice = choose(configs, [score[c.recipe.lr, c.seed] for c in configs])
    assert [(c.recipe.lr, c.seed) for c in choice.configs] == [(1e-2, 0), (1e-3, 1)]
    # Seed 0 has two points at 0.9.
    assert choice.warnings == (
        "linear: several points are equally good on what was held out for 1 of 2 seeds; the first "
        "in the order of the search is taken",
    )
    assert choice.expected_best[0] == pytest.approx(sum(score.values()) / 6)
    assert choice.expected_best[-1] < 0.8


def test_a_best_value_on_the_edge_is_warned_of() -> None:
    configs = configs_of([1e-3, 1e-2], seeds=3)
    choice = choose(configs, [c.recipe.lr for c in configs])
    assert choice.warnings == (
        "linear: the best lr is the largest tried (0.01) for 3 of 3 seeds; widen the range",
    )


def test_a_slice_keeps_groups_whole_and_classes_alive() -> None:
    train = [
        ClipRow(f"{label}{i}", label, "train", group=f"{label}{i // 2}")
        for label in "abc"
        for i in range(20)
    ]
    table = LabelledClips(
        tuple(train), (ClipRow("t", "a", "test"),), ("a", "b", "c"), (), frozenset(), ()
    )
    held = hold_out(table, 0.2, seed=0)
    assert {row.group for row in held.train}.isdisjoint(row.group for row in held.test)
    assert sorted((*held.train, *held.test), key=train.index) == train
    for label in "abc":
        assert sum(row.label == label for row in held.test) == 4
    other = hold_out(table, 0.2, seed=1)
    assert held.test != other.test
    assert hold_out(table, 0.2, seed=0) == held


def test_a_slice_that_would_tear_a_group_is_refused() -> None:
    train = tuple(ClipRow(str(i), "a", "train", group="one") for i in range(20))
    table = LabelledClips(train, (), ("a",), (), frozenset(), ())
    with pytest.raises(UsageError, match="without splitting a group"):
        hold_out(table, 0.1, seed=0)


def test_a_config_on_a_slice_is_another_run() -> None:
    (config,) = configs_of([1e-3], seeds=1)
    assert on_slice(config).run_id("f") != config.run_id("f")
    assert on_slice(config).task.reported_split == "train-slice"


def test_a_sweep_trains_its_grid_and_only_once(file: Path, store: Store, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    place = ("--store", store.path, "--runs", runs)
    plan = invoke("sweep", file, "--dry-run", *place)
    assert plan.exit_code == 0, plan.output
    assert "12 runs, 0 done already, 12 to train in 1 pass" in plan.stdout
    assert "4 x step, " in plan.stdout
    assert re.search(r"about \d+ s of training, from a few timed steps", plan.stdout)
    assert not runs.exists()
    done = invoke("sweep", file, *place)
    assert done.exit_code == 0, done.output
    assert len(list(runs.glob("*/run.json"))) == 12
    again = invoke("sweep", file, "--dry-run", *place)
    assert "12 runs, 12 done already, 0 to train in 0 passes" in again.stdout
    assert "12 of 12 runs are done already" in invoke("sweep", file, *place).output


def test_a_dry_run_times_methods_that_read_more_than_tokens(store: Store, tmp_path: Path) -> None:
    place = ("--store", store.path, "--runs", tmp_path / "runs")
    plan = invoke("sweep", "--method", "duration,linear", "--dry-run", *place)
    assert plan.exit_code == 0, plan.output
    assert "5 x duration" in plan.stdout


def test_flags_say_what_a_file_says(file: Path, store: Store, tmp_path: Path) -> None:
    place = ("--store", store.path, "--runs", tmp_path / "runs")
    flags = "--method step,linear --lr 1e-3,1e-2 --set heads=2,4 --seeds 2 --epochs 1"
    crops = "--task arrow --clip-frames 4 --temporal-crop"
    plan = invoke("sweep", *flags.split(), *crops.split(), "--dry-run", *place)
    assert plan.exit_code == 0, plan.output
    assert "4 x step heads=2, " in plan.stdout
    assert "12 runs" in plan.stdout  # step 2 rates x 2 heads x 2 seeds, linear 2 rates x 2 seeds
    over = invoke("sweep", file, "--method", "step", "--seeds", 1, "--dry-run", *place)
    assert "2 runs" in over.stdout
    nothing = invoke("sweep", "--dry-run", *place)
    assert nothing.exit_code == 2
    assert "give a YAML file, or --method" in nothing.stderr


def test_selection_touches_the_test_split_once_a_seed(
    file: Path, store: Store, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    least = ("--slice-min", "clips=1,groups=1")
    done = invoke("sweep", file, "--select", *least, "--store", store.path, "--runs", runs)
    assert done.exit_code == 0, done.output
    records = [json.loads(path.read_text()) for path in runs.glob("*/run.json")]
    splits = [record["split"] for record in records]
    assert splits.count("train-slice") == 12
    assert splits.count("test") == 4
    shown = json.loads(invoke("results", "--runs", runs, "--format", "json").stdout)
    assert {row["split"] for row in shown} == {"test"}
    all_rows = invoke("results", "--runs", runs, "--format", "json", "--slices").stdout
    assert len(json.loads(all_rows)) == 16
    (selection,) = runs.glob("selection-*.json")
    chosen = json.loads(selection.read_text())["methods"]
    assert sorted(chosen) == ["linear", "step"]
    assert sorted(name for each in chosen.values() for name in each["chosen_runs"]) == sorted(
        row["run"] for row in shown
    )
    assert len(chosen["linear"]["expected_best_top1"]) == 4


RECIPE_STORES: dict[str, dict[str, Any]] = {
    "frames.yaml": {"frames": 32},
    "layers.yaml": {"layers": (-4, -3, -2, -1)},
    "augmentation-views.yaml": {"views": ("center", *(f"crop{n}" for n in range(8)))},
    "all-methods.yaml": {"cls": True, "dim": 32},
    "openclose-160.yaml": {"dim": 32},
    "order.yaml": {"dim": 32},
    "order-suite.yaml": {
        "labels": ("close", "open", "pull", "push"),
        "partners": {"open": "close", "close": "open", "push": "pull", "pull": "push"},
    },
    "base-to-novel.yaml": {"cls": True},
    "zero-shot.yaml": {"cls": True},
    "low-data.yaml": {"clips_each": 330, "frames": 2},
    "low-data-steps.yaml": {"clips_each": 330, "frames": 2},
}
"""What a recipe asks of its store beside 9 frames of 36 clips per class."""


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_shipped_recipe_runs_through(
    name: str, store_of: Callable[..., Store], text_of: Callable[..., object], tmp_path: Path
) -> None:
    """At a tiny size: one epoch, one seed, 16 channels."""
    store = store_of(
        tmp_path / "s", **({"frames": 9, "clips_each": 36} | RECIPE_STORES.get(name, {}))
    )
    if name in ("all-methods.yaml", "base-to-novel.yaml", "zero-shot.yaml"):
        text_of(["close", "open"], store=store.path, dim=8, vision_dim=16)
    place = ("--store", store.path, "--runs", tmp_path / "runs")
    small = ("--epochs", 1, "--seeds", 1, "--slice-min", "clips=1,groups=1,classes=1")
    done = invoke("sweep", f"recipes/{name}", *small, *place)
    assert done.exit_code == 0, done.output
    methods = set(read_sweep(Path("recipes") / name).methods)
    listed = ("results", "--slices", "--runs", tmp_path / "runs", "--format", "json")
    shown = json.loads(invoke(*listed).stdout)
    assert {row["method"] for row in shown} == methods
    on_train_alone = name in ("step-defaults.yaml", "step-options.yaml")
    assert any(row["split"] == "test" for row in shown) is not on_train_alone


def test_variants_may_name_the_task_that_an_option_is_for(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    """On a store without pairs of classes."""
    store = store_of(tmp_path / "s", labels=("close", "open"), partners={})
    words = ("--answer", "direction", "--method", "linear", "--epochs", 1, "--seeds", 1)
    place = ("--store", store.path, "--runs", tmp_path / "runs")
    done = invoke("sweep", "recipes/order-suite.yaml", *words, *place)
    assert "store has 6 frames" in done.output  # the arrow's crops
    longer = store_of(tmp_path / "longer", frames=9, partners={})
    done = invoke("sweep", "recipes/order-suite.yaml", *words, "--store", longer.path, *place[2:])
    assert done.exit_code == 0, done.output
    shown = invoke("results", "--runs", tmp_path / "runs", "--order-suite").stdout
    assert shown.count("50.0°") == 6


def test_variants_sweep_every_method_on_each(file: Path) -> None:
    file.write_text(YAML + "variants: [{shots: 2}, {shots: 4}, {}]\n")
    configs = sweep_configs(read_sweep(file))
    assert list(configs) == [
        *("step shots=2", "linear shots=2", "step shots=4", "linear shots=4", "step", "linear")
    ]
    assert {(c.task.shots, c.task.draw_seed, c.seed) for c in configs["step shots=2"]} == {
        *((2, 0, 0), (2, 1, 1))
    }
    assert {c.task.draw_seed for c in configs["step"]} == {None}
    file.write_text(YAML + "variants: [{shot: 2}]\n")
    with pytest.raises(UnknownName, match="field of a variant 'shot'; did you mean shots"):
        read_sweep(file)


def test_draws_are_nested_stratified_and_by_seed() -> None:
    train = tuple(ClipRow(f"{x}{i}", x, "train") for x in "ab" for i in range(20))
    table = LabelledClips(train, (), ("a", "b"), (), frozenset(), ())

    def draw(share: float, shots: int | None, seed: int) -> set[str]:
        return {row.id for row in subsample(table, share, shots, seed).train}

    assert draw(0.1, None, 0) < draw(0.25, None, 0) < draw(1.0, None, 0)
    assert draw(1.0, 2, 0) < draw(1.0, 4, 0)
    assert draw(0.1, None, 0) != draw(0.1, None, 1)
    assert sorted(clip[0] for clip in draw(1.0, 3, 5)) == ["a"] * 3 + ["b"] * 3
    assert len(draw(0.001, None, 0)) == 2


def test_own_recipes_fill_in_what_a_sweep_leaves_open() -> None:
    methods = {"linear": {"lr": [1e-3]}, "evl": {}}
    same = SweepConfig(methods=methods, recipe={"weight_decay": 0.2})
    own = SweepConfig(methods=methods, recipe_mode="own", seeds=1)
    assert {c.recipe.weight_decay for c in sweep_configs(same)["evl"]} == {0.2}
    (evl,) = sweep_configs(own)["evl"]
    assert (evl.recipe.lr, evl.recipe.weight_decay) == (4e-4, 0.05)
    (linear,) = sweep_configs(own)["linear"]
    assert linear.recipe.lr == 1e-3


def test_an_unknown_recipe_lists_close_ones() -> None:
    with pytest.raises(UnknownName, match=r"did you mean pe-scale\.yaml"):
        read_sweep(Path("recipes/pe_scale.yaml"))


@pytest.mark.parametrize("name", shipped_recipes())
def test_recipes_name_layers_that_extract_stores(name: str) -> None:
    sweep = read_sweep(shipped_recipes()[name])
    tasks = [sweep.task.model_dump() | variant for variant in sweep.variants]
    layers = sorted({task["layer"] for task in tasks if task["layer"] is not None})
    if layers:
        assert ExtractConfig(dataset="ssv2", layers=layers).layers == tuple(layers)
