"""Each recipe from a root of true format to its table, by the command itself."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_roots

from stepcli.apply.reproduction.commands import Reproduction, run_alone
from stepcli.apply.reproduction.recipe import read_recipe, recipe_names
from stepcli.probe.runs.record import read_runs

LESS = "--slice-min clips=1,groups=1"
"""The tiny roots have a dozen training clips."""
WHOLE = "step-ikea-asm"
"""Trained with every epoch and seed; the others with one."""
Run = Callable[..., Any]
ROOTS = {
    "step-ikea-asm": tiny_roots.write_ikea_asm,
    "step-driveact": tiny_roots.write_driveact,
    "step-hri30": tiny_roots.write_hri30,
    "step-ssv2-low-data": tiny_roots.write_ssv2,
    "xclip-few-shot": tiny_roots.write_hmdb51,
}


def test_every_recipe_has_a_root_here() -> None:
    assert [*sorted(ROOTS)] == recipe_names()


@pytest.mark.parametrize("name", sorted(ROOTS))
def test_a_recipe_runs_from_its_data_to_its_table(
    name: str, tmp_path: Path, stepcli_here: Run, models: dict[str, Path]
) -> None:
    recipe = read_recipe(name)
    ROOTS[name](tmp_path / "data")
    out = tmp_path / "out"
    less = LESS if name == WHOLE else f"{LESS} --epochs 1 --seeds 1"
    if name == "step-ssv2-low-data":  # 25 % of six clips is one: a sweep of one's own stays
        text = Reproduction(recipe, tmp_path, out, "x").sweep_text
        for few, more in (("0.01", "0.5"), ("0.05", "0.67"), ("0.1}", "0.84}"), ("0.25", "1.0")):
            assert few in text
            text = text.replace(few, more)
        out.mkdir()
        (out / "sweep.yaml").write_text(text)
    words = ["reproduce", name, "--root", tmp_path / "data", "--out", out]
    words += ["--backbone", models[recipe.backbone], "--device", "cpu", "--sweep-with", less]
    done = stepcli_here(*words, "--extract-with", "--workers 1")
    assert done.exit_code == 0, done.output + done.stderr
    runs = read_runs(out / "runs")
    assert {run.method for run in runs} == set(recipe.sweep["methods"])
    table = done.output.split("measured", 1)[1]
    extracted, swept = (out / "commands.txt").read_text().splitlines()[-2:]
    assert (extracted.split()[1], swept.split()[1]) == ("extract", "sweep")
    draws = len(recipe.sweep.get("variants", [{}]))
    assert table.count("not judged") == draws * (len(recipe.margins) + len(recipe.figures))
    said = done.stderr[done.stderr.index("note: nothing is judged") :]
    assert f"nothing is judged: swept with {less}\n" in said
    assert "nothing is judged: the tokens have 32 channels" in said
    assert "the store has" not in said
    # What is told from the runs alone: the whole recipe has all of its own.
    assert (" with other settings, e.g. " in said) == (name != WHOLE)
    assert ("missing, e.g. " in said) == (name != WHOLE)
    for line in (*recipe.stated, *recipe.chosen, f"How sure: {recipe.certainty}"):
        assert line in done.output
    again = stepcli_here("reproduce", name, "--out", out, "--table")
    assert again.exit_code == 0, again.output
    assert (again.stderr, again.stdout) == (
        done.stderr,
        f"measured{done.stdout.split('measured', 1)[1]}",
    )


def test_a_dry_run_prints_a_script_that_bash_takes(tmp_path: Path, stepcli_here: Run) -> None:
    out = tmp_path / "a place"
    for name in recipe_names():
        done = stepcli_here(
            "reproduce", name, "--root", tmp_path / "none", "--out", out, "--dry-run"
        )
        assert done.exit_code == 0
        assert "the data are not here yet" in done.stderr
        head, *tail = done.stdout.rsplit("\nstepcli ", 3)
        assert [line.split()[0] for line in tail] == ["extract", "sweep", "reproduce"]
        subprocess.run(["bash", "-euc", head], check=True)
        plan = Reproduction(read_recipe(name), tmp_path, out, "x")
        assert plan.sweep_file.read_text() == plan.sweep_text
        assert not plan.changes
        plan.sweep_file.write_text("methods: {step: {}}")
        subprocess.run(["bash", "-euc", head], check=True)
        assert plan.sweep_file.read_text() == "methods: {step: {}}"
        plan.sweep_file.unlink()
    more = ["--out", out, "--dry-run", "--extract-with", "--limit 20"]
    done = stepcli_here("reproduce", name, *more)
    subprocess.run(["bash", "-euc", done.stdout.rsplit("\nstepcli ", 3)[0]], check=True)
    assert plan.changes == ["extracted with --limit 20"]


def test_what_is_missing_is_named(tmp_path: Path, stepcli_here: Run) -> None:
    data = tmp_path / "data"
    tiny_roots.write_hri30(data)

    def error() -> str:
        done = stepcli_here("reproduce", "step-hri30", "--root", data, "--out", tmp_path / "out")
        assert done.exit_code == 2
        said: str = done.stderr
        assert said.count("\n") == 1
        return said

    (data / "annotations/test_set_labels.csv").rename(tmp_path / "kept.csv")
    assert "no clips of the split 'test'" in error()
    assert "keep the test labels back" in error()
    (tmp_path / "kept.csv").rename(data / "annotations/test_set_labels.csv")
    for folder in ("train_set", "test_set"):
        for video in (data / folder).iterdir():
            video.unlink()
    assert "none of 16 videos is there, e.g. " in error()
    (data / "annotations/train_set_labels.csv").unlink()
    said = stepcli_here("reproduce", "step-hri30", "--root", data).stderr
    assert "1 of 2 pieces are missing" in said
    assert "MISSING" in said.splitlines()[1]
    assert "train_set_labels.csv" in said
    done = stepcli_here("reproduce", "step-hri30", "--root", tmp_path / "nowhere")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)


def test_videos_that_are_missing_are_counted(tmp_path: Path, stepcli_here: Run) -> None:
    tiny_roots.write_hri30(tmp_path / "data")
    gone = sorted((tmp_path / "data/train_set").iterdir())[0]
    gone.unlink()
    words = ["reproduce", "step-hri30", "--root", tmp_path / "data", "--out", tmp_path / "out"]
    done = stepcli_here(*words, "--backbone", tmp_path / "no-model")
    assert f"16 clips of 16 videos; 1 video missing, e.g. {gone}" in done.stdout
    # The extraction has no model: its error ends the command, with its exit code.
    assert done.exit_code == 2
    assert "ended with exit code 2; its message is above" in done.stderr
    assert "$ stepcli sweep" not in done.stdout


def test_an_edited_sweep_is_kept_and_nothing_is_judged(tmp_path: Path) -> None:
    plan = Reproduction(
        read_recipe("step-ikea-asm"), tmp_path, tmp_path, "x", "cpu", ("--batch", "8")
    )
    plan.sweep_file.write_text(plan.sweep_text)
    assert plan.changes == []
    plan.sweep_file.write_text(plan.sweep_text.replace("30", "31"))
    assert plan.changes == [f"{plan.sweep_file} was edited"]
    other = Reproduction(
        plan.recipe, tmp_path, tmp_path / "b", "x", "cpu", ("--frames=8",), ("--lr", "1")
    )
    assert other.changes == ["extracted with --frames=8", "swept with --lr 1"]


def test_a_command_runs_in_a_process_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_alone(["datasets", "show", "hri30"]) == 0
    assert "train_set_labels.csv" in capfd.readouterr().out
    assert run_alone(["datasets", "show", "none"]) == 2
