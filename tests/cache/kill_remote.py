"""SIGKILL writers into object storage at random moments, and look at what is left.

Two writers side by side share a list of clips, of which some cannot be read; one begins at its
other end, so both write some. `make kill-test` runs it; by hand:
    python tests/cache/kill_remote.py --kills 40
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from kill_rounds import in_child
from s3_server import s3_server
from sample_clips import PRODUCER, SPEC, clip_ids, make_record, make_tokens

from stepcli.cache import create_store, open_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.parts import zarr_tokens  # noqa: F401 (else each child imports it anew)
from stepcli.cache.parts.commit import sweep_staging
from stepcli.cache.schema.clips import ClipRow, Failure
from stepcli.cache.storage import obstore_client  # noqa: F401 (likewise)
from stepcli.cache.storage import writer_identity as owner
from stepcli.cache.storage.objects import ObjectPath
from stepcli.cache.storage.places import place_of
from stepcli.runtime.errors import StoreNotFound

CLIPS = 24
BROKEN = frozenset(clip_ids(CLIPS)[5::8])
WRITERS = 2
MOST_ROUNDS = 400


def write(url: str, writer: int) -> None:
    """What one host does: all that it does not find done when it starts."""
    store = create_store(url, SPEC, dataset="test")
    store.add_clips(ClipRow(clip, "label") for clip in clip_ids(CLIPS))
    put_aside = store.quarantined()
    with store.writer(PRODUCER, part_clips=2) as out:
        for clip in clip_ids(CLIPS)[:: -1 if writer else 1]:
            if clip in store or clip in put_aside:
                continue
            if clip in BROKEN:
                out.quarantine(Failure(clip, f"videos/{clip}.webm", "VideoError", "no frames"))
            else:
                out.add(make_record(clip), make_tokens(clip))


def check(url: str, answer: Path) -> None:
    """Every clip that a reader sees is whole, right and there once; how many there are."""
    try:
        store = open_store(url)
    except StoreNotFound:
        answer.write_text("0")
        return
    assert len(store.ids) == len(set(store.ids))
    assert not BROKEN & set(store.ids)
    assert set(store.quarantined()) <= BROKEN
    for clip, tokens in zip(store.ids, store.read(store.ids), strict=True):
        assert np.array_equal(tokens, make_tokens(clip).astype(np.float16)), clip
    report = verify_store(url, workers=1)
    assert report.ok, report.problems
    answer.write_text(str(len(store)))


def check_whole(url: str) -> None:
    """Done + quarantined = data set; what killed writers left can be seen by nobody, and swept."""
    store = open_store(url)
    assert sorted([*store.ids, *store.quarantined()]) == clip_ids(CLIPS)
    assert set(store.quarantined()) == BROKEN
    owner.LEASE_HOURS = -1.0  # as if a day had gone by
    sweep_staging(store.path)
    place = place_of(url)
    assert isinstance(place, ObjectPath)
    held = {name.split("/")[0] for name in (place / "parts").names()}
    assert held == set(open_store(url).parts)
    left = list(Path(tempfile.gettempdir()).glob("stepcli-*"))
    assert not left, left


def run_writers(url: str, kill_after: list[float] | None) -> int:
    """Both writers at once, each killed at its moment if it still runs then; how many were."""
    children = []
    for writer in range(WRITERS):
        child = os.fork()
        if child == 0:
            try:
                write(url, writer)
                os._exit(0)
            except BaseException as error:  # noqa: BLE001 (the parent sees the exit code)
                os.write(2, f"writer {writer}: {type(error).__name__}: {error}\n".encode())
                os._exit(1)
        children.append(child)
    started = time.monotonic()
    if kill_after is not None:
        for moment, child in sorted(zip(kill_after, children, strict=True)):
            time.sleep(max(0.0, started + moment - time.monotonic()))
            os.kill(child, signal.SIGKILL)  # one that has ended is not reaped yet: no other pid
    statuses = [os.waitpid(child, 0)[1] for child in children]
    assert not any(os.WIFEXITED(status) and os.WEXITSTATUS(status) for status in statuses)
    return sum(os.WIFSIGNALED(status) for status in statuses)


def run(kills: int, seed: int, folder: Path) -> dict[str, int]:
    """Kill writers until that many are killed; each store is worked on until it is whole."""
    moments = random.Random(seed)
    counts = {"killed": 0, "stores": 0, "resumed_with_some_done": 0}
    started = time.monotonic()
    run_writers(f"s3://features/{uuid4().hex}", None)
    longest = 1.1 * (time.monotonic() - started)
    url, before = f"s3://features/{uuid4().hex}", 0
    answer = folder / "count"
    for _ in range(MOST_ROUNDS):
        killed = run_writers(url, [moments.uniform(0, longest) for _ in range(WRITERS)])
        counts["killed"] += killed
        in_child(partial(check, url, answer))
        done = int(answer.read_text())
        assert done >= before, f"{before} clips were committed, {done} are left"
        counts["resumed_with_some_done"] += 0 < done < CLIPS - len(BROKEN)
        before = done
        enough = counts["killed"] >= kills
        if enough:
            run_writers(url, None)
        if enough or killed < WRITERS:  # one that ended by itself left nothing to do
            in_child(partial(check_whole, url))
            counts["stores"] += 1
            url, before = f"s3://features/{uuid4().hex}", 0
        if enough:
            return counts
    raise AssertionError(f"only {counts} in {MOST_ROUNDS} rounds")


@contextmanager
def a_server(folder: Path, endpoint: str | None) -> Iterator[str]:
    """The server asked for, else one of our own."""
    if endpoint is not None:
        yield endpoint
        return
    (folder / "server").mkdir()
    with s3_server(folder / "server") as own:
        yield own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--endpoint", help="of a server that runs, with a bucket features")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kill-remote-"))
    (folder / "tmp").mkdir()
    tempfile.tempdir = str(folder / "tmp")
    try:
        with a_server(folder, asked.endpoint) as endpoint:
            os.environ |= {
                "AWS_ENDPOINT_URL": endpoint,
                "AWS_ALLOW_HTTP": "true",
                "AWS_ACCESS_KEY_ID": "any",
                "AWS_SECRET_ACCESS_KEY": "any",
                "AWS_REGION": "us-east-1",
            }
            if asked.endpoint is None:  # a new server's first writes are slow
                run_writers(f"s3://features/{uuid4().hex}", None)
            sys.stdout.write(f"object storage: {run(asked.kills, asked.seed, folder)}\n")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
