"""The same through submitit, from Python: several extractions into one store.

    python examples/slurm/submit.py --jobs 8 -- --dataset ssv2 --root /data --store /shared/ssv2

Where there is no SLURM, the jobs run on this machine (`--cluster local`).
"""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import submitit


class Extraction:
    """One share of a data set; submitted again by submitit when it is pre-empted."""

    def __init__(self, words: list[str], rank: int, jobs: int) -> None:
        share = ["--rank", str(rank), "--world-size", str(jobs)]
        self._command = [sys.executable, "-P", "-m", "stepcli.cli", "extract", *words, *share]
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Run the command; its exit code, of which 0 and 3 mean that the share is done."""
        self._process = subprocess.Popen(self._command, preexec_fn=_ignore_notice)
        return self._process.wait()

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Let it commit what is finished; then the same is submitted again, and resumes."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            # Not its wait(): the call that this interrupts is inside it.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        return submitit.helpers.DelayedSubmission(self)


def _ignore_notice() -> None:
    # SLURM gives its notice to every process of a job, and it would end one that does not heed it.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


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
