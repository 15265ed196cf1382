"""Probes of a video backbone: every window is a clip of its own, passed through it whole."""

from pathlib import Path

import pytest
import torch
import transformers
from command_line import call

from stepcli.apply.prediction.api import load_probe, predict, train
from stepcli.apply.prediction.stream import RollingWindow
from stepcli.probe.analysis.calibration import softmax
from stepcli.probe.runs.predictions import read_predictions
from stepcli.runtime.errors import UsageError

CLIPS = Path(__file__).parents[3] / "examples" / "openclose" / "clips"


def test_probes_of_a_video_backbone_see_whole_windows(tmp_path: Path) -> None:
    settings = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.VideoMAEConfig(
        **settings, intermediate_size=32, image_size=32, num_frames=4, tubelet_size=2
    )
    torch.manual_seed(0)
    transformers.VideoMAEModel(config).save_pretrained(tmp_path / "tiny-videomae")
    transformers.VideoMAEImageProcessorPil(
        size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(tmp_path / "tiny-videomae")
    rows = [
        f"{label}-{number},{CLIPS / label / f'{number:03d}.mp4'},{label},{split},{number}"
        for label in ("handle-press", "handle-pull")
        for number, split in ((0, "train"), (1, "test"))
    ]
    (tmp_path / "clips.csv").write_text("\n".join(["id,path,label,split,group", *rows]))
    call(
        *("extract", "--dataset", "csv", "--root", tmp_path / "clips.csv", "--frames", 4),
        *("--backbone", f"hf:{tmp_path / 'tiny-videomae'}", "--tokens", "grid1"),
        *("--store", tmp_path / "store", "--device", "cpu"),
    )
    (record,) = train(
        tmp_path / "store", "linear", runs=tmp_path / "runs", shared={"epochs": 1}, device="cpu"
    )
    run = tmp_path / "runs" / record.run
    applied = load_probe(run, device="cpu", backbone=f"hf:{tmp_path / 'tiny-videomae'}")
    assert (applied.by_frame, applied.frames_shown, applied.spec.frames) == (False, 4, 2)
    said = read_predictions(run)
    for label in ("handle-press", "handle-pull"):
        (found,) = predict(applied, CLIPS / label / "001.mp4", top=2)
        expected = softmax(said.logits)[said.clips.index(f"{label}-1")]
        got = {entry["label"]: entry["probability"] for entry in found["windows"][0]["top"]}
        assert [got[name] for name in record.classes] == pytest.approx(expected, abs=2e-4)
    (several,) = predict(applied, CLIPS / "handle-pull" / "001.mp4", window=0.5)
    assert len(several["windows"]) > 2
    with pytest.raises(UsageError, match="depend on the whole window"):
        RollingWindow(applied, 2.0)
