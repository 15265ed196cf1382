"""Windows of no length, or of none that ends."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import invoke

from stepcli.apply.prediction.windows import plan_windows
from stepcli.runtime.errors import UsageError

NONE: Any = None


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon"])
def test_a_length_that_is_none_is_refused_at_once(text: str, tmp_path: Path) -> None:
    """Before a run or a video is looked for."""
    done = invoke("predict", tmp_path / "no-run", f"--window={text}", "--video", "a.mp4")
    assert done.exit_code == 2
    assert f"--window {text}: expected seconds above 0, auto or all" in done.stderr
    done = invoke("predict", tmp_path / "no-run", "--stride=0", "--video", "a.mp4")
    assert "--stride 0.0: expected seconds above 0" in done.stderr


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_window_needs_a_length(seconds: float) -> None:
    times = np.arange(50) / 25
    with pytest.raises(UsageError, match=rf"^--window {seconds:g}: expected seconds above 0$"):
        plan_windows(times, NONE, "a", seconds, None)
    with pytest.raises(UsageError, match=rf"^--stride {seconds:g}: expected seconds above 0$"):
        plan_windows(times, NONE, "a", 1.0, seconds)
