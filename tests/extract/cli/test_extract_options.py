"""The options of `extract` and `plan`: made from one config, in panels, read from files."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from command_line import call, invoke

from stepcli.cli import app
from stepcli.extract.config import ExtractConfig
from stepcli.runtime.settings import keys_of, options_of

FIRST = 15
"""Options on the first panel, at most."""
RUN = """\
dataset: openclose
backbone: mobilenet_v2-bundled
frames: 4
tokens: grid2
layers: [-1]
limit: 3
set: {}
"""


def options(command: str) -> list[Any]:
    group: Any = typer.main.get_command(app)
    return list(group.commands[command].params)


def test_basic_options_stand_first_and_are_few() -> None:
    panels: dict[str | None, list[str]] = {}
    for option in options("extract"):
        panels.setdefault(option.rich_help_panel, []).append(option.opts[0])
    assert len(panels[None]) + len(["--help"]) <= FIRST
    assert next(iter(panels)) is None
    assert {"--dataset", "--root", "--backbone", "--frames", "--tokens"} <= {*panels[None]}
    assert len(panels) > 4


def test_every_setting_is_one_option() -> None:
    flags = {option.opts[0] for option in options("extract")}
    assert flags - {"--json", "--config"} == {
        "--" + key.replace("_", "-") for key in keys_of(ExtractConfig)
    }
    assert len(keys_of(ExtractConfig)) == len(ExtractConfig.model_fields)


def test_options_of_a_plan_are_those_of_an_extraction() -> None:
    asked = {option.opts[0]: option for option in options("extract")}
    shared = {option.opts[0]: option for option in options("plan")}
    own = {"--tokens", "--stores", "--probe-clips", "--json", "--config"}
    assert own < shared.keys()
    for flag in shared.keys() - own:
        assert (asked[flag].help, asked[flag].default) == (shared[flag].help, shared[flag].default)


def test_help_says_what_exit_codes_mean() -> None:
    shown = call("extract", "--help")
    for code in (0, 1, 2, 3, 4, 75, 130):
        assert re.search(rf"\b{code}\b", shown), code


def test_a_file_and_flags_make_one_config(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(RUN)
    store = tmp_path / "store"
    place = ("--store", store, "--dry-run", "--json")
    said = json.loads(call("extract", "--config", file, "--frames", 6, *place))
    config = ExtractConfig(
        dataset="openclose",
        backbone="mobilenet_v2-bundled",
        frames=6,
        tokens="grid2",
        limit=3,
        store=str(store),
        dry_run=True,
    )
    assert said == {
        "store": str(store),
        "clips": 3,
        "left": 3,
        "left_bytes": 3 * 6 * 4 * 1280 * 2,
        "config": options_of(config),
    }
    # What was reported is itself a file, of the same run.
    again = tmp_path / "again.json"
    again.write_text(json.dumps(said["config"]))
    assert json.loads(call("extract", "--config", again, "--json")) == said


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("frame: 4", "unknown option of {file} 'frame'; did you mean frames"),
        ("layers: [0]", "{file}: layers [0]: expected numbers counted from the end"),
        ("rank: 1", "--rank and --world-size go together"),
        ("decoder: opencv", "{file}: decoder opencv: expected 'pyav' or 'torchcodec'"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(f"dataset: openclose\n{line}\n")
    said = invoke("extract", "--config", file).stderr
    assert said.startswith(f"error: {message.format(file=file)}")
    assert said.count("\n") == 1


def test_a_numbers_text_and_a_numeric_name_are_both_texts(tmp_path: Path) -> None:
    """YAML makes numbers of them: a data set's option, a device, a folder's name."""
    config = ExtractConfig(dataset="ucf101", options={"split": 2}, devices=0, append=7)
    assert (config.options, config.devices, config.append) == ({"split": "2"}, "0", "7")


@pytest.mark.parametrize("command", ["extract", "plan"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--dataset sv2", "unknown data set 'sv2'; did you mean ssv2"),
        (
            "--dataset openclose --backbone dinov2-bse",
            "unknown backbone 'dinov2-bse'; did you mean",
        ),
        ("--dataset ssv2 --root nowhere", "ssv2: --root nowhere does not exist"),
    ],
)
def test_a_mistyped_name_is_refused_before_torch_is_loaded(
    command: str, words: str, message: str
) -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from stepcli.cli import app\n"
        f"done = CliRunner().invoke(app, {[command, *words.split()]!r})\n"
        "print(done.exit_code, 'torch' in sys.modules, done.stderr)"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert said.startswith(f"2 False error: {message}")
