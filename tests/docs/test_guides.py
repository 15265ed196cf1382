"""The guides' blocks run from top to bottom, in the folder that each tells its reader to have.

What a guide fetches from a hub is a tiny model of random weights here, its data lie below a folder
of the test, and training is cut to one epoch; all else runs as it is printed.
"""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from test_commands import FENCE, SHELL, commands_of
from typer.testing import CliRunner

from stepcli.cli import app

TREE = Path(__file__).resolve().parents[2]
TRAINING = {"probe", "sweep"}
ELSEWHERE = {
    "report"
}  # it takes its time, and has tests of its own: tests/probe/report/test_report.py


@pytest.mark.parametrize(
    "guide",
    [
        *("first-hour", "ssv2", "long-recordings", "bring-your-own"),
        *("offline-hpc", "share-stores", "ucf101-hmdb51"),
    ],
    ids=str,
)
def test_every_block_of_a_guide_runs(guide: str, workplace: Path) -> None:
    text = (TREE / "docs" / f"{guide}.md").read_text()
    shared = workplace / "shared"
    (shared / "models").mkdir(parents=True)
    (shared / "models/dinov2-base").symlink_to(workplace / "models/tiny")
    (shared / "data").symlink_to(workplace / "data")
    for match in FENCE.finditer(text):
        language, block = match.groups()
        block = re.sub(r"(?<=[ =])/shared/", f"{shared}/", block)
        block = re.sub(r"(?<!\w)/data/", f"{workplace}/data/", block)
        if language in {"csv", "yaml"}:  # to the file that was named last
            name = re.findall(r"`([\w.-]+\.(?:csv|yaml))`", text[: match.start()])[-1]
            Path(name).write_text(block)
        elif language == "bash":
            subprocess.run(["bash", "-euc", block], check=True)
        elif language == "python":
            exec(block, {})
        elif language in SHELL:
            for line in commands_of(block):
                # A job's script runs this command; the scripts are tested by themselves.
                line = re.sub(r"^sbatch .*/(extract|sweep)\.sbatch ", r"stepcli \1 ", line)
                if line.startswith("export "):
                    name, _, value = line.removeprefix("export ").partition("=")
                    os.environ[name] = value  # taken back by `workplace`
                elif line.startswith("mv "):
                    shutil.move(*line.split()[1:])
                elif line.startswith("stepcli ") and line.split()[1] not in ELSEWHERE:
                    run(line)


@pytest.mark.parametrize("heading", ["On your own videos", "On Something-Something v2"])
def test_the_commands_of_the_readme_run(heading: str, workplace: Path) -> None:
    section = (TREE / "README.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    ran = [
        line
        for _, block in FENCE.findall(section)
        for line in commands_of(block.replace("/data/", f"{workplace}/data/"))
        if line.split()[1] not in ELSEWHERE
    ]
    assert len(ran) > 2
    for line in ran:
        run(line)


def run(line: str) -> None:
    """One command, in this process, as the shell would start it."""
    words = [
        found
        for word in shlex.split(line.replace("--backbone dinov2-base", "--backbone hf:models/tiny"))
        for found in (sorted(map(str, Path().glob(word))) if "*" in word else [word])
    ][1:]
    if words[0] in TRAINING:
        words += ["--epochs", "1"]
    if words[0] == "sweep":
        words += ["--slice-min", "clips=1,groups=1"]  # the tiny set has a dozen training clips
    if words[0] == "predict":
        words += ["--backbone", "hf:models/tiny"]  # as one does whose model lies in a folder
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, f"{line}\n{done.output}\n{done.stderr}"
