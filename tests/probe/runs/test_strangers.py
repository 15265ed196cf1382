"""Runs that somebody hands over: what does not hold together is refused, with the reason."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "fuzz"))

from run_formats import SWEEP, make_runs, use_runs

from stepcli.probe.analysis.selection import chosen_table
from stepcli.probe.analysis.temperature import kept_calibration
from stepcli.probe.config import TaskConfig
from stepcli.probe.runs.compare import clear_winners, compare_methods, correctness
from stepcli.probe.runs.configurations import configurations
from stepcli.probe.runs.import_logits import import_logits, import_published, is_published
from stepcli.probe.runs.predictions import FILE, encode_predictions, read_predictions
from stepcli.probe.runs.published import read_imported
from stepcli.probe.runs.record import read_run, read_runs
from stepcli.probe.runs.table import summary_rows
from stepcli.probe.sweeps.expand import MOST_RUNS, read_sweep, sweep_configs
from stepcli.runtime.errors import UnknownName, UsageError


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    make_runs(tmp_path)
    use_runs(tmp_path)
    for folder in (tmp_path / "runs").glob("theirs-*"):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    return tmp_path / "runs"


def first_of(runs: Path) -> Path:
    return sorted(runs.glob("step-*"))[0]


def without(record: dict[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in record.items() if other != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: [], "expected an object, found list"),
        (lambda r: r | {"top1": "0.5"}, "top1 is '0.5'"),
        (lambda r: without(r, "seed"), "seed is missing"),
        (lambda r: without(r, "forced_choice"), "forced_choice is missing"),
        (lambda r: without(r, "classes"), "classes is missing"),
        (lambda r: without(r, "pairs"), "pairs is missing"),
        (lambda r: r | {"forced_choice": []}, r"forced_choice is \[\]"),
        (lambda r: r | {"classes": ["a", 1]}, r"classes is \['a', 1\]"),
        (lambda r: r | {"classes": "ab"}, "classes is 'ab'"),
        (lambda r: r | {"pairs": [["open"]]}, "is not of two of its classes"),
        (lambda r: r | {"pairs": [["open", "shut"]]}, "is not of two of its classes"),
        (lambda r: r | {"pairs": ["op"]}, r"pairs is \['op'\]"),
        (lambda r: r | {"config": r["config"] | {"task": []}}, r"config.task is \[\]"),
        (lambda r: r | {"run": "other"}, "says run 'other'; its folder must have the same name"),
    ],
)
def test_records_that_cannot_be(
    runs: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    path = first_of(runs) / "run.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(UsageError, match=message):
        read_run(path)


def test_a_record_without_what_later_versions_write_is_read(runs: Path) -> None:
    for path in runs.glob("step-*/run.json"):
        record = json.loads(path.read_text())
        for name in ("backbone", "dataset", "losses", "spec"):
            del record[name]
        path.write_text(json.dumps(record))
    _, rows = summary_rows(read_runs(runs), average_splits=True)
    assert len(rows) == 1
    (found,) = configurations(runs)
    with pytest.raises(UnknownName, match="label in pairs 'shut'"):
        found.pairs((("open", "shut"),))
    assert found.pairs() == [(0, 1)]
    with pytest.raises(UnknownName, match="method among the runs 'stepp'; did you mean step"):
        configurations(runs, ["stepp"])


def test_a_link_for_published_numbers_is_not_followed(runs: Path, tmp_path: Path) -> None:
    """The reader's message would show the first line of any file."""
    (tmp_path / "private").write_text("a secret\n")
    (runs / "published.csv").unlink(missing_ok=True)
    (runs / "published.csv").symlink_to(tmp_path / "private")
    with pytest.raises(UsageError, match="is a link, which is not followed"):
        read_imported(runs)


def test_predictions_that_cannot_be(runs: Path) -> None:
    folder = first_of(runs)
    said = read_predictions(folder)
    table = pq.read_table(folder / FILE)
    place = table.column_names.index("label")
    for shift in (1, -1):
        labels = pa.array(said.labels + shift)
        pq.write_table(table.set_column(place, "label", labels), folder / FILE)
        with pytest.raises(UsageError, match="a label that is none of its 2 classes"):
            read_predictions(folder)
    for wrong, message in (
        (
            replace(
                said,
                **{
                    name: value[:0]
                    for name in said.__dataclass_fields__
                    if (value := getattr(said, name)) is not None
                },
            ),
            "cannot be read",
        ),
    ):
        (folder / FILE).write_bytes(encode_predictions(wrong))
        with pytest.raises(UsageError, match=message):
            read_predictions(folder)
    (folder / FILE).unlink()
    with pytest.raises(UsageError, match=r"(is missing|cannot be read).* delete the run's folder"):
        read_predictions(folder)


def test_a_column_of_copies_that_cannot_be(runs: Path) -> None:
    folder = first_of(runs)
    table = pq.read_table(folder / FILE)
    place = table.column_names.index("copied")
    plain = table.drop_columns(["copied"])
    pq.write_table(plain, folder / FILE)  # as earlier versions wrote it
    assert read_predictions(folder).copied is None
    for cells in ([1] * len(table), [None] * len(table)):
        pq.write_table(table.set_column(place, "copied", pa.array(cells)), folder / FILE)
        with pytest.raises(UsageError, match="copied: expected bool"):
            read_predictions(folder)
    pq.write_table(
        plain.append_column("copied", pa.array([None] * len(table), pa.bool_())), folder / FILE
    )
    with pytest.raises(UsageError, match="an empty cell"):
        read_predictions(folder)


