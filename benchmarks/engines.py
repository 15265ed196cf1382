"""What Ray's workers and SLURM's tasks cost beside the local engine on the same cores.

    python benchmarks/engines.py [--clips 192] [--few 32] [--repeats 2]

Every side is the command `stepcli extract` on the bundled clips, in a process of its own, the Ray
ones joined to a cluster that runs already. Each is run on few and on many clips: the difference is
what the clips cost, the rest is what starting costs. Sides take turns; medians are compared.

- local: one process on all cores
- ray, 1 worker: one worker that has all cores
- ray, 2 workers: two workers that have half of the cores each
- ray, half: one worker that has half of the cores
- slurm, 2 tasks: what `srun --ntasks=2` starts, two commands on half of the cores each, which take
  their shares by SLURM's variables and write into one store
"""

import argparse
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

WORDS = "extract --dataset openclose --backbone mobilenet_v2-bundled --frames 16 --tokens grid2"


@contextmanager
def cluster(cores: int) -> Iterator[str]:
    """Address of a Ray cluster of this machine with that many cores."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    context: Any = ray.init(
        num_cpus=cores, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False
    )
    try:
        yield context.address_info["gcs_address"]
    finally:
        ray.shutdown()


def extract(options: str, clips: int, store: Path, tasks: int = 1) -> float:
    """Seconds of one command from its start to its end; or of one per task, side by side."""
    command = [sys.executable, "-m", "stepcli.cli", *WORDS.split(), *options.split()]
    place = ["--limit", str(clips), "--store", str(store)]
    mine = sorted(os.sched_getaffinity(0))
    share = len(mine) // tasks
    started = time.perf_counter()
    running = []
    for task in range(tasks):
        cores = ",".join(map(str, mine[task * share : (task + 1) * share]))
        slurm = {"SLURM_PROCID": str(task), "SLURM_NTASKS": str(tasks)} if tasks > 1 else {}
        bound = ["taskset", "--cpu-list", cores, *command, *place]
        running.append(
            subprocess.Popen(
                bound,
                env=os.environ | slurm,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    for process in running:
        _, said = process.communicate()
        if process.returncode:
            raise SystemExit(said)
    return time.perf_counter() - started


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=192)
    parser.add_argument("--few", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=2)
    asked = parser.parse_args()
    cores = os.cpu_count() or 1
    print(
        f"{cores} cores; Python {platform.python_version()}, ray {version('ray')}, torch "
        f"{version('torch')}; {asked.few} and {asked.clips} clips, {asked.repeats} times each"
    )
    seconds: dict[tuple[str, int], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, cluster(cores) as address:
        ray = f"--engine ray --address {address} --ray-workers"
        sides = {
            "local": ("--engine local", 1),
            "ray, 1 worker": (f"{ray} 1 --worker-cpus {cores}", 1),
            "ray, 2 workers": (f"{ray} 2 --worker-cpus {cores / 2}", 1),
            "ray, half": (f"{ray} 1 --worker-cpus {cores / 2}", 1),
            "slurm, 2 tasks": ("--engine local", 2),
        }
        for number in range(asked.repeats):
            for side, (options, tasks) in sides.items():
                for clips in (asked.few, asked.clips):
                    store = Path(folder) / f"{side}-{clips}-{number}".replace(", ", "-")
                    seconds[side, clips].append(extract(options, clips, store, tasks))
    rates, starts = {}, {}
    for side in sides:
        few, many = (statistics.median(seconds[side, n]) for n in (asked.few, asked.clips))
        each = (many - few) / (asked.clips - asked.few)
        rates[side], starts[side] = 1 / each, few - asked.few * each
        print(
            f"{side:17} {rates[side]:6.2f} clips/s, starting {starts[side]:5.1f} s, all of it "
            f"{many:6.1f} s  (each {[round(s, 1) for s in seconds[side, asked.clips]]})"
        )
    for side in ("ray, 1 worker", "ray, 2 workers", "slurm, 2 tasks"):
        print(f"{side} costs {100 * (rates['local'] / rates[side] - 1):.1f} % more a clip than")
        print(f"  local (target 15), and {starts[side] - starts['local']:.1f} s more at the start")
    faster = rates["ray, 2 workers"] / rates["ray, half"]
    print(f"two workers are {faster:.2f} times as fast as one of the same size")


if __name__ == "__main__":
    main()
