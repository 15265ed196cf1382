"""Files of runs, texts, sweeps and tables that people hand over, made hostile."""

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mutate import mutated_bytes, mutated_json, mutated_table, mutated_text
from safetensors.torch import load, save
from sample_clips import SPEC, fill_store

from stepcli.cache import open_store
from stepcli.cache.maintenance.relabel import relabel
from stepcli.cache.schema.leakage import Leakage
from stepcli.cache.schema.split_file import match_splits
from stepcli.extract.datasets.csv_file import load as load_csv
from stepcli.extract.datasets.files import read_json, read_lines
from stepcli.extract.datasets.unit_files import units_of
from stepcli.extract.pipeline.text_embeddings import read_templates
from stepcli.probe.analysis.chiral_groups import read_groups
from stepcli.probe.analysis.load_run import layout_of_run, load_probe
from stepcli.probe.analysis.order_runs import TESTS, kept_order_tests
from stepcli.probe.analysis.order_tests import NORMAL, ORDERS, EarlyPoint, OrderResult, OrderTests
from stepcli.probe.analysis.selection import chosen_table
from stepcli.probe.analysis.temperature import kept_calibration
from stepcli.probe.config import RunConfig
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.splits import labelled_clips
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import methods
from stepcli.probe.runs.compare import clear_winners
from stepcli.probe.runs.configurations import configurations
from stepcli.probe.runs.import_logits import import_logits, import_published, is_published
from stepcli.probe.runs.leakage import leakage_counts, leakage_notes
from stepcli.probe.runs.pairs import read_pairs
from stepcli.probe.runs.predictions import Predictions, encode_predictions
from stepcli.probe.runs.record import RunRecord, read_runs
from stepcli.probe.runs.staging import write_folder
from stepcli.probe.runs.table import render
from stepcli.probe.sweeps.expand import read_sweep, sweep_configs
from stepcli.probe.training.banks import build_probe
from stepcli.runtime.csv_tables import read_csv, read_rows
from stepcli.runtime.errors import StepcliError

CLASSES = ("close", "open")
SWEEP = """\
methods:
  step: {pe: [learned, none], lr: [1e-3, 3e-3]}
  linear: {}
variants:
  - {train_share: 0.5}
  - {train_share: 1.0}
recipe: {weight_decay: 0.1}
shared: {epochs: 2, batch_size: 8}
search: grid
seeds: 2
task: {name: arrow, clip_frames: 2, temporal_crop: true}
"""


def each(steps: Iterable[Callable[[], object]]) -> None:
    """Every step, also behind one that was refused; the last refusal counts."""
    refusal: StepcliError | None = None
    for step in steps:
        try:
            step()
        except StepcliError as error:
            if "\n" in str(error):
                raise AssertionError(f"several lines: {error}") from error
            refusal = error
    if refusal is not None:
        raise refusal


