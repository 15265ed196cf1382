"""What N workers will do: a small simulation of extraction, held to real runs.

    python benchmarks/scale.py predict --workers 1,8,100 --decode 0.05 --forward 0.004
    python benchmarks/scale.py check     # calibrate here; predict 1 and 2 workers; run them

A worker is a pipeline: its decoders and its backbone work side by side on a GPU machine and share
the cores on a CPU machine. Workers take clips a few at a time, as `--engine ray` hands them out.
Videos are read from, and tokens written to, storage that all share: two pipes of a given width.
"""

import argparse
import heapq
import json
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

CLIPS_AT_ONCE = 8


@dataclass(frozen=True)
class Rates:
    """What one clip costs and one worker has."""

    decode: float
    """Core-seconds to decode a clip."""
    spread: float
    """Standard deviation of a clip's cost, in its mean: long videos among short ones."""
    forward: float
    """Seconds of the backbone for a clip: of a GPU, or of a core where there is none."""
    cores: int
    gpu: bool
    start: float
    """Seconds until a worker takes its first clip: imports, weights, decoders."""
    video_bytes: float
    token_bytes: float

    @property
    def pace(self) -> float:
        """Seconds between clips of a busy worker, with storage that never makes it wait."""
        if self.gpu:
            return max(self.decode / self.cores, self.forward)
        return (self.decode + self.forward) / self.cores


@dataclass(frozen=True)
class Storage:
    """What all workers share, bytes per second."""

    read: float
    write: float


@dataclass(frozen=True)
class Outcome:
    """A simulated run."""

    seconds: float
    busy: float
    """Share of the workers' time that went into clips."""
    limit: str
    """What more of would make it faster."""


def simulate(rates: Rates, storage: Storage, workers: int, clips: int, *, seed: int = 0) -> Outcome:
    """Hand `clips` out to `workers` a few at a time.

    A worker asks for its next clips while it works on the last ones, so reading and writing hide
    behind computing until a pipe is full.
    """
    chance = random.Random(seed)
    ready = [(rates.start, worker) for worker in range(workers)]
    reading = writing = busy = end = 0.0
    left = clips
    while left:
        now, worker = heapq.heappop(ready)
        count = min(CLIPS_AT_ONCE, left)
        left -= count
        asked = max(0.0, now - rates.pace * count)
        reading = max(reading, asked) + count * rates.video_bytes / storage.read
        cost = sum(max(0.0, chance.gauss(1.0, rates.spread)) for _ in range(count)) * rates.pace
        done = max(now, reading) + cost
        busy += cost
        writing = max(writing, done) + count * rates.token_bytes / storage.write
        # What may wait for the disk is bounded: a worker whose tokens pile up waits as well.
        done = max(done, writing - CLIPS_AT_ONCE * rates.token_bytes / storage.write)
        end = max(end, writing)
        heapq.heappush(ready, (done, worker))
    paces = {
        "workers": rates.pace / workers,
        "reading videos": rates.video_bytes / storage.read,
        "writing tokens": rates.token_bytes / storage.write,
    }
    return Outcome(end, busy / (workers * (end - rates.start)), max(paces, key=paces.__getitem__))


def predict(asked: argparse.Namespace) -> None:
    """Print a table: hours, cost and the limit for each number of workers."""
    rates = Rates(
        decode=asked.decode,
        spread=asked.spread,
        forward=asked.forward,
        cores=asked.cores,
        gpu=not asked.cpu,
        start=asked.start,
        video_bytes=asked.video_mb * 1e6,
        token_bytes=asked.token_mb * 1e6,
    )
    storage = Storage(asked.read_mb * 1e6, asked.write_mb * 1e6)
    print(f"{'workers':>8} {'hours':>8} {'clips/s':>9} {'speed-up':>9} {'cost':>9}  limit")
    alone = simulate(rates, storage, 1, asked.clips)
    for workers in map(int, asked.workers.split(",")):
        run = simulate(rates, storage, workers, asked.clips)
        hours, faster = run.seconds / 3600, alone.seconds / run.seconds
        print(
            f"{workers:>8} {hours:>8.2f} {asked.clips / run.seconds:>9.1f} "
            f"{faster:>9.1f} {hours * workers * asked.price:>9.2f}  {run.limit}"
        )


