"""Opening a store of many clips in a new process, and asking for all clips' metadata."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
from store_clips import PRODUCER, Size, record

from stepcli.cache import create_store, open_store

OPEN = """
import json, re, sys, time
from pathlib import Path
def peak():
    # Not ru_maxrss, which a child takes over from the process that started it.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1024
start = time.perf_counter()
from stepcli.cache import open_store
imported = time.perf_counter()
store = open_store(sys.argv[1])
opened = time.perf_counter()
[clip in store for clip in store.ids[::1000]]
used = time.perf_counter()
found = {"import": imported - start, "open": opened - imported, "first use": used - opened}
found["peak MB"] = peak()
begin = time.perf_counter()
if sys.argv[2] == "arrays":
    columns = store.record_columns(store.ids)
    count = len(columns.pts_seconds) and len(columns.distinct_frames)
elif sys.argv[2] == "records":
    count = len(store.records(store.ids))
else:
    count = len([store.record(clip) for clip in store.ids[: len(store) // 10]])
took = time.perf_counter() - begin
found |= {"took": took, "count": count, "clips": len(store), "peak": peak()}
print(json.dumps(found | {"cpu": time.process_time()}))
"""
STATES = {
    "no derived files": ("index-*", "records-*"),
    "index alone": ("records-*",),
    "index and records": (),
}
"""What is removed before each run: all, as in a new store; the table of records, as in one of an
earlier version; nothing."""
WAYS = ("arrays", "records", "a tenth one by one")


def fill_many(clips: int, parts: int, store: Path) -> None:
    """A store of many small parts."""
    size = Size(clips, 16, 1, 1)
    made = create_store(store, size.spec(), dataset="benchmark", format="hdf5")
    clip = np.zeros(size.shape, np.float16)
    with made.writer(PRODUCER, part_clips=-(-clips // parts), part_seconds=1e9) as writer:
        for number in range(clips):
            writer.add(record(number, size.frames), clip)


def bench_open(clips: int, parts: int, runs: int, folder: Path) -> dict[str, dict[str, float]]:
    """Per state of a store's derived files the medians of seconds and peak MB.

    Each way of asking runs in a process of its own.
    """
    store = folder / "many"
    fill_many(clips, parts, store)
    seen: dict[str, list[dict[str, float]]] = {state: [] for state in STATES}
    for _ in range(runs):
        for state, removed in STATES.items():
            figures: dict[str, float] = {}
            for way in WAYS:
                for pattern in removed:
                    for path in store.glob(f".cache/{pattern}"):
                        path.unlink()
                if not removed:  # what the state before took away is written again
                    again = open_store(store)
                    again.record_columns(again.ids)
                start = time.perf_counter()
                asked = [sys.executable, "-c", OPEN, str(store), way]
                done = subprocess.run(asked, capture_output=True, text=True, check=True)
                found = json.loads(done.stdout)
                wall = time.perf_counter() - start - found["took"]
                if found["clips"] != clips:
                    raise SystemExit(f"{found['clips']} clips of {clips}")
                if way == WAYS[0]:
                    names = ("import", "open", "first use", "peak MB")
                    figures |= {name: found[name] for name in names} | {"whole process": wall}
                figures |= {way: found["took"], f"peak MB with {way}": found["peak"]}
                figures[f"CPU with {way}"] = found["cpu"]
            seen[state].append(figures)
    shutil.rmtree(store)
    return {
        state: {name: median(run[name] for run in runs) for name in runs[0]}
        for state, runs in seen.items()
    }


def show_open(clips: int, parts: int, found: dict[str, dict[str, float]]) -> None:
    """The figures, and whether the targets are met: 1 s and 300 MB to open, 2 s with metadata."""
    print(f"\nopen {clips} clips in {parts} parts, a new process")
    for state, figures in found.items():
        print(f"  {state}:")
        opening = {n: v for n, v in figures.items() if not any(way in n for way in WAYS)}
        print(
            "    "
            + ", ".join(f"{n} {v:.2f}{'' if 'MB' in n else ' s'}" for n, v in opening.items())
        )
        for way in WAYS:
            total = figures["import"] + figures["open"] + figures[way]
            peak = figures[f"peak MB with {way}"]
            print(
                f"    metadata of {way + ':':<20} {figures[way]:.2f} s, with opening "
                f"{total:.2f} s; peak {peak:.0f} MB; "
                f"CPU time of the process {figures[f'CPU with {way}']:.2f} s"
            )
    best, before = found["index and records"], found["index alone"]
    met = best["open"] + best["import"] <= 1 and best["peak MB"] <= 300
    print(f"  to open: target 1 s and 300 MB: {'met' if met else 'MISSED'}")
    for way in WAYS[:2]:
        total = best["import"] + best["open"] + best[way]
        print(
            f"  to open and ask for {way}: {before[way] / best[way]:.1f} times as fast as from the "
            f"parts; target 2 s: {'met' if total <= 2 else 'MISSED'}"
        )
