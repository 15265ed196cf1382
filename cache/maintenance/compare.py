"""How far two stores' tokens are apart: by token and by channel, on average and at worst.

The cosine of a token hides what happens to small channels beside a large one, so the error is
given by channel too.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from stepcli.cache.schema.spec import explain_difference
from stepcli.cache.storage.path import Location
from stepcli.cache.store.store import Store, open_store
from stepcli.runtime.errors import UsageError

READ_CLIPS = 8


@dataclass(frozen=True)
class Spread:
    """A number over many tokens or channels."""

    mean: float
    worst: float
    where: str
    """Clip or channel of the worst."""


@dataclass
class Comparison:
    """What `compare_stores` found; A is the reference."""

    clips: int
    """In both."""
    only_in_a: list[str]
    only_in_b: list[str]
    spec_differences: list[str]
    identical_clips: int = 0
    """Clips whose values are equal, bit for bit as floats."""
    zero_tokens: int = 0
    """Tokens of norm zero in either store; they have no cosine and count nowhere else."""
    cosine: Spread | None = None
    """Of A's and B's token; 1 is best. None where no token can be compared."""
    token_error: Spread | None = None
    """|a - b| / |a| of a token."""
    channel_error: Spread | None = None
    """sqrt(sum (a - b)^2 / sum a^2) of a channel over all tokens."""
    channel_errors: list[float | None] = field(default_factory=list)
    """By channel; None for a channel that is zero throughout A."""


def compare_stores(
    a: Location,
    b: Location,
    *,
    limit: int = 0,
    on_clip: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Compare the clips that two stores share.

    Args:
        a: the reference.
        b: store of the same clip shape; dtype and format may differ.
        limit: maximum number of clips, evenly spread (0 = no limit).
        on_clip: called with (clips compared, clips in all).

    Raises:
        UsageError: the shapes differ, or no clip is in both.
    """
    one, two = open_store(a), open_store(b)
    if one.spec.clip_shape != two.spec.clip_shape:
        raise UsageError(
            f"{a} has clips of shape {one.spec.clip_shape}, {b} of {two.spec.clip_shape}; compare "
            "stores of one shape"
        )
    common = [clip for clip in one.ids if clip in two]
    if not common:
        raise UsageError(f"{a} and {b} have no clip in common")
    result = Comparison(
        clips=len(common),
        only_in_a=[clip for clip in one.ids if clip not in two],
        only_in_b=[clip for clip in two.ids if clip not in one],
        spec_differences=explain_difference(one.spec, two.spec, str(a), str(b)),
    )
    if limit and limit < len(common):
        common = [common[i] for i in np.linspace(0, len(common) - 1, limit).astype(int)]
        result.clips = limit
    _measure(one, two, common, result, on_clip)
    return result


def _measure(
    one: Store,
    two: Store,
    clips: list[str],
    result: Comparison,
    on_clip: Callable[[int, int], None] | None,
) -> None:
    dim = one.spec.dim
    squares, errors = np.zeros(dim), np.zeros(dim)
    tokens, cosine_sum, error_sum = 0, 0.0, 0.0
    worst_cosine, worst_error = (np.inf, ""), (-np.inf, "")
    for start in range(0, len(clips), READ_CLIPS):
        ids = clips[start : start + READ_CLIPS]
        for clip, first, second in zip(
            ids, one.read_floats(ids), two.read_floats(ids), strict=True
        ):
            x = first.reshape(-1, dim).astype(np.float64)
            y = second.reshape(-1, dim).astype(np.float64)
            result.identical_clips += bool(np.array_equal(first, second))
            squares += (x * x).sum(axis=0)
            errors += ((x - y) ** 2).sum(axis=0)
            norms = np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1)
            valid = (norms[0] > 0) & (norms[1] > 0)
            result.zero_tokens += int(np.count_nonzero(~valid))
            if not valid.any():
                continue
            x, y, norm, other = x[valid], y[valid], norms[0][valid], norms[1][valid]
            cosine = np.clip((x * y).sum(axis=1) / (norm * other), -1, 1)
            error = np.linalg.norm(x - y, axis=1) / norm
            tokens += len(cosine)
            cosine_sum += float(cosine.sum())
            error_sum += float(error.sum())
            worst_cosine = min(worst_cosine, (float(cosine.min()), clip))
            worst_error = max(worst_error, (float(error.max()), clip))
        if on_clip is not None:
            on_clip(start + len(ids), len(clips))
    if tokens:
        result.cosine = Spread(cosine_sum / tokens, *worst_cosine)
        result.token_error = Spread(error_sum / tokens, *worst_error)
    known = squares > 0
    relative = np.sqrt(errors[known] / squares[known])
    if relative.size:
        worst = int(np.flatnonzero(known)[relative.argmax()])
        result.channel_error = Spread(
            float(relative.mean()), float(relative.max()), f"channel {worst}"
        )
    by_channel = iter(relative.tolist())
    result.channel_errors = [next(by_channel) if nonzero else None for nonzero in known]
