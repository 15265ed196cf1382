"""The feature store beside np.memmap, np.save, zarr-python, h5py, safetensors, tar: ratios.

    python benchmarks/store.py                    # targets as in docs/store.md; some five minutes
    python benchmarks/store.py --quick            # a look in half a minute
    python benchmarks/store.py --only open

Every figure is the median over interleaved runs: all candidates once, then all again. Rates differ
from machine to machine and from minute to minute; ratios taken side by side do less.
"""

import argparse
import datetime
import os
import platform
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

from store_clips import Size, show
from store_open import bench_open, show_open
from store_read import BATCH, bench_read, bench_stream
from store_resident import bench_resident, show_resident
from store_write import bench_write

PARTS = ("read", "small", "stream", "write", "resident", "open")


def about() -> str:
    """Machine, versions, date."""
    cpu = next(
        (
            line.partition(": ")[2]
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    packages = ("numpy", "zarr", "h5py", "safetensors", "google-crc32c")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"# {datetime.date.today()}; {os.cpu_count()} cores of {cpu}; "
        f"Python {platform.python_version()}, {versions}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, for a look")
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument(
        "--own", action="store_true", help="of writes: np.save and stepcli only, no other library"
    )
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where to work; default: the system's")
    chosen = parser.parse_args()
    large = Size(32 if chosen.quick else 256, 16, 65, 768)  # 1.6 MB per clip
    small = Size(1000 if chosen.quick else 20_000, 16, 1, 384)  # 12 KB per clip
    clips, parts = (4000, 40) if chosen.quick else (220_847, 900)
    runs = 3 if chosen.quick else max(5, chosen.runs)
    print(about())
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        for part in PARTS:
            if chosen.only not in (None, part):
                continue
            work = Path(name) / part
            work.mkdir()
            if part == "read":
                title = f"read, {large.clip_bytes / 1e6:.1f} MB per clip"
                show(title, bench_read(large, runs, 5, work), 0.9, 1e3, "ms per batch")
            elif part == "small":
                title = f"read, {small.clip_bytes / 1e3:.0f} KB per clip"
                seconds = bench_read(small, runs, 50, work)
                show(title, seconds, 1 / 3, 1e6 / BATCH, "µs a clip")
            elif part == "stream":
                title = f"everything once, {large.clip_bytes / 1e6:.1f} MB per clip"
                show(title, bench_stream(large, runs, work), 0, 1e6, "µs a clip")
            elif part == "write":
                title = f"write with fsync, {large.clips * large.clip_bytes / 1e6:.0f} MB"
                seconds = bench_write(large, runs, work, others=not chosen.own)
                show(title, seconds, 0.8, 1e3, "ms")
            elif part == "resident":
                show_resident(bench_resident(large, runs, work))
            else:
                show_open(clips, parts, bench_open(clips, parts, max(3, runs // 2), work))
            shutil.rmtree(work)


if __name__ == "__main__":
    main()
