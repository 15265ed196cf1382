"""Runs outlive changes of their store: what is asked of them later is about their own samples."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import call
from typer.testing import CliRunner

from stepcli.cache.schema.clips import ClipRecord, ClipRow
from stepcli.cache.schema.spec import Producer
from stepcli.cache.store.store import Store, open_store
from stepcli.cli import app
from stepcli.probe.analysis.order_runs import kept_order_tests
from stepcli.probe.analysis.run_samples import task_of_run
from stepcli.probe.report.attention_maps import Looker
from stepcli.probe.report.report_data import gather
from stepcli.probe.runs.predictions import read_predictions
from stepcli.probe.runs.record import RunRecord, read_run
from stepcli.probe.sweeps.session import Session

ARROW = ("--task", "arrow", "--clip-frames", 4, "--temporal-crop")


@pytest.fixture
def trained(store_of: Callable[..., Store], tmp_path: Path) -> Path:
    """A store and an arrow run; half of the store's test clips are in no split yet."""
    store = store_of(tmp_path / "store", clips_each=12)
    rows = store.clips()
    later = [row for row in rows if row.split == "test"][::2]
    held = {row.id for row in later}
    store.replace_clips([replace(r, split="") if r.id in held else r for r in rows])
    store.refresh()
    common = ("--store", tmp_path / "store", "--runs", tmp_path / "runs")
    call("probe", "--method", "step", "--epochs", 2, *ARROW, *common)
    store.replace_clips(rows)
    store.refresh()
    return tmp_path


def run_of(folder: Path) -> tuple[Path, RunRecord]:
    (path,) = (folder / "runs").glob("step-*")
    return path, read_run(path / "run.json")


def test_order_tests_are_of_the_runs_own_samples(trained: Path) -> None:
    folder, record = run_of(trained)
    call("order", trained / "runs")
    tests = kept_order_tests(trained / "runs", record)
    assert tests is not None
    assert tests.orders["as it is"].top1 == record.top1
    now = Session(trained / "store", trained / "runs", "cpu").task(record.settings.task)
    assert len(now.test) > record.test_samples == len(read_predictions(folder).labels)


def test_a_report_shows_the_runs_own_samples(trained: Path) -> None:
    folder, record = run_of(trained)
    ((entry,),) = (study.entries for study in gather(trained / "runs"))
    said = read_predictions(folder)
    looker = Looker(entry, None)
    for row in (0, len(said.labels) - 1):
        strip = looker.strip(said, row, None)
        assert strip.clip == said.clips[row]
        shown = looker.task.test[np.array([row])]
        assert looker.task.clips[int(shown.clip[0])] == said.clips[row]
        assert bool(shown.backward[0]) == bool(said.backward[row])
    # The probe says of each sample what it said when it was tested.
    tokens = looker._features.gather(looker.task, looker.task.test)
    batch = looker._features.batch(looker.task, looker.task.test, tokens)
    assert np.allclose(looker.probe(batch)[0].detach().numpy(), said.logits, atol=1e-4)
    assert record.classes == list(looker.task.classes)


def test_clips_that_are_added_take_nothing_from_runs(trained: Path) -> None:
    """The store's fingerprint changes, the tokens that the run was tested on do not."""
    folder, record = run_of(trained)
    add_clips(open_store(trained / "store"), "open/new")
    assert open_store(trained / "store").fingerprint != record.fingerprint
    call("order", trained / "runs")
    tests = kept_order_tests(trained / "runs", record)
    assert tests is not None
    assert tests.orders["as it is"].top1 == record.top1
    ((entry,),) = (study.entries for study in gather(trained / "runs"))
    assert Looker(entry, None).strip(read_predictions(folder), 0, None).clip


def test_other_tokens_of_a_clip_that_a_run_was_tested_on_are_refused(trained: Path) -> None:
    folder, record = run_of(trained)
    add_clips(open_store(trained / "store"), "open/new", read_predictions(folder).clips[0])
    assert "holds other tokens" in call("order", trained / "runs", code=2)
    assert kept_order_tests(trained / "runs", record) is None


def test_runs_that_do_not_say_what_they_were_tested_on_need_the_same_store(trained: Path) -> None:
    folder, _ = run_of(trained)
    saved = json.loads((folder / "run.json").read_text())
    assert saved.pop("tested_tokens")
    (folder / "run.json").write_text(json.dumps(saved))
    add_clips(open_store(trained / "store"), "open/new")
    assert "holds other tokens" in call("order", trained / "runs", code=2)


