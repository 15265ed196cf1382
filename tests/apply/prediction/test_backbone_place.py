"""The folder of a local backbone is remembered by the store and the runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from command_line import call

CLIPS = Path(__file__).parents[3] / "examples" / "openclose" / "clips"
VIDEO = CLIPS / "handle-press" / "000.mp4"


def vit(folder: Path, seed: int) -> Path:
    """A small model with random weights and its image processor."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.ViTConfig(**sizes, intermediate_size=16, image_size=32, patch_size=16)
    transformers.ViTModel(config).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    transformers.ViTImageProcessorPil(size=size).save_pretrained(folder)
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A probe on tokens of models/mine, which was named by a path relative to the folder."""
    monkeypatch.chdir(tmp_path)
    vit(tmp_path / "models" / "mine", 0)
    rows = ["id,path,label,split"]
    for label in ("handle-press", "handle-pull"):
        for number, split in enumerate(("train", "train", "test")):
            path = CLIPS / label / f"{number:03d}.mp4"
            rows.append(f"{label}-{number},{path},{label},{split}")
    (tmp_path / "clips.csv").write_text("\n".join(rows))
    call(
        *("extract", "--dataset", "csv", "--root", "clips.csv", "--frames", 2),
        *("--backbone", "models/mine", "--tokens", "cls", "--store", "store"),
    )
    call("probe", "--method", "linear", "--store", "store", "--epochs", 1)
    (found,) = (tmp_path / "runs").glob("linear-*")
    return found


def answers(run: Path, *words: object) -> Any:
    return json.loads(call("predict", run, "--video", VIDEO, "--format", "json", *words))[0][
        "windows"
    ]


def test_predict_finds_a_local_backbone_again(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "models" / "mine"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    said = answers(run)
    assert said == answers(run, "--backbone", mine)
    record = json.loads((run / "run.json").read_text())
    assert record["weights"] == [str(mine)]
    assert record["spec"]["backbone"] == "hf:mine"
    call("export", run, "--out", "given")
    shutil.rmtree(tmp_path / "store")
    assert answers(elsewhere / "given" / run.name) == said

    # A run of an earlier version has no record of it: then the store's parts say where it was.
    shutil.move(tmp_path / "models", tmp_path / "moved")
    lost = call("predict", run, "--video", VIDEO, code=2)
    assert f"it was in {mine}; say where it is now with --backbone hf:<folder>" in lost
    vit(mine, 1)
    assert f"it was in {mine} (other weights now)" in call("predict", run, "--video", VIDEO, code=2)
    assert answers(run, "--backbone", tmp_path / "moved" / "mine") == said


def test_a_run_of_an_earlier_version_asks_its_store(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    del record["weights"]
    said = answers(run)
    (run / "run.json").write_text(json.dumps(record))
    assert answers(run) == said
