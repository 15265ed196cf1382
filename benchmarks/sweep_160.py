"""A real sweep of 160 runs beside the same runs one by one.

    python benchmarks/sweep_160.py --store stores/openclose-full

`stepcli sweep recipes/openclose-160.yaml` (4 methods, 8 learning rates, 5 seeds) is timed from
start to finish, process start and writing of runs included. Of the single runs, a sample is timed,
`--singles` of each method, half before the sweep and half after it, and multiplied to 160: the
output reports it. The store is made with
`stepcli extract --dataset openclose --backbone mobilenet_v2-bundled-320 --frames 16 --tokens full`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from stepcli.probe.sweeps.expand import read_sweep

RECIPE = "recipes/openclose-160.yaml"


def timed(*words: str) -> float:
    """Seconds of one stepcli command in a process of its own."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "stepcli.cli", *words],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--singles", type=int, default=2, help="single runs timed of each method")
    args = parser.parse_args()
    sweep = read_sweep(Path(RECIPE))
    task = sweep.task
    shape = f"--task {task.name} --clip-frames {task.clip_frames} --temporal-crop"
    place = ["--store", str(args.store)]
    seconds: dict[str, list[float]] = {method: [] for method in sweep.methods}

    def singles(folder: str, numbers: range) -> None:
        for number in numbers:
            for method, settings in sweep.methods.items():
                rates = settings["lr"]
                assert isinstance(rates, list)
                words = f"probe --method {method} --lr {rates[number]} {shape}"
                more = (
                    f"--epochs {sweep.shared.epochs} --precision {sweep.shared.precision} "
                    f"--runs {folder}/singles"
                )
                seconds[method].append(timed(*words.split(), *more.split(), *place))
                print(f"one run of {method}: {seconds[method][-1]:.1f} s", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        half = (args.singles + 1) // 2
        singles(folder, range(half))
        together = timed("sweep", RECIPE, "--runs", f"{folder}/sweep", *place)
        runs = [json.loads(p.read_text()) for p in Path(f"{folder}/sweep").glob("*/run.json")]
        print(f"the sweep, {len(runs)} runs: {together:.1f} s", flush=True)
        singles(folder, range(half, args.singles))
    each = len(runs) // len(sweep.methods)
    alone = sum(each * statistics.mean(times) for times in seconds.values())
    counts = ", ".join(f"{m} {statistics.mean(t):.1f} s" for m, t in seconds.items())
    print(
        f"one by one, from {args.singles} timed runs of each method times {each} (not all were "
        f"run): {alone:.0f} s ({counts})"
    )
    print(f"the sweep takes {alone / together:.1f} times less")
    best = {m: max(r["top1"] for r in runs if r["method"] == m) for m in sweep.methods}
    print("best of each method (test, not a selected number):", best)
    print(
        f"{os.cpu_count()} cores, torch {version('torch')}, "
        f"{datetime.now(UTC).isoformat(timespec='seconds')}, python benchmarks/sweep_160.py"
    )


if __name__ == "__main__":
    main()
