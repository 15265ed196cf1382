"""The order suite's table and words, made from runs and from made-up cells."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import invoke

from stepcli.probe.analysis.order_suite import FAMILIES, Suite, SuiteCell, SuiteRow, order_suites
from stepcli.probe.analysis.order_suite_words import conclusions, suite_texts
from stepcli.probe.report.write import write_report
from stepcli.probe.runs.stats import accuracy_interval
from stepcli.runtime.errors import UsageError

GROUPS = tuple(f"g{number}" for number in range(40))


def cell(share: float, *, seeds: int = 3, seed: int = 0) -> SuiteCell:
    """80 samples, two of each group: both right with some chance, else one of them."""
    random = np.random.default_rng(seed)
    both = random.random((seeds, 40)) < 2 * share - 1
    right = np.stack([np.ones_like(both), both], axis=2).reshape(seeds, 80).astype(float)
    groups = tuple(np.repeat(GROUPS, 2).tolist())
    found = accuracy_interval(right, groups)
    samples = tuple((group, 0, bool(i % 2)) for i, group in enumerate(groups))
    return SuiteCell(right, groups, samples, found.mean, found.low, found.high)


def suite(*rows: SuiteRow) -> Suite:
    tasks = tuple(dict.fromkeys(task for row in rows for task in row.cells))
    return Suite("made-up", "", "test", "f", tasks, rows, ())


def row(name: str, family: str, **cells: SuiteCell) -> SuiteRow:
    return SuiteRow(name, name, family, cells)  # type: ignore[arg-type]


def test_words_say_who_sees_what_and_where_step_loses() -> None:
    found = conclusions(
        suite(
            row("linear", "order-blind", arrow=cell(0.5), twins=cell(0.5), sawtooth=cell(0.5)),
            row("dct", "linear in time", arrow=cell(0.9), twins=cell(0.5), sawtooth=cell(0.5)),
            row("gru", "other head", arrow=cell(1.0), twins=cell(0.5), sawtooth=cell(0.8)),
            row("step", "step", arrow=cell(0.75), twins=cell(0.98), sawtooth=cell(0.5)),
        )
    )
    text = "\n".join(found)
    assert "Order-blind probes (linear) are at the null on every task." in text
    assert "step sees which tokens come when (twins 9" in text
    assert "no other row does: dct (50.0 %), gru (50.0 %)." in text
    assert "step does not see local motion at a random phase (sawtooth 50.0 %); gru (" in text
    (differences,) = [line for line in found if line.startswith("step minus the best other row")]
    assert "twins: +4" in differences
    assert "against linear" in differences or "against dct" in differences
    assert differences.count("a loss") == 2  # arrow and sawtooth
    assert differences.count("a gain") == 1


def test_words_name_order_blind_rows_that_are_off_the_null() -> None:
    found = conclusions(suite(row("linear", "order-blind", arrow=cell(0.5), twins=cell(0.9))))
    assert found[1].startswith("Order-blind probes (linear) are off the null: linear on twins (")


def test_a_cell_is_at_the_null_if_its_interval_holds_it() -> None:
    assert cell(0.5).at_null
    assert cell(0.5).text == "50.0 ± 0.0°"
    assert not cell(0.9).at_null
    assert cell(0.9).sees
    few = SuiteCell(np.ones((1, 4)), ("a",) * 4, (("a", 0, False),) * 4, 1.0, None, None)
    assert few.sees
    assert few.text == "100.0"


def test_a_narrow_terminal_gets_the_table_without_deviations() -> None:
    found = suite(row("linear", "order-blind", arrow=cell(0.5), twins=cell(0.5)))
    wide, narrow = ("\n".join(suite_texts([found], "table", width)) for width in (45, 44))
    assert "50.0 ± 0.0°" in wide
    assert "±" not in narrow.partition("Per cent")[0]
    assert "50.0°" in narrow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, store_of: object) -> Path:
    """Three methods on three tasks, two seeds, one epoch."""
    home = tmp_path_factory.mktemp("suite")
    store = store_of(  # type: ignore[operator]
        home / "s",
        labels=("close", "open", "pull", "push"),
        partners={"open": "close", "close": "open", "push": "pull", "pull": "push"},
        clips_each=36,
    )
    words = ("--method", "linear,dct,step", "--epochs", 1, "--seeds", 2)
    for task in ("twins", "distractors", "arrow"):
        place = ("--store", store.path, "--runs", home / "runs")
        done = invoke("sweep", *words, "--task", task, *place)
        assert done.exit_code == 0, done.output
    return home / "runs"


def test_results_show_the_suite_below_the_runs_and_by_itself(runs: Path, tmp_path: Path) -> None:
    (found,) = order_suites(runs)
    assert found.tasks == ("arrow", "distractors", "twins")
    assert [r.family for r in found.rows] == sorted(
        (r.family for r in found.rows), key=FAMILIES.index
    )
    blind = found.rows[0]
    assert blind.method == "linear"
    assert {each.text for each in blind.cells.values()} == {"50.0 ± 0.0°"}
    plain = invoke("results", "--runs", runs).stdout
    alone = invoke("results", "--runs", runs, "--order-suite").stdout
    assert alone.startswith("The order suite on made-up (test), made-up\n")
    assert alone.strip() in plain
    assert "Order-blind probes (linear) are at the null on every task." in alone
    entries = json.loads(
        invoke("results", "--runs", runs, "--order-suite", "--format", "json").stdout
    )
    assert len(entries) == 9
    assert {each["at_null"] for each in entries if each["method"] == "linear"} == {True}
    out = tmp_path / "suite.csv"
    invoke("results", "--runs", runs, "--order-suite", "--format", "csv", "--out", out)
    assert len(list(csv.DictReader(out.read_text().splitlines()))) == 9
    latex = invoke("results", "--runs", runs, "--order-suite", "--format", "latex").stdout
    assert r"\toprule" in latex
    refused = invoke("results", "--runs", runs, "--order-suite", "--format", "parquet")
    assert refused.exit_code != 0


def test_a_suite_needs_two_tasks(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    for folder in runs.glob("linear-*"):
        if '"task": "twins"' in (folder / "run.json").read_text():
            (tmp_path / "one" / folder.name).symlink_to(folder)
    assert order_suites(tmp_path / "one") == []
    refused = invoke("results", "--runs", tmp_path / "one", "--order-suite")
    assert "no runs of two or more tasks of the order suite" in refused.output


def test_runs_without_predictions_are_shown_without_the_suite(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    next((tmp_path / "runs").glob("dct-*/predictions.parquet")).unlink()
    shown = invoke("results", "--runs", tmp_path / "runs")
    assert shown.exit_code == 0
    assert "note: order suite: " in shown.output
    assert "dct" in shown.stdout


def test_the_report_begins_with_the_suite(runs: Path, tmp_path: Path) -> None:
    report = write_report(runs, tmp_path / "report", pdf=False)
    page = report.page.read_text()
    assert page.index("The order suite on made-up") < page.index("arrow on made-up")
    assert (tmp_path / "report/figures/order-suite.svg").is_file()
    table = (tmp_path / "report/tables/order-suite.csv").read_text()
    assert table.splitlines()[0] == "method,kind,arrow,distractors,twins"
    assert any("the task arranges frames of its own" in line for line in report.missing)


def test_no_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        order_suites(tmp_path / "nowhere")
