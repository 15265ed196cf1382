"""Defaults leave the 50 % saddle on every seed within a short schedule."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stepcli.cache.store.store import Store
from stepcli.probe.config import DataConfig, TaskConfig
from stepcli.probe.sweeps.expand import run_configs
from stepcli.probe.sweeps.session import Session

# Of deep heads fewer layers and channels than by default: scales and rates are what is tested.
METHODS = {
    "step": {},
    "temporal-transformer": {"layers": 1, "width": 64},
    "tsm": {"hidden": 64},
}


@pytest.mark.parametrize("method", METHODS)
def test_the_default_leaves_the_saddle_on_every_seed(
    method: str, store_of: Callable[..., Store], tmp_path: Path
) -> None:
    """Opposite clips, forward and backward: 50 % is what knows no order. docs/pe-scale.md."""
    store_of(tmp_path / "store", dim=64, clips_each=18)
    task = TaskConfig(name="arrow", clip_frames=4, temporal_crop=True)
    configs = run_configs(
        method, [METHODS[method]], {}, task, DataConfig(epochs=25, batch_size=16), range(5)
    )
    records = Session(tmp_path / "store", tmp_path / "runs", "cpu").run(configs)
    assert len(records) == 5
    assert min(record.top1 for record in records) > 0.9
