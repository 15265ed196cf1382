"""int8 tokens, read tile by tile, give what their floats give; no float copy beyond a tile."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.schema.spec import Dtype, Segment
from stepcli.cache.store.store import Store
from stepcli.probe.config import DataConfig, TaskConfig
from stepcli.probe.data import int8_tokens as codes
from stepcli.probe.data.features import Resident
from stepcli.probe.data.int8_tokens import CodedTokens
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.make_task import make_task
from stepcli.probe.data.placement import token_bytes
from stepcli.probe.data.splits import labelled_clips
from stepcli.probe.data.streamed import Streamed
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import methods, parse_options
from stepcli.probe.nn.bank import Probe, stack
from stepcli.probe.sweeps.expand import run_configs
from stepcli.probe.sweeps.session import Session

CPU = torch.device("cpu")


def coded(
    shape: tuple[int, ...], generator: Generator, channels: bool, dtype: torch.dtype = torch.float32
) -> CodedTokens:
    """Random codes, scales that differ a hundredfold, and channel scales on request."""
    made = torch.randint(-127, 128, shape, generator=generator, dtype=torch.int8)
    scales = torch.rand(shape[:-1], generator=generator) * 0.1 + 0.001
    each = torch.rand(shape[0], shape[-1], generator=generator) + 0.5 if channels else None
    return CodedTokens(made, scales, each, dtype=dtype)


def build(name: str, layout: TokenLayout, **options: object) -> Probe:
    """Two members, every value of which matters."""
    info = methods().get(name)
    made = []
    for seed in range(2):
        generator = Generator().manual_seed(seed)
        probe = info.build(layout, 3, parse_options(info, options), generator)
        with torch.no_grad():
            for parameter in probe.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
        made.append(probe)
    return stack(made)


ONE_QUERY = [
    ("step", {"norm": "tokens"}),
    ("step", {"norm": "sum", "residual": True}),
    ("step", {"norm": "none", "patch_pe": True}),
    ("step", {"norm": "sum", "patch_pe": True, "cls": "per-frame"}),
    ("step", {"block": "full"}),
    ("attentive", {"pe": "learned"}),
    ("self-attention", {"pe": "sinusoidal"}),
    ("self-attention", {}),
    ("efficient", {"pe": "learned", "heads": 4}),
]


@pytest.mark.parametrize(("name", "options"), ONE_QUERY)
@settings(max_examples=5, deadline=None)
@given(
    clips=st.integers(1, 3),
    frames=st.integers(1, 4),
    tokens=st.integers(2, 5),
    channels=st.booleans(),
    mask=st.booleans(),
    tile=st.sampled_from([64, 200, 1 << 20]),
    seed=st.integers(0, 2**16),
)
def test_every_one_query_read_out_is_that_of_the_floats(
    name: str,
    options: dict[str, object],
    clips: int,
    frames: int,
    tokens: int,
    channels: bool,
    mask: bool,
    tile: int,
    seed: int,
) -> None:
    """Values and gradients, with tiles of a token, of a few, and of everything."""
    generator = Generator().manual_seed(seed)
    prefix = Segment(name="cls", kind="prefix", count=1)
    grid = Segment(name="row", kind="grid", count=tokens - 1, grid=(1, tokens - 1))
    layout = TokenLayout(frames, 16, (prefix, grid))
    probe = build(name, layout, **options)
    x = coded((clips, frames, tokens, 16), generator, channels)
    there = None
    if mask:
        there = torch.rand(clips, frames, generator=generator) < 0.6
        there[:, 0] = True
    before = codes.TILE_BYTES
    codes.TILE_BYTES = tile
    try:
        mine, my_grads = outcome(probe, TokenBatch(x, there))
    finally:
        codes.TILE_BYTES = before
    want, grads = outcome(probe, TokenBatch(x.floats(), there))
    torch.testing.assert_close(mine, want, rtol=1e-4, atol=1e-4)
    largest = max(float(g.abs().max()) for g in grads.values())
    for key, grad in grads.items():
        torch.testing.assert_close(my_grads[key], grad, rtol=1e-4, atol=1e-4 * max(1, largest))


def outcome(probe: Probe, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
    probe.zero_grad()
    logits = probe(batch)
    logits.square().sum().backward()
    grads = {n: p.grad.clone() for n, p in probe.named_parameters() if p.grad is not None}
    return logits.detach(), grads


def test_no_float_copy_is_larger_than_a_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-out's step makes floats of tiles alone: asking for all of them is an error here."""

    def everything(self: CodedTokens) -> Tensor:
        raise AssertionError("all tokens were made floats")

    monkeypatch.setattr(CodedTokens, "floats", everything)
    monkeypatch.setattr(codes, "TILE_BYTES", 4 * 16 * 3)
    generator = Generator().manual_seed(0)
    x = coded((2, 3, 4, 16), generator, channels=True)
    assert {tile.shape[0] for _, _, tile in x.tiles()} == {3}
    for name, options in ONE_QUERY:
        outcome(build(name, TokenLayout.of(3, 4, 16), **options), TokenBatch(x))
    outcome(build("linear", TokenLayout.of(3, 4, 16)), TokenBatch(x))


@pytest.mark.parametrize("dtype", ["int8", "int8-channel"])
def test_a_stores_codes_stay_codes_in_memory_and_streamed(
    dtype: str, store_of: Callable[..., Store], tmp_path: Path
) -> None:
    store = store_of(tmp_path / "s", dtype=dtype)
    config = TaskConfig(name="arrow", clip_frames=4, temporal_crop=True)
    task = make_task(config, store, labelled_clips(store, "train", "test"))
    floats = torch.from_numpy(store.read_floats(list(task.clips)))
    samples = task.epoch(0, 0)
    clip = torch.from_numpy(samples.clip)[:, None]
    want = floats[clip, torch.from_numpy(samples.frames(4))]
    for features in (Resident(store, task.clips, CPU, CPU), Streamed(store, CPU)):
        tokens = features.read(task, samples)
        assert isinstance(tokens, CodedTokens)
        torch.testing.assert_close(tokens.floats(), want, rtol=1e-6, atol=1e-6)
        assert torch.equal(features.gather(task, samples), tokens.floats())
        (batch, labels), *_ = features.batches(task, samples, 5)
        assert len(labels) == 5
        torch.testing.assert_close(batch.raw, want[:5], rtol=1e-6, atol=1e-6)
    size = int(np.prod(store.spec.clip_shape))
    assert token_bytes(store, 10) == 10 * size


@pytest.mark.parametrize("dtype", get_args(Dtype))
def test_a_probe_of_any_stored_type_becomes_a_run(
    dtype: str, store_of: Callable[..., Store], tmp_path: Path
) -> None:
    store = store_of(tmp_path / "s", dtype=dtype)
    task, shared = TaskConfig(name="arrow", clip_frames=4), DataConfig(epochs=1, batch_size=4)
    configs = run_configs("linear", [{}], {}, task, shared, [0])
    (record,) = Session(store.path, tmp_path / "runs", "cpu").run(configs)
    stored = part_layout(store.spec).tokens.clip_bytes
    assert record.bytes_a_clip == stored * 4 // store.spec.frames
