"""What the tests of every method in the registry share."""

import pytest
import torch
from torch import Generator, Tensor

from stepcli.cache.schema.spec import Segment
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.text import StoreText
from stepcli.probe.data.tokens import SampleFacts, TokenBatch
from stepcli.probe.methods.registry import methods, parse_options
from stepcli.probe.nn.bank import Probe

NAMES = methods().names()
TRAINED = [name for name in NAMES if name not in ("knn", "prototype", "vcs", "zero-shot")]
BY_TOKENS = [n for n in NAMES if "tokens" in methods().get(n).options.model_fields]
every_method = pytest.mark.parametrize("name", NAMES)
trained_method = pytest.mark.parametrize("name", TRAINED)
token_method = pytest.mark.parametrize("name", BY_TOKENS)

SMALL: dict[str, dict[str, object]] = {
    "temporal-transformer": {"width": 16, "heads": 2, "layers": 2},
    "rvm": {"width": 16},
    "lift": {"latent": 16, "heads": 2, "layers": 2},
    "trn": {"width": 16, "hidden": 16},
    "spectral": {"width": 16, "hidden": 16},
    "gru": {"hidden": 16},
    "lstm": {"hidden": 16},
}
"""Options that make a method cheap, for tests of what does not depend on them."""

CLASSES = tuple("abcdef")
CLS = Segment(name="cls", kind="prefix", count=1)
LAYERS = (-4, -3, -2, -1)


def rich_layout(text: StoreText, frames: int = 4, side: int = 3, classes: int = 6) -> TokenLayout:
    grid = Segment(name="grid", kind="grid", count=side * side, grid=(side, side))
    return TokenLayout(frames, 32, (CLS, grid), LAYERS, CLASSES[:classes], (text,))


def batch_of(tokens: Tensor, mask: Tensor | None = None) -> TokenBatch:
    """A batch whose frames are a second apart."""
    seconds = torch.arange(tokens.shape[1], dtype=torch.float32).expand(len(tokens), -1)
    return TokenBatch(tokens, mask, facts=lambda: SampleFacts(seconds))


def build(
    name: str, layout: TokenLayout, classes: int = 6, seed: int = 0, **options: object
) -> Probe:
    """A probe of one member; where it has no gradients to follow, fitted to a few clips."""
    info = methods().get(name)
    chosen = parse_options(info, SMALL.get(name, {}) | options)
    probe = info.build(layout, classes, chosen, Generator().manual_seed(seed))
    if not probe.trained:
        shape = (2 * classes, layout.frames, len(layout.layers), layout.tokens, layout.dim)
        clips = torch.randn(shape, generator=Generator().manual_seed(99))
        probe.fit([(batch_of(clips), torch.arange(2 * classes) % classes)])
    return probe


def loss_of(probe: Probe, batch: TokenBatch) -> Tensor:
    """A number that everything trainable has a say in."""
    logits, own = probe.training_logits(batch)
    return logits.square().sum() if own is None else logits.square().sum() + own.sum()


def rich_tokens() -> Tensor:
    """5 clips of `rich_layout`, float32, with a mean and a spread as real tokens have."""
    return torch.randn(5, 4, 4, 10, 32, generator=Generator().manual_seed(7)) * 2 + 0.5
