"""Clips with any number of labels: trained by class, scored by mean average precision."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from command_line import invoke
from sklearn.metrics import average_precision_score

from stepcli.cache.maintenance.draw_split import draw_split
from stepcli.cache.schema.clips import ClassRow
from stepcli.cache.schema.label_sets import labels_in
from stepcli.cache.store.store import Store, open_store
from stepcli.probe.config import TaskConfig
from stepcli.probe.data.make_task import make_task
from stepcli.probe.data.splits import labelled_clips
from stepcli.probe.data.streamed import Streamed
from stepcli.probe.runs.metrics import hits, multi_label_summary
from stepcli.probe.runs.predictions import read_predictions
from stepcli.runtime.errors import UsageError

CLASSES = ("bright", "close", "dim", "open")
METHODS = "linear,first-last,step,knn,prototype"


def relabelled(store: Store, *, unlabelled: int = 3) -> None:
    """Drift is "open" or "close", the offset "bright" or "dim"; the last clips have no label."""

    def change(rows: list[Any]) -> list[Any]:
        names = {"0": "close;dim", "1": "open; dim", "2": "bright;close", "3": "open;bright"}
        return [type(r)(r.id, names[r.label], r.split, r.group, r.view) for r in rows]

    store.change_clips(change)

    def blank(rows: list[Any]) -> list[Any]:
        tested = [row.id for row in rows if row.split == "test"][:unlabelled]
        return [type(r)(r.id, "", r.split, r.group, r.view) if r.id in tested else r for r in rows]

    store.change_clips(blank)
    store.replace_classes([ClassRow(name, number) for number, name in enumerate(CLASSES)])
    store.refresh()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, store_of: Callable[..., Store]) -> Path:
    place = tmp_path_factory.mktemp("several")
    store = store_of(place / "store", labels=tuple("0123"), clips_each=30, partners={}, looks=True)
    relabelled(store)
    done = train(place, METHODS, "--seeds", 2, "--epochs", 25, "--lr", "1e-2")
    assert done.exit_code == 0, done.output
    assert "mAP" in done.output
    return place


def train(place: Path, methods: str, *words: object) -> Any:
    folders = ["--store", place / "store", "--runs", place / "runs"]
    return invoke("probe", *folders, "--method", methods, "--task", "multi-label", *words)


def test_map_is_that_of_sklearn_on_the_predictions(home: Path) -> None:
    found = json.loads(invoke("results", home / "runs", "--format", "json").stdout)
    assert len(found) == 10
    for each in found:
        table = pq.read_table(home / "runs" / each["run"] / "predictions.parquet").to_pylist()
        assert len(table) == 40
        assert sum(not row["labels"] for row in table) == 3
        truth = np.array([[c in row["labels"] for c in range(4)] for row in table])
        scores = np.array([row["logits"] for row in table])
        chances = np.array([row["probabilities"] for row in table])
        assert np.allclose(chances, 1 / (1 + np.exp(-scores.astype(float))), atol=1e-6)
        each_class = [average_precision_score(truth[:, c], scores[:, c]) for c in range(4)]
        assert each["mean_ap"] == pytest.approx(np.mean(each_class), abs=1e-9)
        assert each["mean_class"] is None


def test_order_blind_probes_know_brightness_alone_and_step_knows_both(home: Path) -> None:
    scores: dict[str, np.ndarray] = {}
    for folder in (home / "runs").glob("*-s0-*"):
        said = read_predictions(folder, several=True)
        assert said.relevant is not None
        scores[folder.name.split("-multi")[0]] = np.array(
            [average_precision_score(said.relevant[:, c], said.logits[:, c]) for c in range(4)]
        )
    order, look = [1, 3], [0, 2]
    for method in ("linear", "knn", "prototype"):
        # A clip that looks "dim" has that label or, of three, none; its mean tokens are near zero,
        # which is no direction for a cosine.
        seen = look[:1] if method == "prototype" else look
        assert scores[method][seen].min() > 0.8, method
        assert scores[method][order].mean() < 0.65, method
    for method in ("step", "first-last"):
        assert scores[method][look].min() > 0.75, method
        assert scores[method][order].mean() > 0.7, method


def test_tables_have_map_in_a_column_of_its_own(home: Path) -> None:
    table = invoke("results", home / "runs").stdout.splitlines()
    header = table[0].split()
    assert header[:6] == ["method", "task", "split", "seeds", "mAP", "top1"]
    for line in table[1:]:
        cells = line.split()
        assert float(cells[4]) > 40
        assert "-" in cells[5:]
        assert "100.0" not in cells[7:]
    text = invoke("results", home / "runs", "--format", "csv").stdout
    assert all(0 < float(row["mean_ap"]) <= 1 for row in csv.DictReader(text.splitlines()))
    run = next((home / "runs").glob("step*-s0-*")).name
    assert "mAP" in invoke("runs", "show", run, "--runs", home / "runs").stdout


def test_what_takes_one_label_says_so(home: Path) -> None:
    runs = home / "runs"
    for words in (
        ["analyse", runs],
        ["order", runs],
        ["calibrate", runs],
        ["report", runs, "--out", home / "report"],
        ["results", runs, "--compare", "linear", "step"],
    ):
        done = invoke(*words)
        assert done.exit_code == 2, words
        assert "one label per clip" in done.stderr or "takes one per clip" in done.stderr, words
    store = ["--store", home / "store", "--runs", home / "other"]
    done = invoke("probe", *store, "--method", "linear")
    assert done.exit_code == 2
    assert "--task classify takes one label per clip" in done.stderr
    assert "use --task multi-label" in done.stderr
    for words in (["--shots", 2], ["--protocol", "base-to-novel"], ["--class-balance", 0.9]):
        done = train(home, "linear", *words)
        assert done.exit_code == 2, words
        assert "--task multi-label has any number" in done.stderr, words


def test_runs_of_one_label_beside_them_are_analysed(home: Path, store_of: Any) -> None:
    runs, store = home / "mixed", home / "single"
    store_of(store, clips_each=30)
    assert invoke("probe", "--store", store, "--runs", runs, "--method", "linear").exit_code == 0
    folders = ["--store", home / "store", "--runs", runs]
    assert invoke("probe", *folders, "--method", "linear", "--task", "multi-label").exit_code == 0
    done = invoke("analyse", runs)
    assert done.exit_code == 0
    assert "1 run of --task multi-label left out" in done.stderr
    across = invoke("results", runs, home / "runs", "--across", "--task", "multi-label,classify")
    assert across.exit_code == 0, across.stderr
    assert "made-up multi-label, mAP" in across.stdout
    assert "made-up classify, top1" in across.stdout


def test_settings_are_chosen_by_map(home: Path) -> None:
    words = ["--method", "linear", "--task", "multi-label", "--lr", "1e-6,1e-1", "--seeds", 1]
    folders = ["--store", home / "store", "--runs", home / "chosen"]
    done = invoke("sweep", *folders, *words, "--select", "--epochs", 5, "--slice-min", "clips=5")
    assert done.exit_code == 0, done.output
    (file,) = (home / "chosen").glob("selection-*.json")
    (choice,) = json.loads(file.read_text())["methods"].values()
    assert choice["settings"][0]["lr"] == 0.1
    table = invoke("results", home / "chosen", "--chosen").stdout
    assert "  mAP " in table
    assert "mAP is no mean over clips, no interval" in table


def test_a_share_of_train_is_one_of_all_clips(home: Path) -> None:
    sweep = home / "share.yaml"
    sweep.write_text(
        "methods: {linear: {}}\ntask: {name: multi-label}\nvariants: [{train_share: 0.25}]\n"
    )
    folders = ["--store", home / "store", "--runs", home / "share"]
    assert invoke("sweep", sweep, *folders, "--epochs", 1).exit_code == 0
    counts = [
        json.loads(file.read_text())["train_clips"]
        for file in (home / "share").glob("linear*/run.json")
    ]
    assert counts == [20] * 5


@pytest.mark.parametrize("seed", range(20))
def test_hits_are_what_a_draw_among_ties_gives(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.integers(0, 4, (6, 7)).astype(float)
    relevant = random.random((6, 7)) < 0.3
    for k in (1, 5, 7):
        drawn = []
        for _ in range(4000):
            order = np.lexsort((random.random(scores.shape), -scores), axis=1)[:, :k]
            drawn.append(np.take_along_axis(relevant, order, 1).any(axis=1))
        assert np.allclose(hits(scores, relevant, k), np.mean(drawn, axis=0), atol=0.04)
    found = multi_label_summary(scores, relevant)
    assert found["top1"] == pytest.approx(hits(scores, relevant).mean())
    assert found["mean_class"] is None


def test_a_damaged_list_of_labels_is_refused(home: Path, tmp_path: Path) -> None:
    (folder,) = (home / "runs").glob("linear*-s0-*")
    table = pq.read_table(folder / "predictions.parquet")
    wrong = [[7], *table["labels"].to_pylist()[1:]]
    place = table.schema.get_field_index("labels")
    changed = table.set_column(place, table.schema.field(place), [wrong])
    pq.write_table(changed, tmp_path / "predictions.parquet")
    with pytest.raises(UsageError, match="none of its 4 classes"):
        read_predictions(tmp_path, several=True)


def test_views_average_the_probabilities_of_each_class(tmp_path: Path, store_of: Any) -> None:
    store = store_of(tmp_path / "s", labels=tuple("0123"), partners={}, views=("", "flip-center"))
    names = {"0": "left;up", "1": "up", "2": "left", "3": ""}
    mirrored = {"0": "right;up", "1": "up", "2": "right", "3": ""}

    def change(rows: list[Any]) -> list[Any]:
        made = [(r, (mirrored if r.id.endswith("flip-center") else names)[r.label]) for r in rows]
        return [type(r)(r.id, label, r.split, r.group, r.view) for r, label in made]

    store.change_clips(change)
    mirror = {"left": "right", "right": "left"}
    classes = [
        ClassRow(n, i, mirror=mirror.get(n, n)) for i, n in enumerate(("left", "right", "up"))
    ]
    store.replace_classes(classes)
    store.refresh()
    config = TaskConfig(name="multi-label")
    task = make_task(config, store, labelled_clips(store, "train", "test", several=True))
    assert task.mirror.tolist() == [1, 0, 2]
    assert task.class_counts.tolist() == [8, 0, 8]
    shown = torch.randn(2, len(task.shown), 3, generator=torch.Generator().manual_seed(0))
    found = task.combine(shown).sigmoid()
    number = task.shown_of
    for sample in range(len(task.test)):
        plain, flipped = np.flatnonzero(number == sample)
        chances = shown.sigmoid()
        turned = chances[:, flipped]
        if task.shown.label[plain] != task.shown.label[flipped]:
            turned = turned[:, [1, 0, 2]]
        torch.testing.assert_close(found[:, sample], (chances[:, plain] + turned) / 2)


def test_streamed_batches_have_the_classes_of_each_clip(home: Path) -> None:
    store = open_store(home / "store")
    table = labelled_clips(store, "train", "test", several=True)
    task = make_task(TaskConfig(name="multi-label"), store, table)
    streamed = Streamed(store, torch.device("cpu"))
    found = torch.cat([labels for _, labels in streamed.batches(task, task.test, 7)])
    cells = {row.id: row.label for row in table.test}
    for clip, row in zip(task.test.clip, found, strict=True):
        names = [CLASSES[place] for place in torch.nonzero(row)[:, 0]]
        assert ";".join(names) == ";".join(labels_in(cells[task.clips[clip]]))


def test_a_drawn_split_has_clips_of_each_class(tmp_path: Path, store_of: Any) -> None:
    store = store_of(tmp_path / "s", labels=tuple("0123"), partners={}, clips_each=8)
    relabelled(store, unlabelled=0)

    def own(rows: list[Any]) -> list[Any]:
        extra = [f"{row.label};x{n % 5};y{n % 3}" for n, row in enumerate(rows)]
        return [type(r)(r.id, e, "", r.id, r.view) for r, e in zip(rows, extra, strict=True)]

    store.change_clips(own)
    names = [*CLASSES, *(f"x{n}" for n in range(5)), *(f"y{n}" for n in range(3))]
    store.replace_classes([ClassRow(name, number) for number, name in enumerate(names)])
    drawn = draw_split(store.path, 0.25)
    assert len({row.label for row in store.clips()}) > 25  # hardly a set occurs twice
    assert 8 <= drawn.test <= 14
    assert drawn.untested == []
    tested = {n for row in store.clips() if row.split == "test" for n in labels_in(row.label)}
    assert tested == set(names)