def extract(store: Path, workers: int, clips: int) -> tuple[dict[str, float], float]:
    """A real run on bundled clips: its stages' seconds by the engine's own clock, bytes stored."""
    words = "extract --dataset openclose --backbone mobilenet_v2-bundled --frames 16 --tokens grid2"
    engine = f"--engine ray --address local --worker-cpus 1 --ray-workers {workers} --json"
    command = [sys.executable, "-m", "stepcli.cli", *words.split(), *engine.split()]
    done = subprocess.run(
        [*command, "--limit", str(clips), "--store", str(store)], capture_output=True, check=True
    )
    size = sum(path.stat().st_size for path in (store / "parts").rglob("*") if path.is_file())
    return json.loads(done.stdout)["seconds"], size


def calibrate(folder: Path, clips: int) -> Rates:
    """What a short run of one worker of one core says of every other."""
    stages, size = extract(folder, 1, clips)
    rates = Rates(
        decode=stages["decoding"] / clips,
        spread=0.3,
        forward=stages["forward"] / clips,
        cores=1,
        gpu=False,
        start=0.0,
        video_bytes=0.0,
        token_bytes=size / clips,
    )
    # The engine's clock begins before its workers have started: what is no work on clips is that.
    return replace(rates, start=max(0.0, stages["total"] - clips * rates.pace))


def check(few: int, clips: int) -> None:
    """Calibrate on few clips and one worker of one core; predict many clips and 1 and 2 workers."""
    with tempfile.TemporaryDirectory() as folder:
        rates = calibrate(Path(folder) / "few", few)
        print(
            f"from {few} clips with one worker: a clip costs {1e3 * rates.decode:.1f} ms of "
            f"decoding and {1e3 * rates.forward:.1f} ms of the backbone; a worker starts in "
            f"{rates.start:.1f} s"
        )
        print(f"{clips} clips:\nworkers   predicted    measured   measured / predicted")
        measured = {}
        for workers in (1, 2):
            predicted = simulate(rates, Storage(float("inf"), 1e9), workers, clips).seconds
            stages, _ = extract(Path(folder) / str(workers), workers, clips)
            measured[workers] = stages["total"]
            print(
                f"{workers:>7} {predicted:>9.1f} s {measured[workers]:>9.1f} s "
                f"{measured[workers] / predicted:>12.2f}"
            )
    print(f"speed-up of the second worker, starting included: {measured[1] / measured[2]:.2f}")


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, dest="command")
    here = commands.add_parser("check")
    here.add_argument("--few", type=int, default=64, help="clips to calibrate on")
    here.add_argument("--clips", type=int, default=384, help="clips to predict and to run")
    table = commands.add_parser("predict")
    table.add_argument("--workers", default="1,2,4,8,16,32,64,100")
    table.add_argument("--clips", type=int, default=220847)
    table.add_argument("--decode", type=float, required=True, help="core-seconds per clip")
    table.add_argument("--forward", type=float, required=True, help="GPU- (--cpu: core-) seconds")
    table.add_argument("--spread", type=float, default=0.3)
    table.add_argument("--cores", type=int, default=8, help="of a worker")
    table.add_argument("--cpu", action="store_true", help="workers without a GPU")
    table.add_argument("--start", type=float, default=30.0, help="seconds")
    table.add_argument("--video-mb", type=float, default=0.1)
    table.add_argument("--token-mb", type=float, default=0.42)
    table.add_argument("--read-mb", type=float, default=1000.0, help="shared storage, MB/s")
    table.add_argument("--write-mb", type=float, default=1000.0)
    table.add_argument("--price", type=float, default=2.0, help="of a worker-hour")
    asked = parser.parse_args()
    if asked.command == "check":
        check(asked.few, asked.clips)
    else:
        predict(asked)


if __name__ == "__main__":
    main()
