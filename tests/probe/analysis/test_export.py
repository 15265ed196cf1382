"""A probe that was taken away is the same probe."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command_line import call
from typer.testing import CliRunner

from stepcli.cache.store.store import Store
from stepcli.cli import app
from stepcli.probe.analysis.load_run import layout_of_run, load_probe
from stepcli.probe.data.text import StoreText
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.nn.attention_kernels import Rows, _gather_in_one, gather
from stepcli.probe.runs.record import read_run
from stepcli.runtime.errors import UsageError


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, store_of: Callable[..., Store]) -> Path:
    folder = tmp_path_factory.mktemp("export")
    store_of(folder / "store")
    call(
        *("probe", "--method", "step,linear", "--epochs", 1),
        *("--store", folder / "store", "--runs", folder / "runs"),
    )
    return folder / "runs"


def test_the_folder_is_a_probe_with_a_card(runs: Path, tmp_path: Path) -> None:
    (run,) = runs.glob("step-*")
    call("export", run, "--out", tmp_path)
    target = tmp_path / run.name
    assert {path.name for path in target.iterdir()} == {
        *("run.json", "probe.safetensors", "README.md")
    }
    record = read_run(target / "run.json")
    assert record.clip_seconds == 0  # the made-up clips have no length
    probe = load_probe(target, record, layout_of_run(record, target))
    assert probe.parameters_each == record.params
    record.config["task"]["clip_frames"] = 1 << 70
    with pytest.raises(UsageError, match=r"--clip-frames \d+: the store has \d frames per clip"):
        layout_of_run(record, target)
    card = (target / "README.md").read_text()
    assert f"| top1 | {100 * record.top1:.1f} % |" in card
    assert "`close`, `open`" in card
    assert record.spec["weights_digest"] in card


def test_several_probes_are_exported_at_once(runs: Path, tmp_path: Path) -> None:
    call("export", *sorted(runs.glob("*-*")), "--out", tmp_path)
    assert {path.name.partition("-")[0] for path in tmp_path.iterdir()} == {"step", "linear"}


def test_texts_go_along_with_a_probe_that_compares_with_them(
    store_of: Callable[..., Store], text_of: Callable[..., StoreText], tmp_path: Path
) -> None:
    store = store_of(tmp_path / "store", cls=True)
    text_of(("close", "open"), store=store.path, dim=8, vision_dim=16)
    call(
        *("probe", "--method", "zero-shot", "--epochs", 1),
        *("--store", store.path, "--runs", tmp_path / "runs"),
    )
    (run,) = (tmp_path / "runs").glob("zero-shot-*")
    call("export", run, "--out", tmp_path / "out")
    tokens = TokenBatch(torch.randn(2, 6, 2, 16, generator=torch.Generator().manual_seed(0)))
    logits = []
    for folder in (run, tmp_path / "out" / run.name):
        record = read_run(folder / "run.json")
        logits.append(load_probe(folder, record, layout_of_run(record, folder))(tokens))
        if folder == run:
            shutil.rmtree(store.path)
    assert torch.equal(*logits)


def test_onnx_gives_pytorchs_logits_for_any_number_of_clips(runs: Path, tmp_path: Path) -> None:
    (run,) = runs.glob("step-*")
    said = call("export", run, "--out", tmp_path, "--onnx")
    assert "logits differ from PyTorch's by at most" in said
    assert (tmp_path / run.name / "probe.onnx").is_file()


@pytest.mark.filterwarnings("ignore")
def test_onnx_names_its_classes_and_its_input(runs: Path, tmp_path: Path) -> None:
    """The card's lines run unchanged, beside the file."""
    import onnxruntime

    (run,) = runs.glob("step-*")
    call("export", run, "--out", tmp_path, "--onnx")
    target = tmp_path / run.name
    told = onnxruntime.InferenceSession(target / "probe.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(told["classes"]) == ["close", "open"]
    shape = "tokens [clips, 6, 2, 16], float32: clips, 6 frames, 2 tokens per frame (grid1 (2)), 16"
    assert told["input"].startswith(shape)
    assert told["weights_sha256"] == "0" * 64
    card = (target / "README.md").read_text()
    assert shape in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=target, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() in ("close", "open")
    call("export", run, "--out", tmp_path / "plain")
    assert "probe.onnx" not in (tmp_path / "plain" / run.name / "README.md").read_text()


def test_what_is_no_trained_probe_is_said(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"run": tmp_path.name}))
    done = CliRunner().invoke(app, ["export", str(tmp_path)])
    assert done.exit_code == 2
    assert "it has no probe.safetensors" in done.stderr


@pytest.mark.parametrize("places", [0, 1, 3])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("clips", [1, 4])
def test_the_pass_for_export_is_the_pass(places: int, scaled: bool, clips: int) -> None:
    """4 frames of 3 tokens; `places` entries of the shift a frame, and `clips` different ones."""
    random = torch.Generator().manual_seed(2)

    def values(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    missing = torch.zeros(8, 12, dtype=torch.bool)
    missing[3, 6:] = True
    rows = Rows(values(8, 12, 16), 4, missing)
    shift = values(clips, 6, 4, places) if places else None
    scale = values(8, 2, 12).abs() if scaled else None
    directions = values(6, 16)
    expected = gather(rows, directions, shift, scale)
    found = _gather_in_one(rows, directions, shift, scale)
    for mine, theirs in zip(found[:2], expected[:2], strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)
    if places:
        assert torch.allclose(found.by_place, expected.by_place, atol=1e-5)
