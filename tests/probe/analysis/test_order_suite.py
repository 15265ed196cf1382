"""The order suite's table and words, made from runs and from made-up cells."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import invoke

from stepcli.probe.analysis.order_suite import (
    FAMILIES,
    Suite,
    SuiteCell,
    SuiteRow,
    family_of,
    order_suites,
)
from stepcli.probe.analysis.order_suite_words import conclusions, suite_texts
from stepcli.probe.report.write import write_report
from stepcli.probe.runs.predictions import read_predictions
from stepcli.probe.runs.record import read_run
from stepcli.probe.runs.stats import accuracy_interval
from stepcli.runtime.errors import UsageError


def cell(share: float, *, seeds: int = 3, seed: int = 0) -> SuiteCell:
    """80 samples, two of each group: both right with some chance, else one of them."""
    random = np.random.default_rng(seed)
    both = random.random((seeds, 40)) < 2 * share - 1
    return made(np.stack([np.ones_like(both), both], axis=2).reshape(seeds, 80).astype(float))


def made(right: np.ndarray, groups: int = 40) -> SuiteCell:
    """Of clips that are shown in both directions, [seeds, 2 clips], spread over the groups."""
    clips = [f"clip{number}" for number in np.repeat(range(right.shape[1] // 2), 2)]
    of = tuple(f"g{number % groups}" for number in np.repeat(range(len(clips) // 2), 2))
    samples = tuple((clip, 0, bool(i % 2)) for i, clip in enumerate(clips))
    found = accuracy_interval(right, of)
    return SuiteCell(right, of, samples, found.mean, found.low, found.high)


def few(share: float, groups: int = 8) -> SuiteCell:
    """The same samples in fewer groups than an interval needs."""
    return made(cell(share).right, groups)


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


def test_without_an_interval_the_values_are_given_without_a_conclusion() -> None:
    found = suite(
        row("linear", "order-blind", arrow=few(0.5), twins=few(0.5)),
        row("concat", "linear in time", arrow=few(0.51), twins=few(0.5)),
        row("step", "step", arrow=few(0.9), twins=few(0.6, 19)),
    )
    text = "\n".join(conclusions(found))
    assert (
        "No interval could be made: arrow has 8 groups, twins has 19 groups, at least 20 are "
        "needed." in text
    )
    assert "° is the null: exactly 50 % of each draw." in text
    step, concat = (100 * found.rows[i].cells["arrow"].mean for i in (2, 1))
    assert f"arrow, without an interval: step ({step:.1f} %), concat ({concat:.1f} %)." in text
    assert "Order-blind probes (linear) are at the null on every task." in text
    for claim in (" see", "no other row", "minus the best", "does not"):
        assert claim not in text
    assert [each["at_null"] for each in found.records()] == [True, True, None, True, None, None]


def test_one_task_without_an_interval_leaves_the_others_their_conclusion() -> None:
    found = conclusions(
        suite(
            row("dct", "linear in time", arrow=few(0.9), twins=cell(0.5)),
            row("step", "step", arrow=few(0.9), twins=cell(0.98)),
        )
    )
    text = "\n".join(found)
    assert "No interval could be made: arrow has 8 groups, at least" in text
    assert "arrow, without an interval: step (" in text
    assert "step sees which tokens come when (twins " in text


def test_order_blind_rows_without_an_interval_are_not_said_to_be_off_the_null() -> None:
    rows = (row("linear", "order-blind", arrow=few(0.5), twins=few(0.6)),)
    text = "\n".join(conclusions(suite(*rows)))
    assert "(linear) are not exactly at the null: linear on twins (" in text
    assert "off the null" not in text


def test_an_interval_that_contains_the_null_shows_nothing() -> None:
    noise = np.random.default_rng(0).integers(0, 2, (3, 80)).astype(float)
    low = made(np.tile([1.0, 0.0, 0.0, 0.0], (3, 20)))
    found = conclusions(
        suite(
            row("dct", "linear in time", arrow=made(noise), twins=cell(0.5), sawtooth=cell(0.5)),
            row("step", "step", arrow=made(noise[::-1]), twins=low, sawtooth=made(noise)),
        )
    )
    text = "\n".join(found)
    assert "step is not shown to see the direction of time (arrow " in text
    assert "95 % interval 4" in text
    assert "no other row is shown to." in text
    assert "step is below the null on twins (25.0 %)" in text
    assert "does not see" not in text


def test_order_is_seen_only_above_single_frames() -> None:
    rows = (
        row("first-frame", "control", arrow=cell(0.8, seed=1), twins=cell(0.5)),
        row("dct", "linear in time", arrow=cell(0.98), twins=cell(0.5)),
    )
    text = "\n".join(conclusions(suite(*rows, row("step", "step", arrow=cell(0.8)))))
    assert "step is above the null on arrow (" in text
    assert "but not shown to be above controls that know no order: first-frame (" in text
    assert "; dct (9" in text
    alone = "\n".join(conclusions(suite(rows[0])))
    assert "sees" not in alone
    assert "dct sees the direction of time (arrow 9" in "\n".join(conclusions(suite(*rows)))


def test_a_single_seed_is_named() -> None:
    rows = (row("trn", "other head", arrow=cell(0.9, seeds=1), twins=cell(0.5, seeds=1)),)
    found = conclusions(suite(*rows, row("step", "step", arrow=cell(0.9), twins=cell(0.5))))
    assert "One seed only: trn; an interval then covers new groups, not new seeds." in found


def test_nothing_is_concluded_of_imported_models() -> None:
    rows = (
        row("step", "imported", arrow=cell(0.98), twins=cell(0.98)),
        row("gru", "other head", arrow=cell(0.5), twins=cell(0.9)),
    )
    text = "\n".join(conclusions(suite(*rows)))
    assert "Imported: step; what these models read of a clip is not known" in text
    assert "gru does not see the direction of time (arrow 50.0 %)." in text
    assert "against step (" in text  # a difference of measured values is given
    assert text.count("step (") == text.count("against step (")
    assert "gru sees which tokens come when" in text
    alone = "\n".join(conclusions(suite(rows[0])))
    assert "sees" not in alone


def test_words_name_order_blind_rows_that_are_off_the_null() -> None:
    found = conclusions(suite(row("linear", "order-blind", arrow=cell(0.5), twins=cell(0.9))))
    assert found[1].startswith("Order-blind probes (linear) are off the null: linear on twins (")


def test_a_cell_is_at_the_null_if_its_interval_holds_it() -> None:
    assert cell(0.5).at_null
    assert cell(0.5).text == "50.0 ± 0.0°"
    assert not cell(0.9).at_null
    assert cell(0.9).finding == "above"
    assert cell(0.5).finding == "exact"
    assert made(np.tile([1.0, 0.0, 1.0, 1.0], (1, 20))).finding == "above"
    assert made(np.tile([1.0, 0.0, 0.0, 0.0], (1, 20))).finding == "below"
    assert made(np.tile([1.0, 1.0, 0.0, 0.0], (1, 20))).finding == "null"
    assert few(0.9).finding == "no interval"
    assert few(1.0).text == "100.0 ± 0.0"
    assert few(0.5).finding == "exact"


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


def test_imported_models_have_a_row_of_their_own(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    for folder in runs.glob("step-*"):
        record = read_run(folder / "run.json")
        if record.seed or record.task == "distractors":
            continue
        found = read_predictions(folder)
        logits = tmp_path / f"{record.task}.csv"
        with logits.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["clip", "start_frame", "backward", *record.classes])
            for (clip, start, backward), values in zip(found.samples, found.logits, strict=True):
                writer.writerow([clip, start, int(backward), *values])
        for name in ("step", "videomae"):
            place = ("--like", folder.name, "--name", name, "--runs", tmp_path / "runs")
            done = invoke("results", "import", logits, *place)
            assert done.exit_code == 0, done.output
    (found_suite,) = order_suites(tmp_path / "runs")
    tasks = {each.label: list(each.cells) for each in found_suite.rows}
    assert tasks["step"] == ["arrow", "distractors", "twins"]
    assert tasks["step (imported)"] == tasks["videomae (imported)"] == ["arrow", "twins"]
    kinds = {each.label: each.family for each in found_suite.rows}
    assert kinds["step"] == "step"
    assert kinds["step (imported)"] == "imported"
    text = "\n".join(conclusions(found_suite))
    assert "No interval could be made: arrow has " in text
    assert "Imported: step (imported), videomae (imported); what these models read" in text


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


@pytest.mark.parametrize("page", ["README.md", "docs/order-suite.md"])
def test_kinds_in_the_docs_are_those_of_the_tool(page: str) -> None:
    text = (Path(__file__).parents[3] / page).read_text()
    scores = r"(?: [\d.*]+ ± [\d.*]+°? \|){6}"
    rows = re.findall(rf"^\| \**([\w-]+)\** \| ([a-z -]+?) \|{scores}$", text, re.MULTILINE)
    assert len(rows) >= 12
    for method, kind in rows:
        assert kind == family_of(method, {}), method
