"""Finding copies among the clips of a store as large as Something-Something v2.

    python benchmarks/duplicates.py

Tokens are tiny, since none is read except those of clips with equal checksums; indexes have the
size of real ones, with 16 times per clip.
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
from store_clips import PRODUCER, Size, record

from stepcli.cache import create_store, open_store
from stepcli.cache.schema.clips import ClipRow, Source
from stepcli.cache.schema.groups import group_keys
from stepcli.cache.store.duplicates import find_copies

CLIPS, PARTS, RUNS = 220_847, 54, 5


def main() -> None:
    size = Size(CLIPS, 16, 1, 4)
    with tempfile.TemporaryDirectory() as folder:
        for copied in (0, 200, 20_000):
            place = Path(folder, str(copied))
            store = create_store(place, size.spec(), dataset="benchmark", format="hdf5")
            with store.writer(PRODUCER, part_clips=-(-CLIPS // PARTS), part_seconds=1e9) as writer:
                for number in range(CLIPS):
                    # The last clips are copies of the first ones, in other parts.
                    like = number if number < CLIPS - copied else number - (CLIPS - copied)
                    clip = np.random.default_rng(like).standard_normal(size.shape)
                    path = f"videos/{number}.mp4"
                    origin = Source("/data", path, 1, 1, f"sha256:{number:064x}")
                    about = replace(record(number, size.frames), source=path, origin=origin)
                    writer.add(about, clip.astype(np.float16))
            store = open_store(place)
            rows = [
                ClipRow(clip, "label", group=f"group {i // 4}") for i, clip in enumerate(store.ids)
            ]
            seconds, united = [], []
            for _ in range(RUNS):
                start = time.perf_counter()
                copies = find_copies(store)
                seconds.append(time.perf_counter() - start)
                group_keys(rows, copies.sets)
                united.append(time.perf_counter() - start - seconds[-1])
            if len(copies.sets) != copied:
                raise SystemExit(f"{len(copies.sets)} sets of {copied}")
            print(
                f"{CLIPS:,} clips, {copied:,} copied: found in {median(seconds):.2f} s, "
                f"groups united in {median(united):.2f} s"
            )


if __name__ == "__main__":
    main()
