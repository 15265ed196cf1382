"""Flip single bits in a store's files, one at a time, and let verify look. Run as a process of
its own, so that a parser's crash shows as a signal.

    python tests/cache/flip_bits.py --format zarr --flips 500
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).parent))

from sample_clips import PRODUCER, SPEC, clip_ids, make_record, make_tokens

from stepcli.cache import create_store, open_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.parts.tombstones import bury
from stepcli.cache.schema.clips import ClassRow, ClipRow, Failure
from stepcli.cache.schema.manifest import Format
from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.storage.local import LocalPath
from stepcli.cache.store.consolidated import save_consolidated
from stepcli.cache.store.consolidated_records import NO_RECORDS, save_records
from stepcli.cache.store.snapshot import read_index
from stepcli.runtime.errors import StepcliError


def make_store(root: Path, form: Format) -> None:
    """A store with a file of every kind."""
    spec = StoreSpec.model_validate({**dict(SPEC), "dtype": "int8-channel"})
    store = create_store(root, spec, dataset="test", format=form)
    store.add_clips(ClipRow(clip, "label", "train") for clip in clip_ids(7))
    store.replace_classes([ClassRow("label", 0, prompt="a label")])
    with store.writer(PRODUCER, part_clips=2) as writer:
        for clip in clip_ids(6):
            writer.add(make_record(clip), make_tokens(clip))
        writer.quarantine(Failure("clip-0006", "clip-0006.webm", "VideoError", "no {frames}"))
        writer.quarantine(Failure("clip-0006", "clip-0006.webm", "VideoError", "again", 2))
    store.refresh()
    save_consolidated(root, store.manifest, store.snapshot)
    tables = {name: read_index(root, name, store.manifest) for name in store.parts}
    save_records(root, store.manifest, store.parts, tables, NO_RECORDS)
    bury(root, "000000-" + 32 * "0", "damaged", ["clip-0000"])


def undetected(root: Path, generator: random.Random, flips: int) -> list[str]:
    """Flip, verify, open and read, put back; the flips that verify did not find."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size)
    missed = []
    for _ in range(flips):
        path = generator.choice(files)
        whole = path.read_bytes()
        bit = generator.randrange(8 * len(whole))
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        if verify_store(root, workers=1).ok:
            missed.append(f"{path.relative_to(root)} bit {bit}")
        try:
            store = open_store(root)
            store.read(store.ids), store.records(store.ids)
            store.clips(), store.classes(), store.quarantined()
        except StepcliError:
            pass  # said clearly; any other exception ends this process
        path.write_bytes(whole)
    return missed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--format", choices=get_args(Format), required=True)
    parser.add_argument("--flips", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = LocalPath(folder) / "store"
        make_store(root, chosen.format)
        report = verify_store(root)
        if not report.ok:
            raise AssertionError(report.problems)
        missed = undetected(root, random.Random(chosen.seed), chosen.flips)
    sys.stdout.write(f"{chosen.format}: {chosen.flips} flips, {len(missed)} missed {missed}\n")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
