"""What is given twice, misspelt or without effect is refused, with what to give instead."""

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import call

from stepcli.cache.store.store import Store


@pytest.fixture
def place(store_of: Callable[..., Store], tmp_path: Path) -> tuple[object, ...]:
    return ("--store", store_of(tmp_path / "s").path, "--runs", tmp_path / "runs")


@pytest.mark.parametrize("command", ["probe", "sweep"])
def test_a_setting_has_one_value(command: str, place: tuple[object, ...]) -> None:
    words = (command, "--method", "step", "--epochs", 1, "--seeds", 1, *place)
    said = call(*words, "--set", "heads=4", "--set", "heads=8", code=2)
    assert "--set heads is given twice, with 4 and 8" in said
    assert "--set heads=4,8" in said
    call(*words, "--set", "heads=4", "--set", "heads=4")


@pytest.mark.parametrize("command", ["probe", "sweep"])
@pytest.mark.parametrize("task", ["classify", "multi-label"])
def test_directions_are_of_tasks_that_show_them(
    command: str, task: str, place: tuple[object, ...]
) -> None:
    words = (command, "--method", "linear", "--epochs", 1, "--seeds", 1, *place)
    said = call(*words, "--task", task, "--directions", "forward", code=2)
    assert f"--directions forward: --task {task} shows no clip backward" in said
    call(*words, "--task", "arrow", "--directions", "forward")


DOUBLED = {
    "seeds: 1\nmethods: {linear: {}}\nseeds: 2\n": "'seeds' is given twice, again in line 3",
    "methods:\n  linear: {lr: 0.1}\n  linear: {lr: 0.2}\n": "'linear' is given twice",
    "methods: {linear: {lr: 0.1, lr: 0.2}}\n": "'lr' is given twice",
}


@pytest.mark.parametrize("content", DOUBLED)
def test_a_key_of_a_file_is_given_once(
    content: str, place: tuple[object, ...], tmp_path: Path
) -> None:
    (tmp_path / "sweep.yaml").write_text(content)
    said = call("sweep", tmp_path / "sweep.yaml", *place, "--dry-run", code=2)
    assert DOUBLED[content] in said


def test_options_in_a_file_are_given_once(place: tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "probe.yaml").write_text("epochs: 1\nmethod: linear\nepochs: 3\n")
    said = call("probe", "--config", tmp_path / "probe.yaml", *place, code=2)
    assert "'epochs' is given twice, again in line 3" in said


TYPOS = {
    "methods: {linear: {}}\ntask: {name: arrow, clip_frame: 8}\n": "did you mean clip_frames",
    "methods: {linear: {}}\nshared: {epoch: 8}\n": "did you mean epochs",
}


@pytest.mark.parametrize("content", TYPOS)
def test_a_misspelt_field_is_answered_with_the_nearest(
    content: str, place: tuple[object, ...], tmp_path: Path
) -> None:
    (tmp_path / "sweep.yaml").write_text(content)
    said = call("sweep", tmp_path / "sweep.yaml", *place, "--dry-run", code=2)
    assert TYPOS[content] in said
    assert "sweep.yaml" in said


def test_a_range_says_what_it_needs(place: tuple[object, ...]) -> None:
    words = ("sweep", "--method", "linear", "--lr", "1e-4..1e-3", *place, "--dry-run")
    assert "a range needs --search optuna" in call(*words, code=2)


@pytest.mark.parametrize("name", ["order-suite", "order-suite.yaml", "nowhere/order-suite.yaml"])
def test_a_shipped_recipe_is_named(name: str, place: tuple[object, ...]) -> None:
    said = call("sweep", name, *place, "--dry-run", code=2)
    assert "did you mean recipes/order-suite.yaml?" in said


def test_a_list_in_a_file_is_a_list_of_the_option(
    place: tuple[object, ...], tmp_path: Path
) -> None:
    for number, methods in enumerate(("[step, linear]", "step,linear", "step linear")):
        (tmp_path / "probe.yaml").write_text(f"method: {methods}\nepochs: 1\n")
        said = call("probe", "--config", tmp_path / "probe.yaml", *place)
        assert ("2 of 2 runs are done already" in said) == (number > 0)
