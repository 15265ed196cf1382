"""Top-5 of five classes or fewer is 100 % for every model: no table and no card has it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import call

from stepcli.cache.store.store import Store


@pytest.mark.parametrize(("classes", "told"), [(2, False), (5, False), (6, True)])
def test_top5_is_shown_for_more_than_five_classes(
    classes: int, told: bool, store_of: Callable[..., Store], tmp_path: Path
) -> None:
    labels = tuple(f"class {number}" for number in range(classes))
    store_of(tmp_path / "store", labels=labels, partners={}, clips_each=3)
    runs = tmp_path / "runs"
    call("probe", "--method", "linear", "--epochs", 1, "--store", tmp_path / "store",
         "--runs", runs)  # fmt: skip
    for form in ("table", "markdown", "latex"):
        assert ("top5" in call("results", "--runs", runs, "--format", form)) == told
    assert "top5" in call("results", "--runs", runs, "--format", "csv")  # for scripts: all columns
    call("export", *runs.glob("linear-*"), "--out", tmp_path / "out")
    (card,) = (tmp_path / "out").glob("*/README.md")
    assert ("top5" in card.read_text()) == told


def test_a_row_of_few_classes_has_none_beside_one_of_many(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    for name, count in (("few", 3), ("many", 7)):
        labels = tuple(f"{name} {number}" for number in range(count))
        store_of(tmp_path / name, labels=labels, partners={}, clips_each=3)
        call("probe", "--method", "linear", "--epochs", 1, "--store", tmp_path / name,
             "--runs", tmp_path / "runs")  # fmt: skip
    head, *rows = call("results", "--runs", tmp_path / "runs", "--format", "markdown").splitlines()
    place = head.split("|").index(" top5 ")
    assert sorted(row.split("|")[place].strip() == "-" for row in rows[1:]) == [False, True]
