"""Stage one on real clips: what each stage could do alone, the pipeline, and the usual way.

    python benchmarks/extract.py [--clips 384] [--repeats 2] [--backbone bundled|dinov2-small]
    python benchmarks/extract.py --memory --backbone tiny     # peak memory at 100 and 2,000 clips

Prints rates and ratios:
- decode only: the decoder pool on all cores with nothing behind it, from its first clip on;
- backbone only: the same forward passes on all cores, on frames that are in memory already;
- bound: both stages share the cores, so a clip costs what it costs in each of them, one after the
  other: 1 / (1 / decode rate + 1 / backbone rate) is the most that any pipeline can reach;
- pipeline: `stepcli.extract.pipeline.stages.extract_clips` into a fresh store, the start of the
  decoders and the last part's commit included;
- the usual way: one video at a time, PyAV to RGB, image processor, model, np.save, at each of the
  thread counts (torch's), the fastest of which counts.
Sides are interleaved and medians compared, so that a busy moment does not favour one of them.
"""

import argparse
import os
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import transformers
from extract_sides import (
    FRAMES,
    SIZES,
    backbone_only,
    decode_only,
    machine,
    on_cpu,
    pipeline,
    random_dinov2,
    usual_way,
)

from stepcli.extract.backbones.base import Backbone
from stepcli.extract.backbones.load import load_backbone
from stepcli.extract.datasets.registry import load_dataset
from stepcli.extract.pipeline.clip_list import spread
from stepcli.runtime.threads import cores, use_one_thread_a_pass


def median_of(repeats: int, *sides: Callable[[], float]) -> list[float]:
    """Each side's median rate over interleaved runs."""
    rates: list[list[float]] = [[] for _ in sides]
    for _ in range(repeats):
        for side, measured in zip(sides, rates, strict=True):
            measured.append(side())
    return [statistics.median(measured) for measured in rates]


def measure_memory(backbone: Backbone) -> None:
    """Peak resident memory of this process after 100 and after 2,000 clips."""
    clips = load_dataset("openclose", None, {}).clips
    with tempfile.TemporaryDirectory() as place:
        peaks = []
        for count in (100, 2000):
            many = [replace(clips[i % len(clips)], id=str(i)) for i in range(count)]
            pipeline(many, backbone, Path(place) / str(count), on_cpu())
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(
        f"peak memory: {peaks[0]:.0f} MiB after 100 clips, {peaks[1]:.0f} MiB after 2,000 more: "
        f"ratio {peaks[1] / peaks[0]:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=384)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--backbone", choices=["bundled", *SIZES], default="bundled")
    parser.add_argument("--memory", action="store_true")
    given = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    transformers.utils.logging.set_verbosity_error()
    if "MALLOC_ARENA_MAX" not in os.environ:
        # What `stepcli extract` does before its first thread (stepcli.runtime.memory); here
        # libraries have been imported already. The usual way profits from it too.
        kept = {
            "MALLOC_ARENA_MAX": "1",
            "MALLOC_MMAP_MAX_": "0",
            "MALLOC_TRIM_THRESHOLD_": str(2**31),
        }
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | kept)
    use_one_thread_a_pass()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        source = None if given.backbone == "bundled" else place / "model"
        backbone = load_backbone(
            "mobilenet_v2-bundled" if source is None else random_dinov2(given.backbone, source)
        )
        if given.memory:
            measure_memory(backbone)
            return
        clips = list(spread(load_dataset("openclose", None, {}).clips, given.clips))
        numbers, setting = iter(range(10_000)), on_cpu()

        def decoding() -> float:
            return decode_only(clips, backbone, setting)

        def passes() -> float:
            return backbone_only(max(8, given.clips // 4), backbone, setting)

        def ours() -> float:
            return pipeline(clips, backbone, place / f"store{next(numbers)}", setting)

        def theirs(threads: int) -> Callable[[], float]:
            return lambda: usual_way(clips, source, place, threads, setting)

        counts = sorted({1, cores()})
        sides = (decoding, passes, ours, *(theirs(count) for count in counts))
        decode_rate, forward_rate, rate, *usual = median_of(given.repeats, *sides)
    bound = 1 / (1 / decode_rate + 1 / forward_rate)
    print(f"{given.backbone}, {len(clips)} clips of {FRAMES} frames, {cores()} cores; " + machine())
    print(f"decode only      {decode_rate:8.2f} clips/s")
    print(f"backbone only    {forward_rate:8.2f} clips/s")
    print(f"bound            {bound:8.2f} clips/s   1 / (1 / decode only + 1 / backbone only)")
    print(f"pipeline         {rate:8.2f} clips/s")
    for count, value in zip(counts, usual, strict=True):
        print(f"the usual way    {value:8.2f} clips/s   at {count} threads")
    print(f"pipeline / bound               {rate / bound:.2f}")
    print(f"pipeline / usual way           {rate / max(usual):.2f}")


if __name__ == "__main__":
    main()