def test_runs_on_other_samples_are_not_compared(runs: Path) -> None:
    records = read_runs(runs)
    assert correctness(runs, records).seeds == 2
    with pytest.raises(ValueError, match="at least one run"):
        correctness(runs, [])
    folder = runs / records[1].run
    said = read_predictions(folder)
    order = np.arange(12)[::-1]
    turned = {name: getattr(said, name)[order] for name in ("starts", "backward", "labels")}
    mirrored = replace(said, clips=said.clips[::-1], logits=said.logits[order], **turned)
    (folder / FILE).write_bytes(encode_predictions(mirrored))
    assert correctness(runs, records).seeds == 2  # the same samples in another order
    other = replace(said, clips=("other", *said.clips[1:]))
    (folder / FILE).write_bytes(encode_predictions(other))
    with pytest.raises(UsageError, match="was tested on other samples than"):
        correctness(runs, records)
    with pytest.raises(UsageError, match="was tested on other samples than"):
        configurations(runs)[0].predictions()
    # A row that cannot be compared marks none of its table.
    config = records[1].config | {"method": "x"}
    alone = [records[0], records[1].model_copy(update={"config": config})]
    assert clear_winners(runs, alone) == frozenset()
    with pytest.raises(UnknownName, match="method among the runs 'linear'"):
        compare_methods(runs, records, ["linear", "step"])


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"methods": []},
        {"methods": {"step": 1.5}},
        {"methods": {"step": {"chosen_runs": [], "settings": []}}},
        {"methods": {"step": {"chosen_runs": ["../../x"], "settings": [{}]}}},
        {"methods": {"step": {"chosen_runs": ["x"], "settings": [1]}}},
        {"methods": {"step": {"chosen_runs": ["nowhere"], "settings": [{}]}}},
    ],
)
def test_selections_that_cannot_be(runs: Path, content: Any) -> None:
    assert "seen" in chosen_table(runs, "markdown")
    (runs / "selection-1.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"make the selection again|is not there"):
        chosen_table(runs, "markdown")
    with pytest.raises(UsageError, match="--format parquet holds runs"):
        chosen_table(runs, "parquet")


def test_a_calibration_that_cannot_be(runs: Path) -> None:
    folder = first_of(runs)
    kept = kept_calibration(folder)
    assert kept is not None
    assert kept.threshold(0.1) == 0.5
    with pytest.raises(UsageError, match=r"a risk of 0\.5 has no threshold"):
        kept.threshold(0.5)
    (folder / "calibration.json").write_text('{"temperature": 1}')
    with pytest.raises(UsageError, match="not a calibration; delete it"):
        kept_calibration(folder)
    (folder / "calibration.json").unlink()
    assert kept_calibration(folder) is None


def test_logits_of_others(runs: Path, tmp_path: Path) -> None:
    like = first_of(runs).name
    path = tmp_path / "logits.csv"
    lines = path.read_text().splitlines()
    for changed, message in (
        (lines[:-1], "expected the 12 samples of .*, found 11; missing 1: clip clip-0011"),
        ([*lines, "clip-0099,0,1"], "found 13; not tested by that run 1: clip clip-0099"),
        ([*lines, lines[1]], "line 14: clip clip-0000 start_frame 0 backward 0 appears twice"),
        ([*lines[:-1], "clip-0011,nan,1"], "line 13: expected finite logits of clip clip-0011"),
        ([*lines[:-1], "clip-0011,x,1"], "line 13: expected numbers"),
    ):
        path.write_text("\n".join(changed) + "\n")
        with pytest.raises(UsageError, match=message):
            import_logits(path, runs, like, name="theirs", seed=0, params=1)
    with pytest.raises(UnknownName, match="run in"):
        import_logits(path, runs, "nowhere", name="theirs", seed=0, params=1)
    path.write_text("method,value,params,source\nSTEP,67.5,1000,paper\n")
    assert import_published(path, runs) == 1
    assert read_imported(runs)[0].method == "STEP"
    path.write_bytes("\ufeffsource,method,value,params\r\npaper,ASU,68.5,1000\r\n".encode())
    assert is_published(path)  # as spreadsheets save it
    assert import_published(path, runs) == 1
    assert read_imported(runs)[0].method == "ASU"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [1]\nmethods: *a\n", "an alias"),
        ("methods: !!python/object/apply:os.system [x]\n", "could not determine a constructor"),
        ("[" * 100_000, "expected a YAML file"),
        ("methods: 2001-99-99\n", "month must be in"),
        ("- methods\n", "expected fields such as methods:"),
        ("method: {}\n", "did you mean methods"),
        (SWEEP.replace("seeds: 2", "seeds: 100000000"), "seeds: Input should be less than"),
        (SWEEP.replace("{pe:", "{pee:"), "did you mean pe"),
        (SWEEP.replace("train_share: 0.5", "share: 0.5"), "field of a variant 'share'"),
        (SWEEP.replace("weight_decay", "weight"), "field of recipe 'weight'"),
    ],
)
def test_sweeps_that_cannot_be(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_sweep(path)
    with pytest.raises(UnknownName, match="shipped recipe"):
        read_sweep(Path("recipes/nowhere.yaml"))


def test_more_runs_than_anybody_trains_are_a_slip(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP.replace("seeds: 2", f"seeds: {MOST_RUNS}"))
    with pytest.raises(UsageError, match="4 settings, 1000000 seeds and 2 variants are more than"):
        sweep_configs(read_sweep(path))
    many = ", ".join(["1e-3"] * 1001)
    path.write_text(f"methods:\n  step: {{lr: [{many}], weight_decay: [{many}]}}\n")
    with pytest.raises(UsageError, match="a grid of 1002001 settings, at most 1000000"):
        sweep_configs(read_sweep(path))
    with pytest.raises(UsageError, match="expected a CSV file"):
        TaskConfig(split_file="/dev/zero")
