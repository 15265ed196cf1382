"""The same through submitit, from Python: several extractions into one store.

    python examples/slurm/submit.py --jobs 8 -- --dataset ssv2 --root /data --store /shared/ssv2

Where there is no SLURM, the jobs run on this machine (`--cluster local`).
"""

import argparse
import subprocess
import sys
from pathlib import Path

import submitit


class Extraction:
    """One share of a data set; submitted again by submitit when it is pre-empted."""

    def __init__(self, words: list[str], rank: int, jobs: int) -> None:
        self._share = ["--rank", str(rank), "--world-size", str(jobs)]
        self._words = words

    def __call__(self) -> int:
        """Run the command; its exit code, of which 0 and 3 mean that the share is done."""
        command = [sys.executable, "-m", "stepcli.cli", "extract", *self._words, *self._share]
        return subprocess.run(command, check=False).returncode

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """What to submit on pre-emption: the same, which goes on where it stopped."""
        return submitit.helpers.DelayedSubmission(self)


def main() -> None:
    """Submit, wait, and say how each job ended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--cluster", help="slurm, or local; default: whichever is here")
    parser.add_argument("--logs", type=Path, default=Path("submitit-logs"))
    parser.add_argument("words", nargs="+", help="after --: what follows `stepcli extract`")
    asked = parser.parse_args()
    executor = submitit.AutoExecutor(folder=asked.logs, cluster=asked.cluster)
    executor.update_parameters(timeout_min=240, gpus_per_node=1, cpus_per_task=16)
    jobs = [
        executor.submit(Extraction(asked.words, rank, asked.jobs)) for rank in range(asked.jobs)
    ]
    codes = [job.result() for job in jobs]
    print(f"{sum(code in (0, 3) for code in codes)} of {asked.jobs} shares done: {codes}")
    sys.exit(max(codes))


if __name__ == "__main__":
    main()
