"""Tokens of a whole store in memory: read into the tensor itself, or by way of float32 and back."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

from store_clips import Size, fill, random_tokens

LOAD = """
import json, re, sys, time
from pathlib import Path
import numpy as np
import torch
from stepcli.cache import open_store
from stepcli.probe.data.features import READ_CLIPS, Resident

def peak():
    # Not ru_maxrss, which a child takes over from the process that started it.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1024

store = open_store(sys.argv[1])
cpu = torch.device("cpu")
ids = tuple(store.ids)
before = peak()
start = time.perf_counter()
if sys.argv[2] == "itself":
    tokens = Resident(store, ids, cpu, cpu).tokens
elif sys.argv[2] == "float32 by blocks":
    tokens = torch.empty((len(ids), *store.spec.clip_shape), dtype=torch.float16)
    for first in range(0, len(ids), READ_CLIPS):
        some = ids[first : first + READ_CLIPS]
        tokens[first : first + len(some)] = torch.from_numpy(store.read_floats(some))
else:
    tokens = torch.from_numpy(store.read_floats(ids)).half()
took = time.perf_counter() - start
print(json.dumps({"took": took, "peak": peak() - before, "size": tokens.nbytes / 2**20,
                  "type": str(tokens.dtype)}))
"""
WAYS = ("itself", "float32 by blocks", "float32 at once")


def bench_resident(size: Size, runs: int, folder: Path) -> dict[str, dict[str, float]]:
    """Per way the medians of seconds, and of MiB that the process grew by at its peak."""
    fill(folder / "store", "zarr", random_tokens(size), size)
    seen: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for number in range(runs):
        for way in WAYS[:: 1 if number % 2 else -1]:
            asked = [sys.executable, "-c", LOAD, str(folder / "store"), way]
            done = subprocess.run(asked, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout)
            if found.pop("type") != "torch.float16":
                raise SystemExit(f"{way}: tokens of another type than the store's")
            seen[way].append(found)
    return {
        way: {name: median(run[name] for run in found) for name in found[0]}
        for way, found in seen.items()
    }


def show_resident(found: dict[str, dict[str, float]]) -> None:
    """Time and memory of each way, as ratios to reading into the tensor itself."""
    first = found[WAYS[0]]
    print(f"\nresident tokens, {first['size']:.0f} MiB of float16, a new process each")
    for way, figures in found.items():
        print(
            f"  {way:<18} {figures['took']:.3f} s ({figures['took'] / first['took']:.2f}), peak "
            f"{figures['peak']:.0f} MiB ({figures['peak'] / figures['size']:.2f} times the tokens)"
        )
