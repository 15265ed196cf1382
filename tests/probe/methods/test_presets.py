"""Presets: names for options together, that a run records as the options which they are."""

import json
from pathlib import Path

import pytest
from command_line import call
from torch import Generator

from stepcli.cache.store.store import Store
from stepcli.probe.config import DataConfig, TaskConfig
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.methods.registry import methods, parse_options
from stepcli.probe.sweeps.expand import run_configs
from stepcli.runtime.errors import UnknownName

STEP = methods().get("step")


@pytest.mark.parametrize("classes", range(30, 35))
def test_paper_count_has_the_papers_2_6_million_parameters(classes: int) -> None:
    """ViT-B: D = 768, 16 frames of 16 x 16 patches; 30 to 34 classes are those of its data sets."""
    layout = TokenLayout.of(frames=16, tokens=256, dim=768)

    def count(**options: str) -> int:
        probe = STEP.build(layout, classes, parse_options(STEP, options), Generator())
        return probe.parameters_each

    found = count(preset="paper-count")
    assert 2_595_000 <= found <= 2_598_200
    plain = 4 * 768**2 + 4 * 768 + 16 * 768 + 768 + 768 * classes + classes
    assert count() == plain
    assert found == plain + 256 * 768
    if classes == 30:
        assert found == 2_595_102
    if classes == 34:
        assert (count(), found) == (2_401_570, 2_598_178)


def test_a_run_records_the_options_not_the_preset() -> None:
    def run(**options: object) -> object:
        (config,) = run_configs("step", [options], {}, TaskConfig(), DataConfig(), [0])
        return config

    assert run(preset="paper-count") == run(patch_pe=True, tokens="patches")
    assert run(preset="default") == run()
    # What is given beside goes first.
    assert run(preset="paper-count", tokens="all", heads=4) == run(patch_pe=True, heads=4)
    assert "preset" not in parse_options(STEP, {"preset": "paper-count"}).model_dump()


def test_unknown_presets_are_refused() -> None:
    with pytest.raises(UnknownName, match="paper-count"):
        parse_options(STEP, {"preset": "paper"})
    with pytest.raises(UnknownName, match="preset"):
        parse_options(methods().get("linear"), {"preset": "paper-count"})


def test_a_preset_is_swept_chosen_and_shown_by_its_name(store: Store, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    words = ("--store", store.path, "--runs", runs, "--seeds", 1, "--epochs", 1)
    least = ("--select", "--slice-min", "clips=2,groups=1")
    call("sweep", "--method", "step", "--set", "preset=default,paper-count", *words, *least)
    (selection,) = runs.glob("selection-*.json")
    (chosen,) = json.loads(selection.read_text())["methods"]["step"]["settings"]
    assert chosen["preset"] in ("default", "paper-count")
    assert STEP.preset_of(parse_options(STEP, {"preset": "paper-count"}).model_dump()) == (
        "paper-count"
    )
    assert STEP.preset_of(STEP.defaults()) == "default"
    assert "preset=paper-count" in call("methods", "step")
