"""Whole commands for the rounds of faults: `extract`, `probe` and `export`, as the Python API."""

import hashlib
from pathlib import Path

import numpy as np
from fault_actions import Action
from sample_clips import clip_ids, fill_store

from stepcli.apply.prediction.api import extract, train
from stepcli.cache import open_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.schema.manifest import Format
from stepcli.probe.analysis.export import CARD, KEPT, export_folder
from stepcli.probe.runs.record import FILE, read_run
from stepcli.runtime.errors import ClipError

CLIPS = Path(__file__).parents[2] / "examples" / "openclose" / "clips"
MODEL = """
import torch
from stepcli.extract.backbones.custom_backbone import ImageModel
def build():
    torch.manual_seed(0)
    return ImageModel(torch.nn.Conv2d(3, 8, kernel_size=16, stride=16), size=32)
"""


def make_commands(base: Path, form: Format) -> None:
    """Videos, a store of half of them and one of all, and a trained run with an old export."""
    (base / "model.py").write_text(MODEL)
    rows = [
        f"{label}-{number},{CLIPS / label / f'{number:03d}.mp4'},{label},train"
        for label in ("door-open", "door-close")
        for number in range(2)
    ]
    (base / "clips.csv").write_text("\n".join(("id,path,label,split", *rows)))
    _extract(base, "whole", form)
    _extract(base, "begun", form, limit=2)
    trained = fill_store(base / "trained", form, 12)
    trained.replace_clips(
        ClipRow(name, ("close", "open")[number % 2], "test" if number >= 8 else "train")
        for number, name in enumerate(clip_ids(12))
    )
    _probe(base, form)
    (run,) = (base / "runs").iterdir()
    export_folder(run, base / "out")


def _extract(root: Path, store: str, form: Format, limit: int | None = None) -> None:
    base = root if (root / "clips.csv").exists() else root.parent / form
    extract(
        "csv",
        base / "clips.csv",
        backbone=f"{base / 'model.py'}:build",
        tokens="grid2",
        device="cpu",
        frames=2,
        workers=1,
        limit=limit,
        store=root / store,
        format=form,
    )


def _resume(root: Path, form: Format) -> None:
    _extract(root, "begun", form)
    for failure in open_store(root / "begun").quarantined().values():
        raise ClipError(failure.message)  # the command's exit code 3


def _extracted(root: Path, form: Format, succeeded: bool) -> None:
    whole = open_store(root.parent / form / "whole")
    store = open_store(root / "begun")
    problems = verify_store(root / "begun", workers=1).problems
    assert not problems, problems
    assert set(store.ids) >= {"door-close-0", "door-open-0"}
    if succeeded:
        assert set(store.ids) == set(whole.ids)
        assert {row.id: row for row in store.clips()} == {row.id: row for row in whole.clips()}
        assert not store.quarantined()
    np.testing.assert_array_equal(store.read(store.ids), whole.read(store.ids))


def _probe(root: Path, form: Format) -> None:
    train(root / "trained", "linear", runs=root / "runs", shared={"epochs": 2}, device="cpu")


def _probed(root: Path, form: Format, succeeded: bool) -> None:
    store = open_store(root / "trained")
    assert store.ids == clip_ids(12)
    (expected,) = (root.parent / form / "runs").iterdir()
    folder = root / "runs" / expected.name
    if succeeded or (folder / FILE).exists():
        assert read_run(folder / FILE).top1 == read_run(expected / FILE).top1
        assert _digest(folder / KEPT[0]) == _digest(expected / KEPT[0])


def _export(root: Path, form: Format) -> None:
    (run,) = (root / "runs").iterdir()
    export_folder(run, root / "out")


def _exported(root: Path, form: Format, succeeded: bool) -> None:
    (run,) = (root.parent / form / "runs").iterdir()
    for name in (*KEPT, FILE):
        for folder in (root / "runs" / run.name, root / "out" / run.name):
            file = folder / name
            assert file.exists() == (run / name).exists(), file
            if file.exists() and (name != FILE or folder.parent.name == "runs"):
                assert _digest(file) == _digest(run / name), file
    assert read_run(root / "out" / run.name / FILE).run == run.name
    assert (root / "out" / run.name / CARD).read_text().startswith("---")
    if succeeded:
        # Staging that could not be removed is hidden, and swept by the next export.
        names = [entry.name for entry in (root / "out").iterdir() if entry.name[0] != "."]
        assert names == [run.name]


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


COMMANDS = {
    action.name: action
    for action in (
        Action("extract", _resume, ("begun",), check=_extracted),
        Action("probe", _probe, ("trained",), check=_probed),
        Action("export", _export, ("runs", "out"), check=_exported),
    )
}
