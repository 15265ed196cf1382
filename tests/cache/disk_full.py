"""Fill a real disk in the middle of a part: a small tmpfs in a mount namespace of its own.

    unshare --map-root-user --mount python tests/cache/disk_full.py

Not in the suite because not every machine lets its users mount; `make kill-test` runs it.
"""

import errno
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).parent))

from sample_clips import PRODUCER, SPEC, clip_ids, make_record, make_tokens

from stepcli.cache import create_store, open_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.schema.manifest import Format
from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.storage.local import LocalPath
from stepcli.runtime.errors import StoreError

BIG = StoreSpec.model_validate({**dict(SPEC), "dim": 2000})
CLIPS = 60
"""Clips of 60 KB: 3.6 MB in all, on a disk of 2 MB."""


def write(root: Path, form: Format) -> None:
    store = create_store(root, BIG, dataset="test", format=form)
    with store.writer(PRODUCER) as writer:
        for number, clip in enumerate(clip_ids(CLIPS)):
            if clip not in store:
                writer.add(make_record(clip), make_tokens(clip, BIG))
            if number == 9:
                writer.commit()


def fill_and_resume(disk: Path, form: Format) -> str:
    root = disk / form
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(500_000))
    try:
        write(root, form)
    except StoreError as error:
        said = str(error)
    else:
        raise AssertionError("the disk was large enough")
    cause = "No space left on device"
    if cause not in said:
        raise AssertionError(said)
    store = open_store(root)
    if not set(clip_ids(10)) <= set(store.ids) or not verify_store(root).ok:
        raise AssertionError(f"{len(store)} clips kept, {verify_store(root).problems}")
    if list((root / ".staging").iterdir()):
        raise AssertionError("the unfinished part still takes space")
    kept = len(store)
    subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
    ballast.unlink()
    write(root, form)
    store.refresh()
    if store.ids != clip_ids(CLIPS) or not verify_store(root).ok:
        raise AssertionError("the resumed store is not whole")
    return f"{form}: {kept} of {CLIPS} clips kept when full ({errno.errorcode[errno.ENOSPC]})"


def main() -> None:
    for form in get_args(Format):
        with tempfile.TemporaryDirectory() as folder:
            mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder]
            subprocess.run(mount, check=True)
            try:
                sys.stdout.write(fill_and_resume(LocalPath(folder), form) + ", resumed whole\n")
            finally:
                subprocess.run(["umount", folder], check=True)


if __name__ == "__main__":
    main()
