"""Planning multiplies what it measured; the doctor says what is there and what is not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stepcli.cache.errors import UsageError
from stepcli.cli import app
from stepcli.extract.doctor import examine
from stepcli.extract.plan import LayoutCost, Plan, PlanRequest, describe, make_plan


def request(model: Path, **changes: Any) -> PlanRequest:
    settings: dict[str, Any] = {
        "dataset": "openclose",
        "root": None,
        "options": {},
        "backbone": f"hf:{model}",
        "frames": 4,
        "stores": Path("nowhere/yet"),
        "device": "cpu",
        "probe_clips": 4,
    }
    return PlanRequest(**{**settings, **changes})


def test_a_plan_counts_bytes_as_the_store_will(model_folder: Callable[[str], Path]) -> None:
    made = make_plan(request(model_folder("dinov2")))
    assert made.clips == 384
    assert made.clip_seconds > 0
    by_name = {(cost.tokens, cost.dtype): cost for cost in made.layouts}
    # 4 frames x 16 tokens x 32 channels x 2 bytes.
    assert by_name["grid4", "float16"].clip_bytes == 4 * 16 * 32 * 2
    assert by_name["full", "float32"].total_bytes == 384 * 4 * 65 * 32 * 4
    assert by_name["cls", "float16"].break_even == pytest.approx(256 / made.clip_seconds)
    assert not list(Path().glob("nowhere"))
    assert "recommended: --tokens grid8 --dtype float16" in describe(made)


def test_what_does_not_fit_is_not_recommended() -> None:
    layouts = tuple(
        LayoutCost(name, "float16", size, size, size < 100, 1.0)
        for name, size in (("grid1", 10), ("grid2", 40), ("grid4", 60), ("full", 400))
    )
    made = Plan(1, 1.0, 100, layouts)
    assert made.recommended is layouts[1]  # at most half of what is free
    assert "NO" in describe(made)
    assert Plan(1, 1.0, 5, layouts).recommended is None


def test_a_plan_on_clips_nobody_can_read_says_why(
    model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "clips.csv").write_text("path,label\ngone.mp4,x\n")
    with pytest.raises(UsageError, match="none of 1 clips tried could be read"):
        make_plan(request(model_folder("dinov2"), dataset="csv", root=tmp_path))


def test_the_doctor_leaves_nothing_behind_and_knows_the_machine(tmp_path: Path) -> None:
    found = {finding.what: finding for finding in examine(tmp_path / "stores")}
    assert found["torch"].state == "ok"
    assert found["video decoders"].state == "ok"
    assert "MB/s" in found["write speed"].text
    assert "HF_HUB_OFFLINE" in found["hub"].text
    assert not list(tmp_path.iterdir())


def test_the_doctor_speaks_json(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "--json", "--stores", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert {"state", "what", "text"} == json.loads(done.stdout)[0].keys()
