"""Which tokens of a frame are stored: CLS, patches averaged to a k x k grid, or all of them."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from stepcli.cache.schema.spec import Segment
from stepcli.extract.backbones.base import BackboneFacts, FrameTokens
from stepcli.extract.config.values import TOKENS_EXPECTED
from stepcli.runtime.errors import UsageError


@dataclass(frozen=True, slots=True)
class TokenSelection:
    """The segments of a frame and how they are made from a backbone's tokens."""

    segments: tuple[Segment, ...]
    _cls: int

    def reduce(self, tokens: FrameTokens) -> Tensor:
        """Make the stored tokens on the device where the full ones are.

        Args:
            tokens: of n frames, prefix [n, P, D] and patches [n, rows, columns, D].

        Returns:
            [n, S, D] in the tokens' dtype; means are taken in float32.
        """
        return torch.cat([self._segment(segment, tokens) for segment in self.segments], dim=1)

    def _segment(self, segment: Segment, tokens: FrameTokens) -> Tensor:
        if segment.name == "cls":
            return tokens.prefix[:, self._cls : self._cls + 1]
        if segment.name == "prefix":
            return tokens.prefix
        if segment.name == "patches" or segment.grid == tuple(tokens.patches.shape[1:3]):
            return tokens.patches.flatten(1, 2)
        patches = tokens.patches.permute(0, 3, 1, 2).float()
        grid = adaptive_avg_pool2d(patches, segment.grid)
        return grid.flatten(2).transpose(1, 2).to(tokens.patches.dtype)


def parse_tokens(text: str, facts: BackboneFacts) -> TokenSelection:
    """What --tokens means for a backbone.

    Args:
        text: names separated by commas, stored in that order.
        facts: the backbone's grid and prefix tokens.

    Raises:
        UsageError: an unknown or repeated name, a CLS token that the backbone does not have, a grid
            finer than the backbone's.
    """
    segments: list[Segment] = []
    for name in text.split(","):
        segments += _segments(name.strip(), facts)
    names = [segment.name for segment in segments]
    if len(set(names)) < len(names):
        raise UsageError(f"--tokens {text}: the same tokens are asked for twice")
    return TokenSelection(
        tuple(segments), facts.prefix.index("cls") if "cls" in facts.prefix else 0
    )


def _segments(name: str, facts: BackboneFacts) -> list[Segment]:
    rows, columns = facts.grid
    if name == "full":
        patches = Segment(name="patches", kind="grid", count=rows * columns, grid=facts.grid)
        if not facts.prefix:
            return [patches]
        return [Segment(name="prefix", kind="prefix", count=len(facts.prefix)), patches]
    if name == "cls":
        if "cls" not in facts.prefix:
            raise UsageError(
                f"--tokens cls: the backbone {facts.name} has no CLS token; "
                "ask for grid1 (the mean) or a finer grid"
            )
        return [Segment(name="cls", kind="prefix", count=1)]
    found = re.fullmatch(r"grid([1-9]\d{0,2})", name)
    if found is None:
        raise UsageError(f"--tokens {name!r} is not known; {TOKENS_EXPECTED}")
    side = int(found[1])
    if side > min(rows, columns):
        raise UsageError(
            f"--tokens {name}: the backbone {facts.name} has {rows} x {columns} patches; "
            f"ask for grid{min(rows, columns)} at most, or full"
        )
    grid = (side, side)
    return [Segment(name=name, kind="grid", count=side * side, grid=grid, pooled_from=facts.grid)]
