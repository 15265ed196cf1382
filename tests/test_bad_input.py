"""Bad input gives one line that says what was expected, what came and what to do; no traceback."""

from pathlib import Path
from typing import Any

import pytest


def one_line_error(done: Any) -> str:
    """The error of a command that must have failed as a user can understand."""
    assert done.returncode in (1, 2), (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


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
        ("probe --method stepp --store {store}", "did you mean step"),
        ("probe --method step --store {tmp}/nowhere", "nowhere"),
        ("probe --method step --store {store} --set head=3", "did you mean heads"),
        ("probe --method step --store {store} --device cuda:7", "cuda:7"),
        ("results --runs {tmp}/nowhere", "nowhere"),
    ],
)
def test_one_line(
    words: str, expected: str, stepcli: Any, openclose_store: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.csv").write_text("path,name\na.mp4,opening\n")
    filled = words.format(tmp=tmp_path, store=openclose_store).split()
    done = stepcli(*filled, STEPCLI_STORES=str(tmp_path / "stores"))
    assert expected in one_line_error(done)


def test_debug_shows_the_traceback(stepcli: Any, tmp_path: Path) -> None:
    done = stepcli("probe", "--method", "step", "--store", tmp_path / "nowhere", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "StoreNotFound" in done.stderr
