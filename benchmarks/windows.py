"""What overlapping windows of whole recordings cost: a stride of T / 4 beside one of T.

    python benchmarks/windows.py VIDEOS [--recordings 8] [--rounds 5] [--tokens grid2]

VIDEOS is a folder made by benchmarks/recordings.py. Each round runs `stepcli extract --windows
16@4fps` and `--windows 16@4fps/4` on the same recordings into fresh stores, in an order that
alternates. Prints clock and processor time of each (decoder processes included) and the ratios of
each round and of the medians. Each frame passes the backbone once in both; four times the windows
are assembled, encoded and written.
"""

import argparse
import csv
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

RULES = ("16@4fps", "16@4fps/4")
MOST = 1.1
"""How much the overlapping windows may cost."""


def extract(table: Path, rule: str, tokens: str, store: Path) -> tuple[float, float]:
    """Seconds by the clock and of the processors, of a whole run of the command."""
    words = ["extract", "--dataset", "csv", "--root", str(table), "--windows", rule]
    words += ["--backbone", "mobilenet_v2-bundled", "--tokens", tokens, "--store", str(store)]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "stepcli.cli", *words], check=True, capture_output=True)
    clock, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("videos", type=Path)
    parser.add_argument("--recordings", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", default="grid2")
    given = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch "
        f"{version('torch')}, load {os.getloadavg()[0]:.1f}; tokens {given.tokens}"
    )
    with (given.videos / "recordings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = list(dict.fromkeys(row["path"] for row in rows))[: given.recordings]
    spent: dict[str, list[tuple[float, float]]] = {rule: [] for rule in RULES}
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "recordings.csv"
        with table.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label"])
            writer.writerows([given.videos.resolve() / name, "x"] for name in names)
        for number in range(given.rounds):
            for rule in sorted(RULES, reverse=bool(number % 2)):
                store = Path(folder) / f"{number}-{rule.replace('/', '-')}"
                spent[rule].append(extract(table, rule, given.tokens, store))
            texts = [f"{r} {c:.1f} s, {p:.1f} s of a core" for r in RULES for c, p in spent[r][-1:]]
            print(f"round {number + 1}: {'; '.join(texts)}", flush=True)
    for place, what in enumerate(("clock", "processor")):
        plain, dense = ([each[place] for each in spent[rule]] for rule in RULES)
        ratios = [b / a for a, b in zip(plain, dense, strict=True)]
        whole = statistics.median(dense) / statistics.median(plain)
        print(
            f"{what}: {whole:.3f} of the medians, rounds {', '.join(f'{r:.3f}' for r in ratios)}; "
            f"{'met' if whole <= MOST else 'MISSED'}: {MOST:g}"
        )


if __name__ == "__main__":
    main()