def make_runs(folder: Path) -> None:
    """Two seeds of one probe, whole: weights, predictions, calibration, order tests, a choice."""
    layout = TokenLayout(SPEC.frames, SPEC.dim, SPEC.segments, SPEC.layers, CLASSES)
    options = methods().get("step").defaults() | {"heads": 2}
    shown = OrderResult(top1=0.5, partner_top1=None, flips=None, changed=0.0, moved=0.0)
    orders = dict.fromkeys((NORMAL, *ORDERS), shown)
    order_tests = OrderTests(orders=orders, early=(EarlyPoint(1.0, 0.5),))
    names = []
    for seed in range(2):
        config = RunConfig(method="step", options=options, seed=seed)
        logits = np.random.default_rng(seed).normal(size=(12, 2)).astype(np.float32)
        clips = tuple(f"clip-{n:04d}" for n in range(12))
        labels = np.arange(12) % 2
        said = Predictions(
            clips,
            clips,
            np.zeros(12, np.int64),
            np.zeros(12, bool),
            labels.astype(np.int64),
            logits,
            np.arange(12) < 3,
        )
        record = RunRecord(
            run=config.run_id("f" * 64),
            method="step",
            task="classify",
            config=config.model_dump(mode="json"),
            seed=seed,
            split="test",
            top1=0.5,
            top5=1.0,
            mean_class=0.5,
            forced_choice=0.5,
            params=100,
            seconds=1.5,
            fingerprint="f" * 64,
            dataset="test",
            backbone="b",
            store="stores/s",
            spec=SPEC.model_dump(mode="json"),
            classes=list(CLASSES),
            pairs=[list(CLASSES)],
            test_samples=12,
            losses=[0.5, 0.25],
            warnings=[],
            leakage=leakage_counts(Leakage(12, copied=frozenset(clips[:3])), said, ()),
        )
        names.append(record.run)
        probe = build_probe(config, layout, 2)
        contents = {
            "predictions.parquet": encode_predictions(said),
            "probe.safetensors": save(probe.state_dict()),
            "calibration.json": json.dumps(
                {"temperature": 1.5, "samples": 12, "thresholds": {"0.1": 0.5, "0.01": None}}
            ).encode(),
            "order.json": TESTS.dump_json(order_tests),
        }
        write_folder(folder / "runs", record, contents)
    chosen = {"methods": {"step": {"chosen_runs": names, "settings": [{"lr": 0.1}] * 2}}}
    (folder / "runs" / "selection-1.json").write_text(json.dumps(chosen))
    head = "clip,close,open\n"
    (folder / "logits.csv").write_text(
        head + "".join(f"{c},0.5,{n}\n" for n, c in enumerate(clips))
    )


def use_runs(folder: Path) -> None:
    runs = folder / "runs"

    def tables() -> None:
        found = read_runs(runs)
        for form in ("table", "json", "csv", "markdown", "latex"):
            render(found, form, average_splits=form == "markdown")  # type: ignore[arg-type]
        leakage_notes(found)
        clear_winners(runs, found)

    def probes() -> None:
        for found in configurations(runs):
            found.pairs()
            for record in found.records:
                place = runs / record.run
                layout = layout_of_run(record, place)
                probe = load_probe(place, record, layout)
                shape = (1, layout.frames, layout.tokens, layout.dim)
                if np.prod(shape) < 1 << 20:
                    probe(TokenBatch(torch.zeros(shape)))
                kept_calibration(place)
                kept_order_tests(runs, record)

    def predictions() -> None:
        for found in configurations(runs):
            found.predictions()

    def logits() -> None:
        like = sorted(path.name for path in runs.glob("step-*"))[0]
        import_logits(folder / "logits.csv", runs, like, name="theirs", seed=0, params=1)

    each((tables, probes, predictions, lambda: chosen_table(runs, "markdown"), logits))


def in_run(name: str, mutated: Callable[[bytes, random.Random], bytes]) -> Any:
    """A change of one file of a run."""

    def change(folder: Path, random: random.Random) -> None:
        (path, *_) = sorted((folder / "runs").glob(f"*/{name}"))
        path.write_bytes(mutated(path.read_bytes(), random))

    return change


def json_bytes(data: bytes, random: random.Random) -> bytes:
    if random.random() < 0.1:
        return mutated_bytes(data, random)
    return json.dumps(mutated_json(json.loads(data), random)).encode()


def weights(data: bytes, random: random.Random) -> bytes:
    """Bytes, the header's JSON, or tensors of other shapes and types."""
    kind = random.randrange(3)
    if kind == 0:
        return mutated_bytes(data, random)
    length = int.from_bytes(data[:8], "little")
    if kind == 1:
        header = json.dumps(mutated_json(json.loads(data[8 : 8 + length]), random)).encode()
        return len(header).to_bytes(8, "little") + header + data[8 + length :]
    tensors = load(data)
    for name in random.sample(sorted(tensors), 2):
        other = random.choice((torch.float64, torch.int8, torch.bfloat16, torch.bool))
        shape = random.choice(((1,), (2, 3), (0,), tuple(tensors[name].shape)))
        tensors[name] = torch.zeros(shape, dtype=other)
    return save(tensors)


