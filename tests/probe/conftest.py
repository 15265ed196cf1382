"""Shapes and batches that the probe tests share."""

import hashlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from stepcli.cache.schema.clips import ClassRow, ClipRecord, ClipRow
from stepcli.cache.schema.spec import Dtype, Producer, Segment, StoreSpec, TokenScope
from stepcli.cache.schema.views import view_id
from stepcli.cache.store.store import Store, create_store
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.text import StoreText, stored_texts
from stepcli.runtime import preemption

sys.path.insert(0, str(Path(__file__).parent))  # for golden_values.py

os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)


@pytest.fixture
def layout() -> TokenLayout:
    """4 frames of 3 tokens with 32 channels."""
    return TokenLayout.of(frames=4, tokens=3, dim=32)


@pytest.fixture
def tokens() -> Tensor:
    """5 clips of that layout, float32, with a mean and a spread as real tokens have."""
    return torch.randn(5, 4, 3, 32, generator=torch.Generator().manual_seed(7)) * 2 + 0.5


@pytest.fixture
def own_sigterm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Gives the tests' own process back what it did on SIGTERM, and forgets that one came."""
    monkeypatch.setattr(preemption, "_noticed", threading.Event())
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def make_store(
    path: Path,
    *,
    frames: int = 6,
    dim: int = 16,
    clips_each: int = 6,
    labels: tuple[str, ...] = ("close", "open"),
    partners: dict[str, str] | None = None,
    scope: TokenScope = "frame",
    dtype: Dtype = "float16",
    test_only: tuple[str, ...] = (),
    cls: bool = False,
    views: tuple[str, ...] = ("",),
    layers: tuple[int, ...] = (-1,),
    sampling: str = "uniform",
    distinct: int | Sequence[int] | None = None,
    like: Mapping[str, str] | None = None,
    noise: tuple[int, ...] = (),
    dataset: str = "made-up",
    looks: bool = False,
) -> Store:
    """A store whose clips drift along a direction of their class: order tells partners apart.

    Two thirds of each class's clips are for training; classes of `test_only` have no such clip.
    With `cls` the first of a frame's two tokens is a CLS. A clip is stored in each of `views`, and
    its first `distinct` frames count as its own, all where None; of several numbers each clip has
    the next one, and a pace of its own. Clips of `like` have the tokens of the clip that it names,
    which comes before. Layers of `noise` say nothing about the class. With `looks` a single frame
    tells each two classes from the next two.
    """
    grid = Segment(name="grid1", kind="grid", count=2 - cls, grid=(1, 2 - cls))
    segments = (Segment(name="cls", kind="prefix", count=1), grid) if cls else (grid,)
    spec = StoreSpec(
        backbone="made-up",
        weights_digest="0" * 64,
        segments=segments,
        **({"layers": layers} if len(layers) > 1 else {}),
        dim=dim,
        frames=frames,
        sampling=sampling,
        token_scope=scope,
        preprocessing={},
        dtype=dtype,
    )
    store = create_store(path, spec, dataset=dataset)
    random = np.random.default_rng(0)
    axis = random.normal(size=dim)
    shift = random.normal(size=dim) if looks else np.ones(dim)
    producer = Producer(source="random", device="cpu", numerics="float32", versions={})
    rows = []
    made: dict[str, np.ndarray] = {}
    with store.writer(producer) as writer:
        for index, label in enumerate(labels):
            for number in range(clips_each):
                split = "test" if number % 3 == 2 or label in test_only else "train"
                group = f"{label} {number}" if label in test_only else f"g{number}"
                sign = 1 if index % 2 else -1
                drift = sign * np.linspace(-1, 1, frames)[:, None, None] * axis
                for view in views:
                    stored_id = view_id(f"{label}/{number}", view)
                    rows.append(ClipRow(stored_id, label, split, group=group))
                    tokens = (
                        drift + random.normal(size=(frames, 2, dim)) * 0.3 + (index // 2) * shift
                    )
                    if len(layers) > 1:
                        say_nothing = random.normal(size=tokens.shape) if noise else tokens
                        tokens = np.stack([say_nothing if n in noise else tokens for n in layers])
                    made[stored_id] = tokens
                    tokens = made[(like or {}).get(stored_id, stored_id)]
                    times, shown = (0.0,) * frames, distinct or frames
                    if isinstance(shown, Sequence):
                        shown = shown[len(made) % len(shown)]
                        steps = (min(step, shown - 1) for step in range(frames))
                        times = tuple(step * (1 + len(made) % 7) / 10 for step in steps)
                    record = ClipRecord(stored_id, f"{label}/{number}.mp4", times, shown, 8, 8)
                    writer.add(record, tokens.astype(np.float32))
    store.add_clips(rows)
    partners = {"close": "open", "open": "close"} if partners is None else partners
    store.replace_classes(
        [
            ClassRow(
                label,
                index,
                partner=partners.get(label, ""),
                kind="equivariant" if label in partners else "",
            )
            for index, label in enumerate(labels)
        ]
    )
    store.refresh()
    return store


def write_text(
    store: Path,
    classes: Sequence[str],
    *,
    dim: int,
    vision_dim: int,
    units: int = 5,
    templates: int = 2,
    scale: float = 10.0,
    seed: int = 0,
) -> StoreText:
    """Texts of a made-up tower beside a store, as extraction writes them."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(len(classes), templates, dim, generator=generator) * 3
    each = functional.normalize(features, dim=-1)
    tensors = {
        "label_lengths": features.norm(dim=-1).mean(dim=1),
        "templates": each,
        "labels": functional.normalize(each.mean(dim=1), dim=-1),
        "units": functional.normalize(torch.randn(units, dim, generator=generator), dim=-1),
        "logit_scale": torch.tensor([scale]).log(),
        "cls_norm.weight": 1 + 0.1 * torch.randn(vision_dim, generator=generator),
        "cls_norm.bias": 0.1 * torch.randn(vision_dim, generator=generator),
        "cls_projection": torch.randn(dim, vision_dim, generator=generator) * vision_dim**-0.5,
    }
    data = save(tensors)
    facts = {
        "tower": "made-up",
        "classes": list(classes),
        "units": [f"unit {number}" for number in range(units)],
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    folder = store / "text" / "made-up"
    folder.mkdir(parents=True)
    (folder / "text.safetensors").write_bytes(data)
    (folder / "text.json").write_text(json.dumps(facts))
    (found,) = stored_texts(store)
    return found


@pytest.fixture(scope="session")
def text_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., StoreText]:
    """Texts of a made-up tower, beside a store of their own or the one given as `store`."""

    def make(classes: Sequence[str], *, store: Path | None = None, **facts: Any) -> StoreText:
        return write_text(store or tmp_path_factory.mktemp("store"), classes, **facts)

    return make


@pytest.fixture(scope="session")
def store_of() -> Callable[..., Store]:
    """`make_store`, for tests that need another store than `store`."""
    return make_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """12 clips of two opposite classes, 6 frames of 2 tokens with 16 channels."""
    return make_store(tmp_path / "store")
