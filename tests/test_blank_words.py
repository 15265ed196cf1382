"""An empty word of a command line is refused: it came from a variable that is not set, and would
mean all runs, or the folder that one is in."""

from pathlib import Path

import pytest
from command_line import call, invoke

EMPTY = (
    ("analyse", "runs", "--method", ""),
    ("analyse", "runs", "--method="),
    ("analyse", "", "--method", "step"),
    ("results", "--runs", ""),
    ("results", "--method", " "),
    ("results", "--compare", ""),
    ("runs", "rm", "--method", "step", "--task", "", "--yes"),
    ("runs", "rm", "--task=", "--method", "step", "--yes"),
    ("runs", "rm", "", "--yes"),
    ("store", "rm", "", "--yes"),
    ("predict", "runs/step", "--video", ""),
    ("probe", "--method", ""),
    ("sweep", "--method", "", "--dry-run"),
    ("extract", "--dataset", "folder", "--root", ""),
    ("export", ""),
)


@pytest.mark.parametrize("words", EMPTY, ids=" ".join)
def test_an_empty_word_is_refused(words: tuple[str, ...]) -> None:
    said = call(*words, code=2)
    assert "is a variable of the shell not set?" in " ".join(said.replace("│", " ").split())


def test_the_option_of_an_empty_value_is_named() -> None:
    assert "--task has an empty value" in call("results", "--task", "", code=2)
    assert "--task has an empty value" in call("results", "--task=", code=2)
    assert "an argument is empty" in call("analyse", "", code=2)


LISTS = (
    ("probe", "--method", ","),
    ("sweep", "--method", ",", "--dry-run"),
    ("results", "--compare", ","),
    ("results", "--method", ","),
    ("results", "--task", ","),
    ("results", "--store", ","),
    ("results", "--seed", ","),
    ("runs", "rm", "--method", ",", "--yes"),
    ("analyse", "--method", ","),
    ("order", "--method", ","),
    ("calibrate", "--method", ","),
    ("corruptions", "--method", ","),
    ("dense", "--method", ","),
    ("chirality", "groups.csv", "--method", ","),
)


@pytest.mark.parametrize("words", LISTS, ids=" ".join)
def test_a_list_without_a_name_is_refused(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "groups.csv").write_text("group,label\n")
    said = call(*words, code=2)
    assert "','" in said
    assert "expected" in said


def test_a_value_of_a_setting_may_be_empty(tmp_path: Path) -> None:
    """The command itself says what it expects."""
    words = ("probe", "--method", "step", "--set", "heads=", "--store", tmp_path)
    done = invoke(*words)
    assert done.exit_code == 2
    assert "shell" not in done.stderr
