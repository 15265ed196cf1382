"""Which frames of a clip are looked at: pure functions of the number of frames N.

A rule returns T indices in [0, N), never decreasing. A clip with fewer frames than asked for
repeats some in between, or with "+pad" after the rule's name its last one at the end. Rules are
part of a store's spec, by name.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stepcli.cache.schema.padding import PAD
from stepcli.cache.schema.windows import window_rule
from stepcli.runtime.errors import UnknownName, UsageError


def uniform(available: int, wanted: int) -> list[int]:
    """The middles of T equal stretches, the same played forward and backward.

    The later half mirrors the earlier one, so `sorted(N-1-i) == sorted(i)` for every N and T for
    which that can hold. With T odd and N even it cannot (an index would have to be its own mirror
    image, and (N-1)/2 is no whole number): there the middle index alone is half a frame off.
    Without the mirroring an order-blind probe can tell a clip from its reversal by which frames
    were picked.
    """
    earlier = [(2 * i + 1) * available // (2 * wanted) for i in range(wanted // 2)]
    middle = [available // 2] * (wanted % 2)
    return [*earlier, *middle, *(available - 1 - index for index in reversed(earlier))]


def midpoint(available: int, wanted: int) -> list[int]:
    """X-CLIP's rule, int(i*N/T + N/(2T)): the middles, rounded down; not symmetric."""
    return [(2 * i + 1) * available // (2 * wanted) for i in range(wanted)]


def random_in_segment(available: int, wanted: int, seed: str) -> list[int]:
    """One frame at random out of each of T equal stretches (TSN's training rule).

    The stretch i is [i*N/T, (i+1)*N/T); one shorter than a frame yields the frame that contains it.
    """
    numbers = _generator(seed).random(wanted)
    picked = []
    for i, number in enumerate(numbers):
        start = i * available // wanted
        stop = max(start + 1, (i + 1) * available // wanted)
        picked.append(min(start + int(number * (stop - start)), stop - 1))
    return picked


def dense(available: int, wanted: int, stride: int, view: int, views: int) -> list[int]:
    """T frames, `stride` apart; with several views, runs that start evenly from end to end.

    One view is the centre. A clip too short for the run repeats its last frame.
    """
    room = max(0, available - ((wanted - 1) * stride + 1))
    start = room // 2 if views == 1 else (2 * room * view + views - 1) // (2 * (views - 1))
    return [min(start + i * stride, available - 1) for i in range(wanted)]


def padded(available: int, wanted: int, indices: list[int]) -> list[int]:
    """The indices of a short clip with its real frames first and its last one as padding.

    A run of `dense` that leaves the clip repeats the last frame already.
    """
    if available >= wanted:
        return indices
    if len(set(indices)) == available:
        return [min(i, available - 1) for i in range(wanted)]
    return indices


@dataclass(frozen=True, slots=True)
class Sampling:
    """A rule as the user names it, ready to be applied to a clip."""

    name: str
    """As stored in the spec; describes the rule fully."""
    _pick: Callable[[int, int, str, int], list[int]]
    views: int = 1
    """Temporal views of a clip, each stored for itself."""
    pad: bool = False

    def indices(self, available: int, wanted: int, clip_id: str, view: int = 0) -> list[int]:
        """T indices of frames in [0, N), never decreasing.

        Args:
            available: N, frames that the clip really has; at least 1.
            wanted: T, time steps to store; at least 1.
            clip_id: seeds the random rules, so that a rerun picks the same frames.
            view: which temporal view, from 0.
        """
        if available < 1 or wanted < 1:
            raise ValueError(f"cannot pick {wanted} frames out of {available}")
        picked = self._pick(available, wanted, clip_id, view)
        return padded(available, wanted, picked) if self.pad else picked


_DENSE = re.compile(
    r"dense(?P<stride>[1-9]\d*)"
    r"(?:-(?P<view>[1-9]\d*)of(?P<views>[1-9]\d*)|-(?P<all>[1-9]\d?)views)?"
)
_RANDOM = re.compile(r"random(?:-seed(?P<seed>\d+))?(?:-(?P<all>[1-9]\d?)views)?")
RULES = {
    "uniform": "middles of T equal stretches, symmetric under reversal (default)",
    "midpoint": "X-CLIP's int(i*N/T + N/(2T)), not symmetric under reversal",
    "random": "one at random out of each of T equal stretches; random-seed<n> for another draw",
    "dense<stride>": "T frames that far apart, from the middle; dense<stride>-<v>of<V> is view v",
    "dense<stride>-<V>views": "V such runs from end to end, each stored as a view; also random-...",
}


def parse_sampling(text: str) -> Sampling:
    """The rule that a name means, e.g. "uniform", "random-seed3", "dense4-3views", "uniform+pad".

    Raises:
        UnknownName: listing the rules.
        UsageError: a view beyond the last.
    """
    pad = text.endswith(PAD)
    rule = _parse_rule(text.removesuffix(PAD))
    return Sampling(rule.name + PAD, rule._pick, rule.views, pad=True) if pad else rule


def _parse_rule(text: str) -> Sampling:
    if text == "uniform":
        return Sampling(text, lambda available, wanted, *_: uniform(available, wanted))
    if text == "midpoint":
        return Sampling(text, lambda available, wanted, *_: midpoint(available, wanted))
    if window_rule(text) is not None:
        return Sampling(text, _by_time)
    if found := _RANDOM.fullmatch(text):
        seed, views = found["seed"] or "0", int(found["all"] or 1)
        return Sampling(
            f"random-seed{seed}" + (f"-{views}views" if views > 1 else ""),
            lambda available, wanted, clip, view: random_in_segment(
                available, wanted, f"{seed}/{clip}" + (f"/t{view}" if view else "")
            ),
            views,
        )
    if found := _DENSE.fullmatch(text):
        stride, every = int(found["stride"]), int(found["all"] or 1)
        if every > 1:
            return Sampling(
                text,
                lambda available, wanted, _, view: dense(available, wanted, stride, view, every),
                every,
            )
        single, of = int(found["view"] or 1), int(found["views"] or 1)
        if single > of:
            raise UsageError(f"sampling {text!r}: there is no view {single} of {of}")
        return Sampling(
            text.removesuffix("-1views"),
            lambda available, wanted, *_: dense(available, wanted, stride, single - 1, of),
        )
    raise UnknownName("sampling rule", text, RULES)


def _by_time(*_: object) -> list[int]:
    raise UsageError(
        "frames of windows of recordings are chosen by time, not by number; extract them with "
        "--windows"
    )


def _generator(seed: str) -> np.random.Generator:
    digest = hashlib.sha256(seed.encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
