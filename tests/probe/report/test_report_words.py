"""Sentences of a report: what was done and what it shows, and nothing else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import call

from stepcli.cache.store.store import Store
from stepcli.probe.report.protocol import protocol
from stepcli.probe.report.report_data import Study, gather
from stepcli.probe.report.tables import leaderboard
from stepcli.probe.report.text import headline, verdict

ARROW = ("--task", "arrow", "--clip-frames", 4, "--temporal-crop")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, store_of: Callable[..., Store]) -> Path:
    """A large store and a small one of one group, whose runs lie apart."""
    place = tmp_path_factory.mktemp("words")
    store_of(place / "store", clips_each=72)
    small = store_of(place / "small", clips_each=12)
    small.replace_clips([replace(row, group=f"g-{row.split}") for row in small.clips()])
    small.refresh()
    return place


def trained(folder: Path, runs: str, methods: str, *words: object, store: str = "store") -> Study:
    common = ("--store", folder / store, "--runs", folder / runs)
    call("probe", "--method", methods, *words, *common)
    (study,) = gather(folder / runs)
    return study


def test_the_verdict_compares_with_the_best_control(folder: Path) -> None:
    certain = ("--epochs", 20, "--lr", 3e-3, "--seeds", 2)
    study = trained(folder, "gain", "concat,first-frame,linear", *ARROW, *certain)
    assert headline(study).startswith(
        "concat sees the order of frames and is not shown to be better than first-frame, the best "
        "control: top-1 100.0 % against "
    )
    assert headline(study).endswith("The best order-blind probe, linear, has 50.0 %.")
    without = Study(tuple(study.of_kind("sees order", "order-blind")))
    assert headline(without).startswith(
        "concat sees the order of frames and is better than linear, the best order-blind probe: "
        "top-1 100.0 % against 50.0 % (+50.0 points"
    )
    alone = headline(Study(tuple(study.of_kind("sees order"))))
    assert "no control and no order-blind probe is among the runs" in alone
    assert headline(Study(tuple(study.of_kind("order-blind")))).startswith("No probe that sees")


def test_one_group_has_no_interval_anywhere(folder: Path) -> None:
    study = trained(folder, "few", "concat,linear", "--epochs", 2, store="small")
    paragraph = protocol(study)
    assert "8 samples in 1 group of clips" in paragraph
    assert "no intervals are given, since there are fewer than 20 groups" in paragraph
    assert "Results are of one seed" in paragraph
    assert "Satterthwaite" not in paragraph
    assert "No intervals: 1 group of clips is fewer than 20" in leaderboard(study).caption
    assert "too few groups of clips for a conclusion" in headline(study)
    assert not any("1 groups" in line for line in (paragraph, *verdict(study)))


def test_the_protocol_says_what_each_row_did(folder: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(
        "methods: {linear: {lr: [1e-3, 3e-3]}, knn: {}}\nvariants: [{}, {train_share: 0.5}]\n"
        "seeds: 1\nshared: {epochs: 2, mixup: 0.2}\nrecipe: {label_smoothing: 0.0}\n"
    )
    call("sweep", sweep, "--store", folder / "store", "--runs", folder / "rows")
    (study,) = gather(folder / "rows")
    text = protocol(study)
    assert "Some rows of the table (see their names) are trained on a part of the training" in text
    assert "2 epochs, batches of 64, learning rates 0.001, 0.003, weight decay 0.05" in text
    assert "label smoothing 0;" in text
    assert "Further settings: mixup 0.2." in text
    assert "Without gradient descent: knn." in text
    assert "crops" not in text
    assert "over groups of clips (quantile of t)" in text


def test_names_leave_out_what_a_study_shares(
    folder: Path, store_of: Callable[..., Store], tmp_path: Path
) -> None:
    """Runs on two stores, with a file of splits each: no digest is in a name or a title."""
    for name, frames in (("one", 6), ("two", 8)):
        store_of(tmp_path / name, frames=frames, clips_each=9)
        rows = (f"{c}/{n},{'test' if n > 5 else 'train'}" for c in ("open", "close")
                for n in range(9))  # fmt: skip
        (tmp_path / f"{name}.csv").write_text("clip,split\n" + "\n".join(rows) + "\n")
        call("probe", "--method", "linear,concat", "--epochs", 1, "--seeds", 2,
             "--split-file", tmp_path / f"{name}.csv", "--store", tmp_path / name,
             "--runs", tmp_path / "runs")  # fmt: skip
    studies = gather(tmp_path / "runs")
    assert len(studies) == 2
    for study in studies:
        assert sorted(entry.label for entry in study.entries) == ["concat", "linear"]
    assert {study.apart for study in studies} == {"splits of one.csv", "splits of two.csv"}


def test_test_sets_of_one_size_are_studies_of_their_own(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    """Two official splits of one store, whose test sets have as many clips."""
    store_of(tmp_path / "store", clips_each=9)
    for number in (1, 2):
        rows = (f"{c}/{n},{'test' if n % 3 == number else 'train'}" for c in ("open", "close")
                for n in range(9))  # fmt: skip
        file = tmp_path / f"split{number}.csv"
        file.write_text("clip,split\n" + "\n".join(rows) + "\n")
        call("probe", "--method", "linear,concat", "--epochs", 1, "--split-file", file,
             "--store", tmp_path / "store", "--runs", tmp_path / "runs")  # fmt: skip
    studies = gather(tmp_path / "runs")
    assert sorted(study.apart for study in studies) == [
        "splits of split1.csv",
        "splits of split2.csv",
    ]
    for study in studies:
        assert sorted(entry.label for entry in study.entries) == ["concat", "linear"]