def selection(folder: Path, random: random.Random) -> None:
    path = folder / "runs" / "selection-1.json"
    path.write_bytes(json_bytes(path.read_bytes(), random))


def logits_csv(folder: Path, random: random.Random) -> None:
    path = folder / "logits.csv"
    path.write_bytes(mutated_text(path.read_text(), random, ("clip", "open", "clip-0001")))


def text_file(name: str, text: str, words: tuple[str, ...], *uses: Callable[[Path], Any]) -> Any:
    """A format of one text file that several readers may be given."""

    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / name).write_text(text)
        if name == "labels.csv":
            fill_store(folder / "store", "zarr", 2)

    def change(folder: Path, random: random.Random) -> None:
        (folder / name).write_bytes(mutated_text(text, random, words))

    def use(folder: Path) -> None:
        each([lambda use=use: use(folder / name) for use in uses])  # type: ignore[misc]

    return make, change, use


def labels(path: Path) -> None:
    relabel(path.parent / "store", path)
    store = open_store(path.parent / "store")
    labelled_clips(store, "train", "val", str(path))


PAIRS = "label,partner\nopen,close\npush,pull\n"
VIDEOS = "path,label,split,start_seconds,end_seconds\na.mp4,open,train,0,1.5\nb.mp4,close,test,,\n"
PUBLISHED = "method,value,params,source,frames\nSTEP,67.5,1000,paper,16\n"
FORMATS: dict[str, Any] = {
    "run.json": (make_runs, in_run("run.json", json_bytes), use_runs),
    "predictions.parquet": (make_runs, in_run("predictions.parquet", mutated_table), use_runs),
    "probe.safetensors": (make_runs, in_run("probe.safetensors", weights), use_runs),
    "calibration.json": (make_runs, in_run("calibration.json", json_bytes), use_runs),
    "order.json": (make_runs, in_run("order.json", json_bytes), use_runs),
    "selection.json": (make_runs, selection, use_runs),
    "logits.csv": (make_runs, logits_csv, use_runs),
    "sweep.yaml": text_file(
        "sweep.yaml",
        SWEEP,
        ("[1, 2, 3]", "10000000000", "optuna", "random", "zip", "x: &a [*a]", "heads: [3]"),
        lambda path: sweep_configs(read_sweep(path)),
    ),
    "pairs.csv": text_file("pairs.csv", PAIRS, ("open",), read_pairs),
    "splits.csv": text_file(
        "s.csv", "clip,split\na,train\nb,test\n", (), lambda p: match_splits(p, ["a", "b"])
    ),
    "published.csv": text_file(
        "p.csv",
        PUBLISHED,
        ("101", "-1"),
        is_published,
        lambda path: import_published(path, path.parent / "runs"),
    ),
    "groups.csv": text_file("g.csv", "group,label\n1,open\n1,close\n", (), read_groups),
    "labels.csv": text_file(
        "labels.csv",
        "id,clip,label,split\nclip-0000,clip-0000,x,train\nclip-0001,clip-0001,y,val\n",
        (),
        labels,
    ),
    "videos.csv": text_file("v.csv", VIDEOS, ("-1", "b.mp4"), lambda path: load_csv(path, {})),
    "list.csv": text_file(
        "l.csv",
        VIDEOS,
        (),
        lambda path: read_csv(path, ("path", "label")),
        lambda path: read_rows(path, 2),
        read_lines,
    ),
    "list.json": text_file("l.json", '[{"a": 1}]', (), lambda path: read_json(path, list)),
    "units": text_file("units.txt", "# units\nhand\ndoor\n", (), lambda p: units_of("none", p)),
    "prompts": text_file("prompts.txt", "a video of {}\n{}\n", ("{}",), read_templates),
}
