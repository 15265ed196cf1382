"""Semantic units: made from labels by a rule that repeats, and a part by hand that stays."""

from pathlib import Path

import pytest

from stepcli.extract.datasets.driveact import PAIRS
from stepcli.extract.datasets.openclose import INFO as OPENCLOSE
from stepcli.extract.datasets.registry import DATASETS
from stepcli.extract.datasets.unit_files import (
    BY_HAND,
    FOLDER,
    renew,
    unit_file,
    units_of,
    words_of,
)
from stepcli.runtime.errors import UsageError

SHIPPED = ("driveact", "hmdb51", "kinetics400", "openclose", "ssv2", "ucf101")


def test_the_rule() -> None:
    labels = [
        "ApplyEyeMakeup",
        "Putting [something] into [something]",
        "brush_hair",
        "brush dog's 2",
    ]
    assert words_of(labels) == ["apply", "eye", "makeup", "putting", "brush", "hair", "dogs"]


def test_each_data_set_that_ships_units_has_all_kinds_of_them() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(SHIPPED)
    for name in SHIPPED:
        assert name in DATASETS
        text = (FOLDER / f"{name}.txt").read_text()
        for kind in (
            "# From the labels",
            BY_HAND,
            "# Body parts",
            "# Objects",
            "# Scenes",
            "# Motions",
        ):
            assert text.count(kind) == 1, (name, kind)
        units = units_of(name, None)
        assert len(units) == len(set(units)) > 50


def test_the_labels_part_is_what_the_rule_makes(tmp_path: Path, project: Path) -> None:
    """For the labels that are here; the other lists come with their data sets."""
    table = (project / "examples" / "openclose" / "openclose.csv").read_text().splitlines()[1:]
    labels = sorted({line.split(",")[2] for line in table})
    copy = tmp_path / "openclose.txt"
    shipped = unit_file(OPENCLOSE.name)
    assert shipped is not None
    copy.write_text(shipped.read_text())
    renew(copy, labels)
    assert copy.read_text() == shipped.read_text()
    driveact = set(units_of("driveact", None))
    assert set(words_of(label for pair in PAIRS for label in pair)) <= driveact


def test_a_users_own_file_goes_first_and_no_file_is_no_units(tmp_path: Path) -> None:
    own = tmp_path / "mine.txt"
    own.write_text("# mine\na wheel\n\na wheel\na hub\n")
    assert units_of("ssv2", own) == ["a wheel", "a hub"]
    assert units_of("csv", None) == []
    with pytest.raises(UsageError, match="--units"):
        units_of("ssv2", tmp_path / "gone.txt")
