"""Which patches of a frame count as moving; methods/test_method_options.py has what probes do."""

from collections.abc import Callable
from pathlib import Path

import torch
from command_line import call
from torch import Generator

from stepcli.cache.store.store import Store
from stepcli.probe.analysis.explain import attention
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.selection import moving_tokens
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import methods, parse_options
from stepcli.probe.runs.record import read_runs


def test_the_patch_that_changes_is_kept_where_it_changes() -> None:
    """A bright spot goes from patch to patch behind a CLS; each frame keeps where it is."""
    tokens = torch.zeros(1, 3, 4, 2)
    for frame in range(3):
        tokens[0, frame, 1 + frame] = 1.0
    kept = moving_tokens(tokens, [1, 2, 3], 1 / 3, None)
    assert kept[0].int().tolist() == [[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]]


def test_a_missing_frame_moves_nothing() -> None:
    tokens = torch.randn(1, 4, 6, 8, generator=Generator().manual_seed(0))
    mask = torch.tensor([[True, True, True, False]])
    other = tokens.clone()
    other[0, 3] = 100.0
    patches = list(range(6))
    first, second = (moving_tokens(x, patches, 0.5, mask) for x in (tokens, other))
    assert torch.equal(first[:, :3], second[:, :3])
    assert torch.equal(first[:, :3], moving_tokens(tokens[:, :3], patches, 0.5, None))
    assert (first.sum(dim=2) >= 3).all()


def test_attention_to_masked_patches_is_zero() -> None:
    layout = TokenLayout.of(4, 6, 16)
    tokens = torch.randn(2, 4, 6, 16, generator=Generator().manual_seed(0))
    for name in ("step", "attentive", "efficient"):
        info = methods().get(name)
        options = parse_options(info, {"moving": 0.5, "heads": 4})
        probe = info.build(layout, 3, options, Generator().manual_seed(0))
        weights = attention(probe, TokenBatch(tokens)).weights
        assert ((weights > 0).sum(dim=-1) == 3).all()


def test_runs_name_moving_only_where_it_is_given(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    store = store_of(tmp_path / "s")
    place = ("--store", store.path, "--runs", tmp_path / "runs", "--epochs", 1)
    for words in ((), ("--set", "moving=1"), ("--set", "moving=0.5")):
        call("probe", "--method", "linear", *words, *place)
    found = {record.settings.options.get("moving") for record in read_runs(tmp_path / "runs")}
    assert found == {None, 0.5}
    assert len(read_runs(tmp_path / "runs")) == 2
    assert "moving=0.5" in call("results", "--runs", tmp_path / "runs")
