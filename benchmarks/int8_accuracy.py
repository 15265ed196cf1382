"""What int8 tokens cost in accuracy: the same probes on a float16 store and on its int8 copy.

    python benchmarks/int8_accuracy.py --store stores/openclose

The copy is made by `stepcli store convert`; probes see the same clips, crops and seeds. Printed is
the difference in top-1 on the test clips, int8 minus float16, with its 95 % interval over
groups and seeds.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from stepcli.probe.runs.compare import correctness
from stepcli.probe.runs.record import read_runs
from stepcli.probe.runs.stats import FEWEST_GROUPS, paired_difference


def stepcli(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "stepcli.cli", *words], check=True)


def train(store: Path, runs: Path, methods: Sequence[str], seeds: int, epochs: int) -> None:
    shape = "--task arrow --clip-frames 8 --temporal-crop"
    stepcli(
        *f"probe --method {','.join(methods)} --seeds {seeds} --epochs {epochs} {shape}".split(),
        *("--store", str(store), "--runs", str(runs)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--store", type=Path, required=True, help="float16 store")
    parser.add_argument("--methods", default="first-last,efficient,step")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--folder", type=Path, help="keeps copy and runs: a killed call resumes")
    args = parser.parse_args()
    methods = args.methods.split(",")
    with tempfile.TemporaryDirectory() as name:
        folder = args.folder or Path(name)
        if not (folder / "int8").exists():
            stepcli("store", "convert", str(args.store), str(folder / "int8"), "--dtype", "int8")
        for kind, store in (("float16", args.store), ("int8", folder / "int8")):
            train(store, folder / f"runs-{kind}", methods, args.seeds, args.epochs)
        for method in methods:
            sides = {}
            for kind in ("float16", "int8"):
                runs = folder / f"runs-{kind}"
                sides[kind] = correctness(runs, [r for r in read_runs(runs) if r.method == method])
            a, b = sides["float16"], sides["int8"]
            assert a.samples == b.samples
            found = paired_difference(b.right, a.right, a.groups)
            interval = f"fewer than {FEWEST_GROUPS} groups: no interval"
            if found.low is not None and found.high is not None:
                interval = f"95 % interval [{100 * found.low:+.2f}, {100 * found.high:+.2f}]"
            print(
                f"{method}: float16 {100 * a.share.mean():.2f} %, int8 {100 * b.share.mean():.2f} "
                f"%, difference {100 * found.mean:+.2f} points, {interval} over "
                f"{len(found.by_group)} groups, {args.seeds} seeds"
            )
    print(
        f"torch {version('torch')}, {datetime.now(UTC).isoformat(timespec='seconds')}, "
        f"python benchmarks/int8_accuracy.py --epochs {args.epochs} --seeds {args.seeds}"
    )


if __name__ == "__main__":
    main()
