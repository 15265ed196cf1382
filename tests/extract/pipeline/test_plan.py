"""Planning multiplies what it measured; the doctor says what is there and what is not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from stepcli.cli import app
from stepcli.extract.cli.doctor import examine
from stepcli.extract.config import ExtractConfig
from stepcli.extract.pipeline.plan import DTYPES, LayoutCost, Plan, describe, make_plan
from stepcli.runtime.errors import UsageError


def request(model: Path, **changes: Any) -> ExtractConfig:
    settings: dict[str, Any] = {
        "dataset": "openclose",
        "root": None,
        "backbone": f"hf:{model}",
        "frames": 4,
        "device": "cpu",
        "workers": 1,
    }
    return ExtractConfig(**{**settings, **changes})


def test_a_plan_counts_bytes_as_the_store_will(model_folder: Callable[[str], Path]) -> None:
    made = make_plan(request(model_folder("dinov2")), Path("nowhere/yet"), 4)
    assert (made.clips, made.stored) == (384, 384)
    assert made.clip_seconds > 0
    sizes = {(cost.tokens, cost.dtype): cost.clip_bytes for cost in made.layouts}
    steps = 4 * 16  # frames x tokens of grid4, each of 32 channels
    assert {dtype: sizes["grid4", dtype] for dtype in DTYPES} == {
        "float32": steps * 32 * 4,
        "float16": steps * 32 * 2,
        "bfloat16": steps * 32 * 2,
        "int8": steps * (32 + 4),
        "int8-channel": steps * (32 + 4) + 32 * 4,
    }
    by_name = {(cost.tokens, cost.dtype): cost for cost in made.layouts}
    assert by_name["full", "float32"].total_bytes == 384 * 4 * 65 * 32 * 4
    assert by_name["cls", "float16"].break_even == pytest.approx(256 / made.clip_seconds)
    assert not list(Path().glob("nowhere"))
    assert "recommended: --tokens grid8 --dtype float16" in describe(made)


def test_a_plan_of_some_clips_counts_those(
    model_folder: Callable[[str], Path], clip_table: Path
) -> None:
    asked = request(model_folder("dinov2"), dataset="csv", root=clip_table, limit=3)
    made = make_plan(asked, Path(), 2, ("cls",))
    assert (made.clips, made.stored) == (3, 3)
    (cost,) = (cost for cost in made.layouts if cost.dtype == "float16")
    assert cost.total_bytes == 3 * cost.clip_bytes
    assert cost.break_even == pytest.approx(cost.clip_bytes / made.clip_seconds)


def test_a_plan_counts_every_view_and_layer(
    model_folder: Callable[[str], Path], clip_table: Path
) -> None:
    asked = request(
        model_folder("dinov2"),
        dataset="csv",
        root=clip_table,
        layers=(-2, -1),
        views="left,center",
        train_views=1,
    )
    made = make_plan(asked, Path(), 2, ("cls,grid2",))
    assert (made.clips, made.stored) == (10, 10 * 2 + 6)  # four clips are of the test split
    (cost,) = (cost for cost in made.layouts if cost.dtype == "float16")
    assert cost.clip_bytes == 2 * 4 * 5 * 32 * 2
    assert cost.total_bytes == 26 * cost.clip_bytes
    assert "10 clips in 26 views" in describe(made)
    assert "recommended: --tokens cls,grid2" in describe(made)


def test_what_does_not_fit_is_not_recommended() -> None:
    layouts = tuple(
        LayoutCost(name, dtype, size, size, size < 100, 1.0)
        for name, count in (("grid1", 10), ("grid2", 40), ("grid4", 60), ("full", 400))
        for dtype, size in (("float32", 2 * count), ("float16", count), ("int8", count // 2))
    )
    made = Plan(1, 1, 1.0, 100, layouts)
    found = made.recommended
    assert found is not None
    assert (found.tokens, found.dtype) == ("grid2", "float16")  # at most half of what is free
    full = describe(made).splitlines()[-6]
    assert full.startswith("full")
    assert full.count("!") == 3
    tight = Plan(1, 1, 1.0, 15, layouts).recommended
    assert tight is not None
    assert (tight.tokens, tight.dtype) == ("grid1", "int8")
    assert Plan(1, 1, 1.0, 5, layouts).recommended is None


def test_a_plan_on_clips_nobody_can_read_says_why(
    model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "clips.csv").write_text("path,label\ngone.mp4,x\n")
    with pytest.raises(UsageError, match="none of 1 clips tried could be read"):
        make_plan(request(model_folder("dinov2"), dataset="csv", root=tmp_path), tmp_path, 4)


def plan(model: Path, clip_table: Path, *more: str) -> Result:
    words = f"plan --dataset csv --root {clip_table} --backbone hf:{model} --frames 4 --device cpu"
    sizes = ("--tokens", "cls", "--tokens", "cls,grid2", "--probe-clips", "2")
    return CliRunner().invoke(app, [*words.split(), *sizes, *more])


def test_the_command_prints_what_a_plan_says(
    model_folder: Callable[[str], Path], clip_table: Path, tmp_path: Path
) -> None:
    model, place = model_folder("dinov2"), ("--stores", str(tmp_path / "stores"))
    said = plan(model, clip_table, *place)
    assert said.exit_code == 0, said.output
    assert said.stdout.startswith("10 clips, ")
    assert "recommended: --tokens cls,grid2 --dtype float16" in said.stdout
    made = json.loads(plan(model, clip_table, *place, "--json", "--layers", "-2,-1").stdout)
    assert made["recommended"]["clip_bytes"] == 2 * 4 * 5 * 32 * 2
    assert {cost["tokens"] for cost in made["layouts"]} == {"cls", "cls,grid2"}
    assert made["hours"] == pytest.approx(10 * made["clip_seconds"] / 3600)
    assert not (tmp_path / "stores").exists()


def test_a_plan_that_does_not_fit_the_disk_ends_with_exit_code_1(
    model_folder: Callable[[str], Path], clip_table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = SimpleNamespace(total=10**6, used=10**6 - 100, free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: full)
    said = plan(model_folder("dinov2"), clip_table)
    assert said.exit_code == 1
    assert "recommended: --tokens" not in said.stdout


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
    found = json.loads(done.stdout)
    assert {"state", "what", "text"} == found[0].keys()
    said = CliRunner().invoke(app, ["doctor", "--stores", str(tmp_path)])
    assert said.exit_code == 0
    assert [line.split()[0] for line in said.stdout.splitlines()] == [f["state"] for f in found]
