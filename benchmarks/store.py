"""The feature store beside np.memmap, np.save, zarr-python, h5py, safetensors, tar: ratios.

    python benchmarks/store.py                    # targets as in docs/store.md
    python benchmarks/store.py --quick            # a look in half a minute
    python benchmarks/store.py --only open

Every figure is the median over interleaved runs: all candidates once, then all again. Rates differ
from machine to machine and from minute to minute; ratios taken side by side do less.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from statistics import median

import google_crc32c
import h5py
import numpy as np
import zarr
from safetensors import safe_open
from safetensors.numpy import save_file

from stepcli.cache import create_store
from stepcli.cache.clips import ClipRecord
from stepcli.cache.manifest import Format
from stepcli.cache.spec import Producer, Segment, StoreSpec
from stepcli.cache.store import Store

PRODUCER = Producer(source="benchmark", device="cpu", numerics="none", versions={})
BATCH = 32
FORMATS: tuple[Format, ...] = ("zarr", "hdf5")


@dataclass(frozen=True)
class Size:
    """Clips of one benchmark: [clips, frames, tokens, dim] float16."""

    clips: int
    frames: int
    tokens: int
    dim: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.frames, self.tokens, self.dim)

    @property
    def clip_bytes(self) -> int:
        return 2 * self.frames * self.tokens * self.dim

    def spec(self) -> StoreSpec:
        return StoreSpec(
            backbone="benchmark",
            weights_digest="0" * 64,
            segments=(Segment(name="prefix", kind="prefix", count=self.tokens),),
            dim=self.dim,
            frames=self.frames,
            sampling="uniform",
            preprocessing={},
            dtype="float16",
        )


def record(number: int, frames: int) -> ClipRecord:
    times = tuple(float(frame) for frame in range(frames))
    return ClipRecord(f"{number:08d}", f"{number}.webm", times, frames, 240, 320)


def fill(path: Path, form: Format, tokens: np.ndarray, size: Size) -> Store:
    store = create_store(path, size.spec(), dataset="benchmark", format=form)
    # A full part, as almost all are in a long extraction.
    with store.writer(PRODUCER, part_clips=len(tokens), part_seconds=1e9) as writer:
        for number, clip in enumerate(tokens):
            writer.add(record(number, size.frames), clip)
    store.refresh()
    return store


# Reading: each candidate copies clips `places` into `out`.

Read = Callable[[np.ndarray, np.ndarray], None]


def readers(folder: Path, tokens: np.ndarray, size: Size) -> Iterator[tuple[str, Read]]:
    np.save(folder / "tokens.npy", tokens)
    mapped = np.load(folder / "tokens.npy", mmap_mode="r")

    def from_map(places: np.ndarray, out: np.ndarray) -> None:
        for row, place in enumerate(places.tolist()):
            out[row] = mapped[place]

    yield "np.memmap", from_map
    for form in FORMATS:
        store = fill(folder / form, form, tokens, size)
        yield f"stepcli {form}", lambda places, out, store=store: store.read(places, out)
        part = folder / form / "parts" / store.parts[0]
        if len(store.parts) > 1:
            raise SystemExit("the benchmark wants one part; take fewer clips")
        if form == "zarr":
            array = zarr.open_group(part / "tokens.zarr", mode="r")["tokens"]

            def from_zarr(places: np.ndarray, out: np.ndarray, array: zarr.Array = array) -> None:
                for row, place in enumerate(places.tolist()):
                    out[row] = array[place]

            yield "zarr-python, same file", from_zarr
        else:
            dataset = h5py.File(part / "tokens.h5")["tokens"]

            def from_h5py(
                places: np.ndarray, out: np.ndarray, dataset: h5py.Dataset = dataset
            ) -> None:
                for row, place in enumerate(places.tolist()):
                    dataset.read_direct(out, np.s_[place], np.s_[row])

            yield "h5py, same file", from_h5py
    save_file({f"{n:08d}": clip for n, clip in enumerate(tokens)}, folder / "a.safetensors")
    opened = safe_open(folder / "a.safetensors", "numpy")

    def from_safetensors(places: np.ndarray, out: np.ndarray) -> None:
        for row, place in enumerate(places.tolist()):
            out[row] = opened.get_tensor(f"{place:08d}")

    yield "safetensors shard", from_safetensors
    write_tar(folder / "a.tar", tokens)
    tar = tarfile.open(folder / "a.tar")  # noqa: SIM115 (open while the benchmark runs)
    members = tar.getmembers()

    def from_tar(places: np.ndarray, out: np.ndarray) -> None:
        for row, place in enumerate(places.tolist()):
            file = tar.extractfile(members[place])
            assert file is not None
            out[row] = np.frombuffer(file.read(), np.float16).reshape(out.shape[1:])

    yield "tar, random access", from_tar


def write_tar(path: Path, tokens: np.ndarray) -> None:
    with tarfile.open(path, "w") as tar:
        for number, clip in enumerate(tokens):
            member = tarfile.TarInfo(f"{number:08d}.bin")
            member.size = clip.nbytes
            tar.addfile(member, BytesIO(clip.tobytes()))


def bench_read(size: Size, runs: int, folder: Path) -> dict[str, float]:
    """Seconds a batch of clips in random order, a checksum of the buffer included."""
    tokens = np.random.default_rng(0).standard_normal((size.clips, *size.shape), np.float32)
    tokens = tokens.astype(np.float16)
    candidates = dict(readers(folder, tokens, size))
    expected = [google_crc32c.value(clip) for clip in tokens]
    out = np.empty((BATCH, *size.shape), np.float16)
    batches = max(2, min(200, (256 << 20) // (BATCH * size.clip_bytes)))
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for run in range(runs + 1):
        for name, read in candidates.items():
            order = np.random.default_rng(run)
            spent = 0.0
            for _ in range(batches):
                places = order.integers(0, size.clips, BATCH)
                start = time.perf_counter()
                read(places, out)
                found = [google_crc32c.value(clip) for clip in out]
                spent += time.perf_counter() - start
                if found != [expected[place] for place in places.tolist()]:
                    raise SystemExit(f"{name}: clips are wrong")
            if run:  # the first only warms
                seconds[name].append(spent / batches)
    return {name: median(values) for name, values in seconds.items()}


# Writing: each candidate puts all clips on disk, fsynced, from clips that come one by one.


def synced(path: Path) -> None:
    for file in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]:
        fd = os.open(file, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def writers(tokens: np.ndarray, size: Size) -> dict[str, Callable[[Path], None]]:
    def with_numpy(folder: Path) -> None:
        with (folder / "tokens.npy").open("wb") as file:
            np.save(file, tokens)
            file.flush()
            os.fsync(file.fileno())

    def with_zarr(folder: Path) -> None:
        array = zarr.create_array(
            folder / "a",
            shape=tokens.shape,
            chunks=(1, *size.shape),
            shards=tokens.shape,
            dtype=tokens.dtype,
            compressors=None,
        )
        array[:] = tokens
        synced(folder / "a")

    def with_h5py(folder: Path) -> None:
        with h5py.File(folder / "a.h5", "w") as file:
            dataset = file.create_dataset("tokens", tokens.shape, tokens.dtype)
            for number, clip in enumerate(tokens):
                dataset[number] = clip
        synced(folder / "a.h5")

    def with_safetensors(folder: Path) -> None:
        save_file({f"{n:08d}": clip for n, clip in enumerate(tokens)}, folder / "a.safetensors")
        synced(folder / "a.safetensors")

    def with_tar(folder: Path) -> None:
        write_tar(folder / "a.tar", tokens)
        synced(folder / "a.tar")

    found: dict[str, Callable[[Path], None]] = {"np.save + fsync": with_numpy}
    for form in FORMATS:
        found[f"stepcli {form}"] = lambda folder, form=form: (
            fill(folder / form, form, tokens, size) and None
        )
    return found | {
        "zarr-python": with_zarr,
        "h5py": with_h5py,
        "safetensors shard": with_safetensors,
        "tar": with_tar,
    }


def bench_write(size: Size, runs: int, folder: Path) -> dict[str, float]:
    """Seconds to write all clips, on disk."""
    tokens = np.random.default_rng(0).standard_normal((size.clips, *size.shape), np.float32)
    tokens = tokens.astype(np.float16)
    candidates = writers(tokens, size)
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(runs):
        for name, write in candidates.items():
            work = folder / "written"
            work.mkdir()
            os.sync()
            start = time.perf_counter()
            write(work)
            seconds[name].append(time.perf_counter() - start)
            shutil.rmtree(work)
    return {name: median(values) for name, values in seconds.items()}


# Opening: a new process, as a user's command is.

OPEN = """
import re, sys, time
from pathlib import Path
start = time.perf_counter()
from stepcli.cache import open_store
imported = time.perf_counter()
store = open_store(sys.argv[1])
opened = time.perf_counter()
[clip in store for clip in store.ids[::1000]]
used = time.perf_counter()
# Not ru_maxrss, which a child takes over from the process that started it.
status = Path("/proc/self/status").read_text()
peak = int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1024
print(len(store), imported - start, opened - imported, used - opened, peak)
"""


def bench_open(clips: int, parts: int, runs: int, folder: Path) -> list[dict[str, float]]:
    """Seconds and peak MB to open a store: without the consolidated index, then with it."""
    size = Size(clips, 16, 1, 1)
    store = create_store(folder / "many", size.spec(), dataset="benchmark", format="hdf5")
    clip = np.zeros(size.shape, np.float16)
    with store.writer(PRODUCER, part_clips=-(-clips // parts), part_seconds=1e9) as writer:
        for number in range(clips):
            writer.add(record(number, size.frames), clip)
    results = []
    for keep in (False, True):
        figures = []
        for _ in range(runs):
            if not keep:
                shutil.rmtree(folder / "many" / ".cache", ignore_errors=True)
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", OPEN, str(folder / "many")],
                capture_output=True,
                text=True,
                check=True,
            )
            wall = time.perf_counter() - start
            count, imported, opened, used, peak = map(float, done.stdout.split())
            if count != clips:
                raise SystemExit(f"{count} clips of {clips}")
            figures.append((imported, opened, used, peak, wall))
        names = ("import", "open", "first use", "peak MB", "whole process")
        columns = zip(*figures, strict=True)
        results.append(dict(zip(names, (median(column) for column in columns), strict=True)))
    return results


def show(title: str, seconds: dict[str, float], target: float, unit: float, name: str) -> None:
    """Ratios to the first candidate; for stepcli whether the target is met."""
    reference = next(iter(seconds.values()))
    print(f"\n{title}")
    for candidate, value in seconds.items():
        ratio = reference / value
        line = f"  {candidate:<24} {ratio:6.2f} of the first   ({value * unit:.2f} {name})"
        if candidate.startswith("stepcli"):
            line += f"   target {target:.2f}: {'met' if ratio >= target else 'MISSED'}"
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, for a look")
    parser.add_argument("--only", choices=["read", "small", "write", "open"])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where to work; default: the system's")
    chosen = parser.parse_args()
    large = Size(32 if chosen.quick else 256, 16, 65, 768)  # 1.6 MB a clip
    small = Size(1000 if chosen.quick else 20_000, 16, 1, 384)  # 12 KB a clip
    clips, parts = (4000, 40) if chosen.quick else (220_847, 900)
    runs = 3 if chosen.quick else max(5, chosen.runs)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        for part in ("read", "small", "write", "open"):
            if chosen.only not in (None, part):
                continue
            work = folder / part
            work.mkdir()
            if part == "read":
                seconds = bench_read(large, runs, work)
                show(
                    f"read, {large.clip_bytes / 1e6:.1f} MB a clip", seconds, 0.9, 1e3, "ms a batch"
                )
            elif part == "small":
                seconds = bench_read(small, runs, work)
                title = f"read, {small.clip_bytes / 1e3:.0f} KB a clip"
                show(title, seconds, 1 / 3, 1e6 / BATCH, "µs a clip")
            elif part == "write":
                seconds = bench_write(large, runs, work)
                title = f"write with fsync, {large.clips * large.clip_bytes / 1e6:.0f} MB"
                show(title, seconds, 0.5, 1e3, "ms")
            else:
                without, kept = bench_open(clips, parts, max(3, runs // 2), work)
                print(f"\nopen {clips} clips in {parts} parts, a new process")
                print("  without consolidated index:", _figures(without))
                print("  with it:                   ", _figures(kept))
                met = kept["open"] + kept["import"] <= 1 and kept["peak MB"] <= 300
                print(f"  target 1 s and 300 MB: {'met' if met else 'MISSED'}")
            shutil.rmtree(work)


def _figures(figures: dict[str, float]) -> str:
    return ", ".join(
        f"{name} {value:.2f}" + ("" if "MB" in name else " s") for name, value in figures.items()
    )


if __name__ == "__main__":
    main()
