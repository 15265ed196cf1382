"""How long a resume takes to decide what is left of a finished extraction, and what that costs.

    python benchmarks/resume.py                        220,847 clips in 900 parts, one file each
    python benchmarks/resume.py --clips 20000 --parts 80

Makes that many small files and a store whose clips were made from them, then in a new process
reads the list, compares every file with what is recorded, and counts what is left. The files hold
no video: a resume that decoded or digested one would fail here.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from store_clips import PRODUCER, Size

from stepcli.cache import create_store, open_store
from stepcli.cache.schema.clips import ClipRecord, ClipRow
from stepcli.extract.datasets.registry import load_dataset
from stepcli.extract.sources.origin import FileFacts, source_of
from stepcli.extract.sources.place import with_prefix
from stepcli.extract.sources.stock import take_stock, what_is_left
from stepcli.runtime.memory import without_collections

A_FOLDER = 1000
SIZE = Size(clips=1, frames=1, tokens=1, dim=4)


def make(place: Path, clips: int, parts: int) -> None:
    """The files, their list, and the store."""
    root = place / "root"
    names = [f"{number // A_FOLDER:03d}/{number:06d}.webm" for number in range(clips)]
    for folder in {name.partition("/")[0] for name in names}:
        (root / folder).mkdir(parents=True)
    for number, name in enumerate(names):
        (root / name).write_bytes(b"%d" % number)
    lines = [f"{name},class {number % 174},train\n" for number, name in enumerate(names)]
    (root / "clips.csv").write_text("path,label,split\n" + "".join(lines))
    dataset = with_prefix(load_dataset("csv", root / "clips.csv", {}), "")
    store = create_store(place / "store", SIZE.spec(), dataset="csv")
    store.add_clips([ClipRow(clip.id, clip.label, clip.split) for clip in dataset.clips])
    tokens = np.zeros(SIZE.shape, np.float16)
    with store.writer(PRODUCER, part_clips=-(-clips // parts), part_seconds=1e9) as writer:
        for clip in dataset.clips:
            status = clip.path.stat()
            facts = FileFacts(status.st_size, status.st_mtime_ns, "sha256:" + "0" * 64)
            origin = source_of(clip, facts)
            writer.add(ClipRecord(clip.id, str(clip.path), (0.0,), 1, 240, 320, origin), tokens)


def decide(place: Path) -> None:
    """What a resume does before its first video; the times on stdout."""
    began, cpu_before = time.perf_counter(), time.process_time()
    times: dict[str, float] = {}

    def lap(name: str) -> None:
        times[name] = time.perf_counter() - began - sum(times.values())

    dataset = with_prefix(load_dataset("csv", place / "root" / "clips.csv", {}), "")
    lap("read the list")
    store = open_store(place / "store")
    lap("open the store")
    stock = take_stock(
        store,
        dataset,
        dataset.clips,
        prefix="",
        share=slice(None),
        changed="refuse",
        full=False,
    )
    lap("compare sources")
    todo = what_is_left(store, stock.share)
    lap("count")
    store.add_clips(clip.row() for clip in stock.clips)
    lap("compare labels")
    total = sum(times.values())
    cpu = time.process_time()
    print("  ".join(f"{name} {seconds:.2f} s" for name, seconds in times.items()))
    print(
        f"decided in {total:.2f} s ({cpu - cpu_before:.2f} s of a core): {len(todo.done)} done, "
        f"{todo.left_count} left, {len(stock.read)} files read; "
        f"{'met' if total < 10 else 'MISSED'}: 10 s"
    )
    assert not todo.left
    assert not stock.read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=220_847)
    parser.add_argument("--parts", type=int, default=900)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--decide", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.decide:
        with without_collections():  # as in extract/engines/run.py
            decide(chosen.decide)
        return
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        make(Path(folder), chosen.clips, chosen.parts)
        spent = time.perf_counter() - began
        print(f"made {chosen.clips} files and a store of them in {spent:.0f} s")
        for _ in range(chosen.runs):
            subprocess.run([sys.executable, __file__, "--decide", folder], check=True)


if __name__ == "__main__":
    main()