def add_clips(store: Store, *ids: str) -> None:
    """Other tokens of clips, new to the store or not, all in train."""
    producer = Producer(source="random", device="cpu", numerics="float32", versions={})
    random = np.random.default_rng(1)
    with store.writer(producer, generation=1) as writer:  # goes before what is there
        for each in ids:
            record = ClipRecord(each, f"{each}.mp4", (0.0,) * 6, 6, 8, 8)
            writer.add(record, random.normal(size=(6, 2, 16)).astype(np.float32))
    known = {row.id for row in store.clips()}
    store.add_clips([ClipRow(each, "open", "train") for each in ids if each not in known])


def test_a_class_that_came_later_does_not_matter(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    """Two classes were trained on; the store has four now, and other numbers for them."""
    labels = ("away", "close", "near", "open")
    partners = {"close": "open", "open": "close", "away": "near", "near": "away"}
    store = store_of(tmp_path / "store", labels=labels, partners=partners, clips_each=12)
    rows, classes = store.clips(), store.classes()
    store.replace_clips([replace(r, split="") if r.label in ("away", "near") else r for r in rows])
    kept = [row for row in classes if row.name in ("close", "open")]
    store.replace_classes([replace(row, index=i) for i, row in enumerate(kept)])
    store.refresh()
    common = ("--store", tmp_path / "store", "--runs", tmp_path / "runs")
    call("probe", "--method", "step", "--epochs", 2, *ARROW, *common)
    store.replace_clips(rows)
    store.replace_classes(classes)
    store.refresh()
    _, record = run_of(tmp_path)
    call("order", tmp_path / "runs")
    tests = kept_order_tests(tmp_path / "runs", record)
    assert tests is not None
    assert tests.orders["as it is"].top1 == record.top1
    ((entry,),) = (study.entries for study in gather(tmp_path / "runs"))
    assert Looker(entry, None).task.pairs == ((0, 1),)


def test_clips_that_left_the_split_are_named(trained: Path) -> None:
    folder, _ = run_of(trained)
    said = read_predictions(folder)
    store = open_store(trained / "store")
    gone = said.clips[0]
    rows = store.clips()
    store.replace_clips([replace(r, split="train") if r.id == gone else r for r in rows])
    store.refresh()
    done = CliRunner().invoke(app, ["order", str(trained / "runs")])
    assert done.exit_code == 2
    assert "1 of 1 run not tested" in done.stderr
    assert f"tested on 1 clip that the store's 'test' split does not hold any more: {gone}" in (
        done.stderr
    )


def test_an_unchanged_store_gives_the_same_task(trained: Path) -> None:
    _, record = run_of(trained)
    task = Session(trained / "store", trained / "runs", "cpu").task(record.settings.task)
    call("probe", "--method", "linear", "--epochs", 1, *ARROW,
         "--store", trained / "store", "--runs", trained / "more")  # fmt: skip
    (path,) = (trained / "more").glob("linear-*")
    new = read_run(path / "run.json")
    assert task_of_run(task, new, read_predictions(path)) is task


def test_each_run_is_asked_on_its_own_store(store_of: Callable[..., Store], tmp_path: Path) -> None:
    """Runs on two stores in one folder; one store is gone, the other is also given by --store."""
    for name, frames in (("a", 6), ("b", 8)):
        store_of(tmp_path / name, frames=frames, clips_each=12)
        call("probe", "--method", "linear,step", "--epochs", 1, "--store", tmp_path / name,
             "--runs", tmp_path / "runs")  # fmt: skip
    kept = sorted((tmp_path / "runs").glob("*/order.json"))
    assert not kept
    call("order", tmp_path / "runs", "--store", tmp_path / "a")  # b's runs find b by themselves
    kept = sorted((tmp_path / "runs").glob("*/order.json"))
    assert len(kept) == 4
    for path in kept:
        path.unlink()
    shutil.rmtree(tmp_path / "b")
    done = CliRunner().invoke(app, ["order", str(tmp_path / "runs"), "--json"])
    assert done.exit_code == 2
    assert "2 of 4 runs not tested" in done.stderr
    told: list[dict[str, Any]] = json.loads(done.stdout)
    assert sorted(each["tests"] is None for each in told) == [False, False, True, True]
