"""verify, repair and readers beside compacts and writers in other processes: nothing lost or false.

python tests/cache/beside_rounds.py --rounds 20
"""

import argparse
import sys
import tempfile
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fault_actions import require_tokens
from sample_clips import PRODUCER, clip_ids, fill_store, make_record, make_tokens

from stepcli.cache import open_store
from stepcli.cache.maintenance.compact import compact_store
from stepcli.cache.maintenance.repair import repair_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.storage.local import LocalPath

CLIPS = 12


def change(root: Path, done: Event) -> None:
    """Write small parts, with newer copies of clips among them, and compact; three times."""
    try:
        store = open_store(root)
        for generation in range(1, 4):
            with store.writer(PRODUCER, part_clips=1, generation=4 * generation) as writer:
                for clip in clip_ids(4):
                    writer.add(make_record(clip), make_tokens(clip))
            compact_store(root)
    finally:
        done.set()


def run_round(root: Path, form: str) -> tuple[int, list[object]]:
    """(looks taken, what was wrong)."""
    fill_store(root, form, CLIPS, part_clips=1)  # type: ignore[arg-type]
    context = get_context("fork")
    done = context.Event()
    changing = context.Process(target=change, args=(root, done))
    changing.start()
    wrong: list[object] = []
    looks = 0
    while not done.is_set() or not looks:
        wrong += verify_store(root, workers=1).problems
        plan = repair_store(root, workers=1)
        wrong += [*plan.parts, *plan.left, *plan.dropped_clips]
        require_tokens(open_store(root), clip_ids(CLIPS))
        looks += 1
    changing.join()
    if changing.exitcode:
        wrong.append(f"compact ended with {changing.exitcode}")
    require_tokens(open_store(root), clip_ids(CLIPS))
    wrong += verify_store(root, workers=1).problems
    return looks, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    total, failed = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            looks, wrong = run_round(LocalPath(folder) / str(number), ("zarr", "hdf5")[number % 2])
            total += looks
            failed += bool(wrong)
            if wrong:
                sys.stdout.write(f"WRONG round {number}: {wrong}\n")
    sys.stdout.write(f"{rounds} rounds beside compact, {total} looks, {failed} wrong\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
