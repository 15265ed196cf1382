"""benchmarks/gpu_equal.py: figures are kept as they come, and nothing is begun after the end."""

from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_figures_are_kept_one_by_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from gpu_equal import METHODS, TINY, compare

    kept: list[dict[str, float]] = []
    device = torch.device("cpu")
    found = compare(device, TINY, lambda figures: kept.append(dict(figures)))
    assert [len(figures) for figures in kept] == list(range(1, 4 + len(METHODS) + 1))
    assert kept[-1] == found
    # A CPU computes what it computes; bfloat16 does not.
    assert [name for name, value in found.items() if "difference" in name and value] == [
        "tokens, bfloat16: largest difference"
    ]
    assert len(capsys.readouterr().out.splitlines()) == len(found)
    cut = compare(device, TINY, kept.append, end=0.0)
    assert list(cut) == list(found)[:4] == list(kept[-1])
    assert "out of time" in capsys.readouterr().out
