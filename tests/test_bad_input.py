"""Bad input gives one line that says what was expected, what came and what to do; no traceback."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stepcli.cli import app


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("extract --dataset ssv2", "STEPCLI_DATA"),
        ("extract --dataset ssv2 --root {tmp}/nowhere", "nowhere"),
        ("extract --dataset csv --root {tmp}/bad.csv --backbone mobilenet_v2-bundled", "label"),
        ("extract --dataset openclosed", "did you mean openclose"),
        ("extract --dataset openclose --backbone mobilenet_v2-bundle", "mobilenet_v2-bundled"),
        ("extract --dataset openclose --backbone mobilenet_v2-bundled --device cuda:7", "cuda:7"),
        ("extract --dataset openclose --backbone mobilenet_v2-bundled --tokens grid", "grid<k>"),
        ("probe --method step --store {tmp}/nowhere", "nowhere"),
        ("results --runs {tmp}/nowhere", "nowhere"),
    ],
)
def test_one_line(words: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("path,name\na.mp4,opening\n")
    place = {"STEPCLI_STORES": str(tmp_path / "stores"), "STEPCLI_DATA": ""}
    done = CliRunner().invoke(app, words.format(tmp=tmp_path).split(), env=place)
    assert done.exit_code in (1, 2), done.output
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert expected in line


def test_as_a_process_there_is_no_traceback_unless_asked_for(stepcli: Any, tmp_path: Path) -> None:
    words = ("probe", "--method", "step", "--store", tmp_path / "nowhere")
    done = stepcli(*words)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    debug = stepcli(*words, "--debug")
    assert debug.returncode == 1
    assert "Traceback" in debug.stderr
    assert "StoreNotFound" in debug.stderr
