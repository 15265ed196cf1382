"""The report's strips of recordings: errors where they are, numbers as kept, names escaped."""

from dataclasses import replace
from pathlib import Path

import pytest
from command_line import call
from recording_store import window_store

from stepcli.cache.maintenance.segments import label_windows
from stepcli.cache.schema.clips import SegmentRow
from stepcli.probe.analysis.dense_scores import RecordingScores, read_scores
from stepcli.probe.report.recording_strips import by_class, dense_scores, errors, measures, strips
from stepcli.probe.report.report_data import gather
from stepcli.probe.report.style import styled
from stepcli.probe.report.write import write_report
from stepcli.runtime.errors import UsageError

HOSTILE = "<b>&$x"


Spans = list[tuple[float, float, str]]


def scores_of(true: Spans, said: Spans) -> RecordingScores:
    return RecordingScores(10, 5, 0.5, 0.5, said, true)


@pytest.mark.parametrize(
    ("true", "said", "wrong"),
    [
        ([(0, 2, "a")], [(0, 2, "a")], []),
        ([(0, 2, "a")], [(0, 2, "b")], [(0, 2)]),
        ([(1, 4, "a")], [(2, 5, "a")], [(1, 1), (4, 1)]),
        ([(1, 4, "a")], [], [(1, 3)]),
        ([(0, 2, "a"), (2, 4, "b")], [(0, 1, "a"), (1, 4, "b")], [(1, 1)]),
        ([(0, 2, "a"), (2, 4, "b")], [(0, 2, "b"), (2, 4, "a")], [(0, 4)]),
        ([], [], []),
    ],
)
def test_errors_are_where_labels_differ(
    true: Spans,
    said: Spans,
    wrong: list[tuple[float, float]],
) -> None:
    assert errors(scores_of(true, said)) == wrong


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import numpy as np

    folder = tmp_path_factory.mktemp("strips")
    labels = np.array([2] * 5 + [0] * 6 + [2] * 5 + [1] * 6 + [2] * 12)
    random = np.random.default_rng(0)
    tokens = {}
    for n in range(8):  # noise, or equal windows of two recordings would count as copies
        noisy = np.eye(4)[np.roll(labels, n)] + random.normal(0, 0.05, (len(labels), 4))
        tokens[f"r{n}"] = noisy[:, None].astype(np.float32)
    splits = {name: "test" if name in ("r6", "r7") else "train" for name in tokens}
    store = window_store(folder / "store", tokens, "5@2fps/2", splits=splits)
    names = ("open", HOSTILE)
    rows = [
        SegmentRow(f"r{n}", (start + n) / 2, (start + n + 6) / 2, names[label])
        for n in range(8)
        for label, start in ((0, 5), (1, 16))
    ]
    store.change_segments(lambda _: rows)
    label_windows(store, tokens)
    call(
        *("probe", "--task", "dense", "--method", "middle-frame,linear", "--epochs", 5),
        *("--store", store.path, "--runs", folder / "runs"),
    )
    call("dense", folder / "runs", "--device", "cpu")
    return folder / "runs"


def test_numbers_and_strips_are_those_that_were_kept(runs: Path) -> None:
    (study,) = gather(runs)
    found = dense_scores(study)
    assert len(found) == 2
    table = measures(found)
    assert table is not None
    kept = {row[0]: row for row in table.rows}
    for entry, (scores,) in found:
        assert kept[entry.label][2] == f"{100 * scores.frame_accuracy:.1f}"
        assert kept[entry.label][6] == f"{100 * scores.f1['50']:.1f}"
    classes = by_class(found)
    assert classes is not None
    assert {row[0] for row in classes.rows} == {"open", "<b>&$x"}
    with styled():
        drawn = strips(found)
    assert drawn is not None
    assert b"<svg" in drawn.svg
    assert HOSTILE.encode() not in drawn.svg
    assert b'<g id="legend_1">' in drawn.svg  # narrow segments have no room for their class
    # Of an exported run the recordings stayed behind.
    assert (
        strips([(entry, [replace(s, recordings={}) for s in kept]) for entry, kept in found])
        is None
    )


def test_the_page_shows_them_offline(runs: Path, tmp_path: Path) -> None:
    write_report(runs, tmp_path / "report", pdf=False)
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Recordings, truth above prediction" in page
    assert "F1@50 by class" in page
    assert "<b>" not in page
    assert "https://" not in page
    assert (tmp_path / "report" / "figures" / "recordings.svg").is_file()


def test_a_file_that_was_changed_is_refused(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "dense.json").write_text('{"edit": 1}')
    with pytest.raises(UsageError, match="stepcli dense"):
        read_scores(tmp_path)
    assert read_scores(runs) is None
