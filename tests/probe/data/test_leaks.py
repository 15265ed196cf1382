"""What test shares with training: groups, copies; slices and intervals keep copies together."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.store.store import Store
from stepcli.cli import app
from stepcli.probe.config import DataConfig, TaskConfig
from stepcli.probe.data.make_task import make_task
from stepcli.probe.data.slices import hold_out
from stepcli.probe.data.splits import LabelledClips, labelled_clips
from stepcli.probe.report.report_data import gather
from stepcli.probe.report.tables import leaderboard
from stepcli.probe.runs.predictions import read_predictions
from stepcli.probe.runs.record import read_runs
from stepcli.probe.sweeps.expand import run_configs
from stepcli.probe.sweeps.holding import on_slice
from stepcli.probe.sweeps.session import Session
from stepcli.runtime.errors import UsageError

LIKE = {"open/1": "open/0", "close/3": "close/2"}


def relabelled(
    store: Store, splits: dict[str, str] | None = None, groups: dict[str, str] | None = None
) -> Store:
    """The store without groups, except for those given."""
    rows = [
        ClipRow(r.id, r.label, (splits or {}).get(r.id, r.split), (groups or {}).get(r.id, ""))
        for r in store.clips()
    ]
    store.replace_clips(rows)
    return store


def test_groups_are_united_over_copies_in_slices_and_intervals(
    tmp_path: Path, store_of: Callable[..., Store]
) -> None:
    store = relabelled(store_of(tmp_path, like=LIKE), groups={"open/1": "day", "open/2": "day"})
    table = labelled_clips(store, "train", "test")
    assert table.copies == (("close/2", "close/3"), ("open/0", "open/1"))
    assert not any("copies join" in warning for warning in table.warnings)
    groups = {row.id: table.group(row) for row in store.clips()}
    assert {groups[i] for i in ("open/0", "open/1", "open/2")} == {"day"}
    # One of them is in train, the other in test: leakage, which no group can repair.
    assert (groups["close/2"], groups["close/3"]) == ("close/2", "close/3")
    task = make_task(TaskConfig(), store, table)
    assert dict(zip(task.clips, task.groups, strict=True)) == groups


def test_groups_that_copies_join_are_named(tmp_path: Path, store_of: Callable[..., Store]) -> None:
    """A black clip of each subject joins the subjects; without a split it does no more."""
    black = {"open/0": "", "open/1": "", "open/3": ""}
    like = {"open/1": "open/0", "open/3": "open/0"}
    days = {i: f"day {i[-1]}" for i in black} | {"close/0": "day 0", "close/1": "day 1"}
    store = relabelled(store_of(tmp_path, like=like), groups=days)
    table = labelled_clips(store, "train", "test")
    assert table.warnings == (
        "train: copies join 3 groups into 1 (day 0 + day 1 + day 3), which slices and intervals "
        "treat as one; leave such clips without a split to keep the groups apart: stepcli store "
        "duplicates",
    )
    assert len({table.group(row) for row in table.train if row.group}) == 1
    relabelled(store, black, days)
    table = labelled_clips(store, "train", "test")
    assert len({table.group(row) for row in table.train if row.group}) == 2
    assert not any("copies join" in warning for warning in table.warnings)


def test_a_slice_keeps_copies_on_one_side() -> None:
    train = tuple(ClipRow(f"{label}{i}", label, "train") for label in "ab" for i in range(20))
    copies = tuple((f"{label}{i}", f"{label}{i + 10}") for label in "ab" for i in range(10))
    group_of = {row.id: f"{row.label}{int(row.id[1:]) % 10}" for row in train}
    table = LabelledClips(train, (), ("a", "b"), (), frozenset(), (), frozenset(), copies, group_of)
    for seed in range(5):
        held = hold_out(table, 0.3, seed)
        assert {group_of[r.id] for r in held.train}.isdisjoint(group_of[r.id] for r in held.test)
        assert len(held.test) == 12
    lonely = {row.id: "one" for row in train}
    table = LabelledClips(train, (), ("a", "b"), (), frozenset(), (), frozenset(), copies, lonely)
    with pytest.raises(UsageError, match="without splitting a group"):
        hold_out(table, 0.3, 0)


SPLITS = {"open/1": "test", "close/3": "test", "close/2": "train"}


def probed(store: Store, runs: Path, *words: str) -> Result:
    flags = ("--method", "linear,first-frame", "--epochs", "2", "--device", "cpu")
    return CliRunner().invoke(
        app, ["probe", "--store", str(store.path), "--runs", str(runs), *flags, *words]
    )


def test_a_run_says_how_many_test_clips_are_copies(
    tmp_path: Path, store_of: Callable[..., Store]
) -> None:
    store = relabelled(store_of(tmp_path / "s", like=LIKE, clips_each=9), SPLITS)
    runs = tmp_path / "runs"
    refused = probed(store, runs, "--strict")
    assert refused.exit_code == 2
    assert "2 of 7 test clips are copies of training clips" in refused.output
    assert not list(runs.glob("*/run.json"))
    done = probed(store, runs)
    assert done.exit_code == 0, done.output
    assert "warning: 2 of 7 test clips are copies" in done.output
    for record in read_runs(runs):
        assert any("copies of training clips" in line for line in record.warnings)
        found = record.leakage
        assert found is not None
        assert (found.copied_clips, found.test_clips, found.grouped_clips) == (2, 7, 0)
        said = read_predictions(runs / record.run)
        kept = np.array([clip not in ("open/1", "close/3") for clip in said.clips])
        assert said.copied is not None
        assert np.array_equal(kept, ~said.copied)
        right = said.logits[kept].argmax(axis=1) == said.labels[kept]
        assert found.without_copies is not None
        assert found.without_copies.top1 == pytest.approx(right.mean())
        assert found.without_copies.samples == 5
    shown = CliRunner().invoke(app, ["results", "--runs", str(runs)])
    assert "note: 2 of 7 test clips are copies of training clips" in shown.output
    header, *rows = shown.stdout.splitlines()
    for row in rows:
        (record,) = (r for r in read_runs(runs) if r.method == row.split()[0])
        cells = dict(zip(header.split(), row.split(), strict=True))
        clean = record.top1_without_copies
        assert cells["top1_no_copies"] == f"{100 * clean:.1f}"
        assert cells["top1"] == f"{100 * record.top1:.1f}"


def test_a_run_of_an_earlier_version_does_not_say(
    tmp_path: Path, store_of: Callable[..., Store]
) -> None:
    runs = tmp_path / "runs"
    assert probed(store_of(tmp_path / "s"), runs).exit_code == 0
    shown = CliRunner().invoke(app, ["results", "--runs", str(runs)])
    assert "note:" not in shown.output
    for path in runs.glob("*/run.json"):
        record = json.loads(path.read_text())
        del record["leakage"]
        path.write_text(json.dumps(record))
    shown = CliRunner().invoke(app, ["results", "--runs", str(runs)])
    assert "note: 2 runs of an earlier version do not say" in shown.output


def test_shared_groups_are_named(tmp_path: Path, store_of: Callable[..., Store]) -> None:
    """Four subjects, each in train and test."""
    store = store_of(tmp_path / "s", clips_each=12)
    groups = {row.id: f"subject{int(row.id.split('/')[1]) % 4}" for row in store.clips()}
    relabelled(store, groups=groups)
    warning = "4 groups in both train and test (subject0, subject1, subject2 and 1 more): 8 of 8"
    done = probed(store, tmp_path / "runs")
    assert warning in done.output
    for record in read_runs(tmp_path / "runs"):
        assert record.leakage is not None
        assert (record.leakage.shared_groups, record.leakage.grouped_clips) == (4, 8)
    assert probed(store, tmp_path / "strict", "--strict").exit_code == 2
    # The same by a split file; a file that keeps groups whole is taken.
    path = tmp_path / "split.csv"
    for keep, code in ((2, 2), (3, 0)):
        lines = [
            f"{i},{'test' if g[-1] in '01'[: keep - 1] else 'train'}" for i, g in groups.items()
        ]
        if keep == 2:
            lines[0] = lines[0].replace("test", "train")
        path.write_text("\n".join(("clip,split", *lines)))
        words = ("--strict", "--split-file", str(path))
        assert probed(store, tmp_path / f"runs{keep}", *words).exit_code == code


def test_labels_and_groups_of_a_store_that_look_alike_are_named(
    tmp_path: Path, store_of: Callable[..., Store]
) -> None:
    """A subject that is spelled in two ways is in train and in test, and no group is shared."""
    store = store_of(tmp_path / "s")
    relabelled(store, groups={"open/0": "P01", "open/3": "p01"})
    warnings = labelled_clips(store, "train", "test").warnings
    assert any("groups that look alike" in w and "'P01' (1 clip) and 'p01'" in w for w in warnings)


def test_spellings_of_splits_in_a_store_are_one_split(
    tmp_path: Path, store_of: Callable[..., Store]
) -> None:
    store = store_of(tmp_path / "s")
    odd = {
        "open/0": "Train ",
        "close/0": "training",
        "open/2": "TEST",
        "open/1": "extra",
        "open/3": "",
    }
    relabelled(store, odd)
    table = labelled_clips(store, "train", "testing")
    assert (len(table.train), len(table.test)) == (6, 4)
    assert "1 clip without a split, not trained or tested on" in table.warnings
    assert any("'Train ' as 'train' (1 clip)" in line for line in table.warnings)
    assert any("not trained or tested on: 'extra' (1 clip)" in line for line in table.warnings)
    with pytest.raises(UsageError, match="split 'val' of"):
        labelled_clips(store, "train", "Validation")


def test_slices_of_a_store_with_copies_are_other_runs(
    tmp_path: Path, store_of: Callable[..., Store]
) -> None:
    """They are drawn otherwise than by earlier versions; all others keep their identities."""
    (config,) = run_configs("linear", [{}], {}, TaskConfig(), DataConfig(), range(1))
    runs = tmp_path / "runs"
    plain = Session(store_of(tmp_path / "a").path, runs, "cpu")
    copied = Session(store_of(tmp_path / "b", like=LIKE).path, runs, "cpu")
    for session, same in ((plain, True), (copied, False)):
        fingerprint, tables = session.store.fingerprint, session.tables.digest(config.task)
        assert session.run_id(config) == config.run_id(f"{fingerprint} tables {tables}")
        sliced = on_slice(config)
        assert session.tables.digest(sliced.task) == tables
        beside = f"{fingerprint} tables {tables}"
        assert (session.run_id(sliced) == sliced.run_id(beside)) is same


def test_imported_logits_are_scored_without_copies_too(
    tmp_path: Path, store_of: Callable[..., Store]
) -> None:
    store = relabelled(store_of(tmp_path / "s", like=LIKE, clips_each=9), SPLITS)
    runs = tmp_path / "runs"
    assert probed(store, runs).exit_code == 0
    (like,) = runs.glob("linear-*")
    said = read_predictions(like)
    lines = ["clip,close,open"]
    for clip, label in zip(said.clips, said.labels.tolist(), strict=True):
        right = clip in ("open/1", "close/3")  # the copies alone
        lines.append(f"{clip},{int((label == 0) == right)},{int((label == 1) == right)}")
    (tmp_path / "logits.csv").write_text("\n".join(lines))
    words = ["import", str(tmp_path / "logits.csv"), "--like", like.name, "--name", "memory"]
    done = CliRunner().invoke(app, ["results", *words, "--runs", str(runs)])
    assert done.exit_code == 0, done.output
    (record,) = (r for r in read_runs(runs) if r.method == "memory")
    assert record.top1 == pytest.approx(2 / 7)
    assert record.top1_without_copies == 0
    shown = CliRunner().invoke(app, ["results", "--runs", str(runs), "--format", "json"])
    (row,) = (row for row in json.loads(shown.stdout) if row["method"] == "memory")
    assert (row["copied_test_clips"], row["top1_without_copies"]) == (2, 0)
    (linear,) = (r for r in read_runs(runs) if r.method == "linear")
    assert "(without copies " in probed(store, tmp_path / "again").output
    whole = json.loads(linear.encode())
    for wrong in ([], {"copied_clips": 1}, whole["leakage"] | {"without_copies": [1]}):
        (like / "run.json").write_text(json.dumps(whole | {"leakage": wrong}))
        with pytest.raises(UsageError, match="leakage is"):
            read_runs(runs)


def test_all_labels_of_pairs_that_there_are_not_are_named(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("label,partner\nopen,closed\nopened,shut\n")
    done = probed(store, tmp_path / "runs", "--pairs", str(path))
    assert done.exit_code == 2
    assert "3 of 4 labels in pairs are not classes of the store: 'closed', 'opened'" in done.output


def test_the_report_gives_both_scores(tmp_path: Path, store_of: Callable[..., Store]) -> None:
    store = relabelled(store_of(tmp_path / "s", like=LIKE, clips_each=9), SPLITS)
    runs = tmp_path / "runs"
    assert probed(store, runs).exit_code == 0
    (study,) = gather(runs)
    table = leaderboard(study)
    for row in table.rows:
        cells = dict(zip(table.header, row, strict=True))
        (record,) = (r for r in read_runs(runs) if r.method == cells["method"])
        clean = record.top1_without_copies
        assert cells["top-1"] == f"{100 * record.top1:.1f}"
        assert cells["top-1 without copies"] == f"{100 * clean:.1f}"
    done = CliRunner().invoke(
        app, ["report", str(runs), "--no-order", "--no-pdf", "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    page = (tmp_path / "out" / "index.html").read_text()
    assert "2 of 7 test clips are copies of training clips, which inflates" in page


def test_a_sweep_says_before_its_slices_what_its_test_will_share(
    tmp_path: Path, store_of: Callable[..., Store]
) -> None:
    """Not after the hours that choosing takes."""
    store = relabelled(store_of(tmp_path / "s", like=LIKE, clips_each=90), SPLITS)
    words = ["sweep", "--method", "linear", "--lr", "1e-3,1e-2", "--seeds", "1", "--select"]
    words += ["--epochs", "1", "--store", str(store.path), "--runs", str(tmp_path / "runs")]
    said = CliRunner().invoke(app, [*words, "--dry-run"])
    assert said.exit_code == 0, said.output
    assert "warning: 2 of 61 test clips are copies of training clips" in said.output
    refused = CliRunner().invoke(app, [*words, "--strict"])
    assert refused.exit_code == 2
    assert "--strict: 2 of 61 test clips are copies" in refused.output
    assert not list((tmp_path / "runs").glob("*/run.json"))


def test_a_split_file_of_other_ids_is_refused_or_named(tmp_path: Path, store: Store) -> None:
    """As when a file lists a.mp4 where the store has a."""
    path = tmp_path / "split.csv"
    rows = [(r.id, r.split) for r in store.clips()]
    half = [(f"{i}.mp4" if n % 2 else i, split) for n, (i, split) in enumerate(rows)]
    path.write_text("\n".join(("clip,split", *(",".join(row) for row in half))))
    done = probed(store, tmp_path / "runs", "--split-file", str(path))
    assert done.exit_code == 0, done.output
    assert "6 of 12 lines name no clip of the store: 'close/1.mp4', 'close/3.mp4'" in done.output
    for record in read_runs(tmp_path / "runs"):
        assert any("6 of 12 lines name no clip" in line for line in record.warnings)
    path.write_text("\n".join(("clip,split", *(f"{i}.mp4,{split}" for i, split in rows))))
    done = probed(store, tmp_path / "runs", "--split-file", str(path))
    assert done.exit_code == 2
    assert "none of 12 lines names a clip of the store" in done.output
