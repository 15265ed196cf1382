"""Opening a store of many clips in a new process, as a user's command does."""

import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
from store_clips import PRODUCER, Size, record

from stepcli.cache import create_store

OPEN = """
import re, sys, time
from pathlib import Path
start = time.perf_counter()
from stepcli.cache import open_store
imported = time.perf_counter()
store = open_store(sys.argv[1])
opened = time.perf_counter()
[clip in store for clip in store.ids[::1000]]
used = time.perf_counter()
# Not ru_maxrss, which a child takes over from the process that started it.
status = Path("/proc/self/status").read_text()
peak = int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1024
begin = time.perf_counter()
records = store.records(store.ids)
described = time.perf_counter()
few = store.ids[::max(1, len(store) // 20)]
alone = time.perf_counter()
[store.record(clip) for clip in few]
one = (time.perf_counter() - alone) / len(few)
opening = imported - start, opened - imported, used - opened
after = time.perf_counter() - begin
print(len(store), *opening, peak, described - begin, one * len(store), len(records), after)
"""


METADATA = ("metadata of all clips", "the same clip by clip (from 20)")


def bench_open(clips: int, parts: int, runs: int, folder: Path) -> list[dict[str, float]]:
    """Seconds and peak MB to open a store: without the consolidated index, then with it."""
    size = Size(clips, 16, 1, 1)
    store = create_store(folder / "many", size.spec(), dataset="benchmark", format="hdf5")
    clip = np.zeros(size.shape, np.float16)
    with store.writer(PRODUCER, part_clips=-(-clips // parts), part_seconds=1e9) as writer:
        for number in range(clips):
            writer.add(record(number, size.frames), clip)
    results = []
    for keep in (False, True):
        figures = []
        for _ in range(runs):
            if not keep:
                shutil.rmtree(folder / "many" / ".cache", ignore_errors=True)
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", OPEN, str(folder / "many")],
                capture_output=True,
                text=True,
                check=True,
            )
            wall = time.perf_counter() - start
            count, imported, opened, used, peak, records, alone, found, after = map(
                float, done.stdout.split()
            )
            if count != clips or found != clips:
                raise SystemExit(f"{count} clips and {found} records of {clips}")
            figures.append((imported, opened, used, peak, wall - after, records, alone))
        names = ("import", "open", "first use", "peak MB", "whole process", *METADATA)
        columns = zip(*figures, strict=True)
        results.append(dict(zip(names, (median(column) for column in columns), strict=True)))
    return results


def as_text(figures: dict[str, float]) -> str:
    return ", ".join(
        f"{name} {value:.2f}" + ("" if "MB" in name else " s") for name, value in figures.items()
    )
