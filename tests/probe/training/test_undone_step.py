"""A step that ran out of memory leaves nothing, so that doing it again is doing it once."""

import pytest
import torch

from stepcli.probe.config import RunConfig
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import methods, parse_options
from stepcli.probe.training.banks import make_banks
from stepcli.probe.training.loss import Targets
from stepcli.probe.training.memory import OutOfMemory


def test_running_statistics_are_updated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    options = parse_options(
        methods().get("efficient"), {"pooled_norm": "batch", "heads": 2}
    ).model_dump()
    config = RunConfig(method="efficient", options=options, seed=0)
    layout = TokenLayout.of(frames=2, tokens=3, dim=8)
    (bank,) = make_banks([config], layout, 2, torch.ones(2), torch.device("cpu"), 1)
    parts = [(TokenBatch(torch.randn(4, 2, 3, 8)), Targets(torch.tensor([0, 1, 0, 1])))] * 2
    before = {name: value.clone() for name, value in bank.probe.state_dict().items()}

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("full")

    with monkeypatch.context() as patched:
        patched.setattr(torch.autograd, "backward", full)
        with pytest.raises(OutOfMemory):
            bank.step(parts)
    after = bank.probe.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    bank.step(parts)
    assert not torch.equal(bank.probe.state_dict()["batch_norm.mean"], before["batch_norm.mean"])
