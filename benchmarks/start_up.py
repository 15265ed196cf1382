"""How long commands take that do little: a typo, --help, a table of results, one prediction.

    python benchmarks/start_up.py demo-out/runs             # as made by stepcli demo
    python benchmarks/start_up.py RUNS --rounds 3

Each command runs in a new process, all commands once per round, in an order that alternates.
Printed are the medians of the clock and of the processors' time, beside `python -c pass` and
`python -c "import torch"`: what of a command no program could save. Bytecode is cached, as after
an installation: the first round is not counted.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

VIDEO = Path(__file__).parents[1] / "examples/openclose/clips/door-open/019.mp4"
TYPO, PREDICT = 0.3, 3.0
"""Targets: processors' seconds of a typo, the clock's of a prediction with the bundled backbone."""


def commands(runs: Path) -> dict[str, tuple[list[str], int]]:
    """What is shown of a command -> its words after python, and its exit code."""
    run = next((path.parent for path in sorted(runs.glob("*/probe.safetensors"))), None)
    if run is None:
        raise SystemExit(f"{runs} holds no trained probe; give the runs of stepcli demo")
    stepcli = ["-m", "stepcli.cli"]
    return {
        "python -c pass": (["-c", "pass"], 0),
        'python -c "import torch"': (["-c", "import torch"], 0),
        "typo: extarct": ([*stepcli, "extarct"], 2),
        "typo: probe --method stpe": ([*stepcli, "probe", "--method", "stpe"], 2),
        "typo: probe --set hedas=4": (
            [*stepcli, "probe", "--method", "step", "--set", "hedas=4"],
            2,
        ),
        "typo: sweep --lr abc": ([*stepcli, "sweep", "--method", "step", "--lr", "abc"], 2),
        "--help": ([*stepcli, "--help"], 0),
        "results": ([*stepcli, "results", "--runs", str(runs)], 0),
        "predict, one video": ([*stepcli, "predict", str(run), "--video", str(VIDEO)], 0),
    }


def spent(words: list[str], code: int) -> tuple[float, float]:
    """Seconds by the clock and of the processors, decoder processes included."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    clock, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != code:
        raise SystemExit(f"{' '.join(words)}: exit code {done.returncode}: {done.stderr}")
    return clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, help="folder of runs on a bundled backbone's tokens")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch "
        f"{version('torch')}, load {os.getloadavg()[0]:.1f}; {given.rounds} rounds"
    )
    rows = commands(given.runs)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for number in range(given.rounds + 1):
        for name in list(rows)[:: 1 if number % 2 else -1]:
            found = spent(*rows[name])
            if number:
                times[name].append(found)
    print(f"{'':28}  {'clock':>7}  {'processors':>10}")
    for name, of_rounds in times.items():
        clock, cpu = (median(each) for each in zip(*of_rounds, strict=True))
        line = f"{name:28}  {clock:>5.2f} s  {cpu:>8.2f} s"
        if name.startswith("typo"):
            line += f"  target {TYPO} s of the processors: {'met' if cpu <= TYPO else 'MISSED'}"
        elif name.startswith("predict"):
            line += (
                f"  target {PREDICT:g} s of the clock: {'met' if clock <= PREDICT else 'MISSED'}"
            )
        print(line)


if __name__ == "__main__":
    main()
