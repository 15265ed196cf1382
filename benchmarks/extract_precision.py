"""Two backbones from one decoding pass, and `--precision auto`, beside what they replace.

    python benchmarks/extract_precision.py              # a ViT-S and the bundled MobileNetV2
    python benchmarks/extract_precision.py --tiny       # a look in a minute
    python benchmarks/extract_precision.py --one        # the ViT alone, a third of the time

Whole extractions into fresh stores, of the bundled clips; random weights of the right shapes.
Printed are medians over interleaved rounds and ratios of one round to the same round:
- two: both backbones in one pass, against the slower one alone plus the forward passes of the
  other: at most 1.1;
- float32, auto: clips per second of the ViT, against the usual script (PyAV, processor, model, one
  clip at a time, its best thread count): at least 1.1, and 1.6 where auto takes bfloat16. Ours
  begins with a second for the decoders' start and the store, which still shows with 12 clips.
Clips per second are on the clock. On a machine that others use as well, look at CPU seconds, too:
those of the process and of its decoders.
"""

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

import transformers
from extract_sides import (
    FRAMES,
    backbone_only,
    machine,
    on_cpu,
    random_dinov2,
    usual_way,
)

from stepcli.extract.backbones.load import load_backbone
from stepcli.extract.config import ExtractConfig
from stepcli.extract.datasets.registry import load_dataset
from stepcli.extract.engines.several_backbones import extract_all
from stepcli.extract.pipeline.clip_list import load_list, spread
from stepcli.runtime.threads import cores, use_one_thread_a_pass

GRID = 2
Precision: TypeAlias = Literal["float32", "auto"]


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    each = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in each)


def whole(backbones: str, store: Path, clips: int, precision: Precision) -> None:
    """One extraction of `clips` clips."""
    config = ExtractConfig(
        dataset="openclose",
        backbone=backbones,
        frames=FRAMES,
        tokens=f"grid{GRID}",
        store=f"{store}-{{backbone}}",
        device="cpu",
        precision=precision,
        limit=clips,
    )
    code, _ = extract_all(config, load_list(config))
    if code:
        raise SystemExit(f"extraction ended with {code}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="a tiny ViT, for a look")
    parser.add_argument("--one", action="store_true", help="one backbone, the usual script fastest")
    given = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    transformers.utils.logging.set_verbosity_error()
    use_one_thread_a_pass()
    count = given.clips
    wall: dict[str, list[float]] = {}
    spent: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        vit = random_dinov2("tiny" if given.tiny else "dinov2-small", place / "vit")
        other = "mobilenet_v2-bundled"
        loaded = {one: load_backbone(one) for one in (vit, other)}
        clips = list(spread(load_dataset("openclose", None, {}).clips, count))
        numbers = iter(range(10_000))

        def ours(backbones: str, precision: Precision = "float32") -> Callable[[], object]:
            return lambda: whole(backbones, place / f"s{next(numbers)}", count, precision)

        def usual(threads: int) -> Callable[[], object]:
            return lambda: usual_way(clips, place / "vit", place, threads, on_cpu(GRID))

        sides: dict[str, Callable[[], object]] = {
            "vit, float32": ours(vit),
            "vit, auto": ours(vit, "auto"),
            "mobilenet, float32": ours(other),
            "two": ours(f"{vit},{other}"),
            "vit, forward": lambda: backbone_only(count, loaded[vit], on_cpu(GRID)),
            "mobilenet, forward": lambda: backbone_only(count, loaded[other], on_cpu(GRID)),
            **{f"usual, {n} threads": usual(n) for n in sorted({1, cores()})},
        }
        if given.one:
            shown = ("vit, float32", "vit, auto", f"usual, {cores()} threads")
            sides = {side: sides[side] for side in shown}
        for number in range(given.rounds):
            # The other one first each time.
            for side in sorted(sides, reverse=bool(number % 2)):
                start, cpu = time.perf_counter(), cpu_seconds()
                sides[side]()
                wall.setdefault(side, []).append(time.perf_counter() - start)
                spent.setdefault(side, []).append(cpu_seconds() - cpu)
    print(f"{count} clips of {FRAMES} frames, {given.rounds} rounds, {cores()} cores; {machine()}")
    for side in sides:
        print(
            f"  {side:<20} {count / statistics.median(wall[side]):7.2f} clips/s, "
            f"{statistics.median(spent[side]) / count:6.2f} CPU seconds per clip"
        )
    for title, seconds in (("on the clock", wall), ("of CPU time", spent)):
        pairs = []
        for at in range(0 if given.one else given.rounds):
            one = {side: values[at] for side, values in seconds.items()}
            slow, fast = sorted(("vit", "mobilenet"), key=lambda n: -one[f"{n}, float32"])
            pairs.append(one["two"] / (one[f"{slow}, float32"] + one[f"{fast}, forward"]))
        best = min(
            (side for side in seconds if side.startswith("usual")),
            key=lambda side: statistics.median(wall[side]),
        )
        gains = {
            way: statistics.median(
                a / b for a, b in zip(seconds[best], seconds[f"vit, {way}"], strict=True)
            )
            for way in ("float32", "auto")
        }
        print(f"{title}:")
        if pairs:
            print(f"  two / (slower alone + the other's forward) {statistics.median(pairs):.2f}")
        for way, gain in gains.items():
            print(f"  the usual script ({best}) / ours in {way} {gain:.2f}")


if __name__ == "__main__":
    main()
