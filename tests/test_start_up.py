"""What a command loads before it knows that it needs it: modules, by name, never a time."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

OLD = Path(__file__).parent / "compat" / "d66560d"
PARQUET = {"pyarrow", "pandas"}
DECODER = {"av", "PIL"}
HEAVY = {
    *("torch", "transformers", "safetensors", "zarr", "h5py", "obstore", "huggingface_hub"),
    *("ray", "optuna", "matplotlib", "sklearn", "scipy", "jinja2", "onnx", "mlflow", "wandb"),
}
PROFILE = """
import contextlib, io, sys
from stepcli.cli import app
for words in {commands!r}:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            app(words)
            code = 0
        except SystemExit as end:
            code = end.code
    loaded = {heavy!r} & {{name.partition(".")[0] for name in sys.modules}}
    print((code, sorted(loaded), said.getvalue()))
"""


def profile(commands: list[str], heavy: set[str], folder: Path) -> list[tuple[int, list[str], str]]:
    """Exit code, heavy packages loaded so far and output of commands that run in one process."""
    code = PROFILE.format(commands=[command.split() for command in commands], heavy=heavy)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    return [ast.literal_eval(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("allowed", [set(), DECODER | PARQUET], ids=["typos", "lists of clips"])
def test_a_typo_is_answered_before_anything_heavy_is_loaded(
    tmp_path: Path, allowed: set[str]
) -> None:
    no_store = "no feature store at nowhere"
    no_runs = "no runs folder nowhere"
    wrong = (
        {
            "extract --dataset ssv2 --root . --backbone dinov2-base": "MISSING",
            "extract --dataset folder --root . --backbone dinov2-base": "found no videos",
            "extract --dataset csv --root . --backbone dinov2-base --dry-run": "csv",
        }
        if allowed
        else {
            "extarct": "Did you mean 'extract'",
            "extract --datset ssv2": "No such option",
            "extract --dataset ssv3 --root . --backbone dinov2-base": "did you mean ssv2",
            "extract --dataset ssv2 --root . --backbone dinov2-bse": "did you mean dinov2-base",
            "extract --dataset ssv2 --root nowhere --backbone dinov2-base": "does not exist",
            "extract --dataset ssv2 --root . --backbone dinov2-base --precision f": "--precision",
            "extract --dataset ssv2 --root . --backbone dinov2-base --device cdua": "--device cdua",
            "extract --dataset ssv2 --root . --backbone dinov2-base --tokens grd4": "'grd4'",
            "plan --dataset ssv2 --root . --backbone dinov2-base --tokens grd4": "'grd4'",
            **{
                f"{command} --device cdua": "--device cdua is not known"
                for command in (
                    *("probe --method step", "sweep --method step", "predict runs/x --video x.mp4"),
                    *("order runs", "calibrate runs", "report runs", "reproduce step-hri30"),
                )
            },
            f"probe --method step --pairs nofile --store {OLD / 'stores' / 'zarr'}": "nofile",
            f"sweep --method step --pairs nofile --store {OLD / 'stores' / 'zarr'}": "nofile",
            "methods stpe": "did you mean step",
            "probe --method stpe": "did you mean step",
            "probe --method step --store nowhere": no_store,
            "sweep --method stpe --dry-run": "did you mean step",
            "sweep --method step --store nowhere --dry-run": no_store,
            f"chirality {OLD / 'clips.csv'} --store nowhere": no_store,
            "picture clip --store nowhere": no_store,
            "store nfo": "Did you mean 'info'",
            "store labels": "give one of",
            **{
                f"store {name} --store nowhere": no_store
                for name in ("info", "ls", "show x", "verify", "repair", "compact", "duplicates")
            },
            "results --runs nowhere": no_runs,
            "results --runs nowhere --compare step linear": no_runs,
            "results --runs nowhere --chosen": "holds no selection",
            "analyse nowhere": no_runs,
            "order nowhere": no_runs,
            "calibrate nowhere": no_runs,
            "report nowhere": no_runs,
            "export nowhere": "neither the folder of a trained probe",
            "predict nowhere": "neither a run",
            "push nowhere": "--to",
        }
    )
    found = profile(list(wrong), (HEAVY | PARQUET | DECODER) - allowed, tmp_path)
    assert len(found) == len(wrong)
    for (command, said), (code, loaded, output) in zip(wrong.items(), found, strict=True):
        assert (code, loaded) == (2, []), command
        assert said in output, command


def test_the_table_of_results_loads_no_torch_and_no_parquet(tmp_path: Path) -> None:
    commands = [
        "backbones",
        "methods",
        "datasets list",
        "datasets show ssv2",
        f"results --runs {OLD / 'runs'}",
        f"results --runs {OLD / 'runs'} --format json",
        f"results --runs {OLD / 'runs'} --format csv",
        f"results --runs {OLD / 'runs'} --format markdown",
    ]
    for command, (code, loaded, _) in zip(
        commands, profile(commands, HEAVY | PARQUET | DECODER, tmp_path), strict=True
    ):
        assert (code, loaded) == (0, []), command


def test_the_commands_of_a_store_load_no_torch_and_no_format(tmp_path: Path) -> None:
    store = OLD / "stores" / "zarr"
    commands = [
        f"store {name} --store {store}"
        for name in ("info", "ls", "ls --state done", "verify", "duplicates", "compact --dry-run")
    ]
    commands.append(f"results --runs {OLD / 'runs'} --format latex")
    for command, (code, loaded, output) in zip(
        commands, profile(commands, HEAVY | DECODER | {"pandas"}, tmp_path), strict=True
    ):
        assert (code, loaded) == (0, []), (command, output)


def test_a_choice_is_read_without_torch(tmp_path: Path) -> None:
    runs = OLD / "sweep"
    commands = [f"results --runs {runs} --chosen", f"results --runs {runs} --chosen --format json"]
    for command, (code, loaded, output) in zip(
        commands, profile(commands, HEAVY | DECODER | {"pandas"}, tmp_path), strict=True
    ):
        assert (code, loaded) == (0, []), (command, output)
