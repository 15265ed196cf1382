"""Windows of no length, or of none that ends."""

from typing import Any

import numpy as np
import pytest

from stepcli.apply.prediction.windows import plan_windows
from stepcli.runtime.errors import UsageError

NONE: Any = None


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_window_needs_a_length(seconds: float) -> None:
    times = np.arange(50) / 25
    with pytest.raises(UsageError, match=rf"^--window {seconds:g}: expected seconds above 0$"):
        plan_windows(times, NONE, "a", seconds, None)
    with pytest.raises(UsageError, match=rf"^--stride {seconds:g}: expected seconds above 0$"):
        plan_windows(times, NONE, "a", 1.0, seconds)
