"""Two processes that change one store's tables at the same moment: nothing lost, nothing false.

python tests/cache/change_rounds.py --rounds 20     on a disk, also as if it had no locks, and in S3

Each round starts two changes together: `labels --from` twice, or `labels --from` beside `merge`.
Afterwards every line of both must be there; meanwhile a third process looks at the tables all the
time and must find nothing wrong.
"""

import argparse
import errno
import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from s3_server import s3_server
from sample_clips import PRODUCER, SPEC, make_record, make_tokens

from stepcli.cache import create_store, open_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.schema.clips import ClassRow, ClipRow
from stepcli.cache.storage.local import LocalPath

WITHOUT_LOCKS = "CHANGE_ROUNDS_WITHOUT_LOCKS"
"""Set in the environment of children that are to find a file system without locks."""
CLIPS = 600
"""Rows of the table: enough that reading and writing it takes a while."""


def _refuse(fd: int, operation: int) -> None:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def serve() -> None:
    """A child: one task a line of its input, one answer a line of its output."""
    if os.environ.get(WITHOUT_LOCKS):
        fcntl.flock = _refuse  # type: ignore[assignment]
    from stepcli.cache.maintenance.merge import merge_stores
    from stepcli.cache.maintenance.relabel import relabel
    from stepcli.cache.storage.places import place_of
    from stepcli.cache.tables import changes as tables

    _say("ready")
    for line in sys.stdin:
        what, store, other = json.loads(line)
        answer = ""
        try:
            if what == "labels":
                relabel(place_of(store), Path(other))
            elif what == "merge":
                merge_stores(store, [other])
            else:
                for _ in range(int(other)):
                    answer = answer or "; ".join(map(str, tables.wrong_tables(place_of(store))))
        except Exception as error:  # noqa: BLE001 (whatever it is goes to the parent)
            answer = f"{type(error).__name__}: {error}"
        _say(json.dumps(answer))


class Child:
    """A process that does tasks."""

    def __init__(self) -> None:
        command = [sys.executable, __file__, "--serve"]
        pipes = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipes, stdout=pipes, text=True)
        assert self._read() == "ready\n"

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def start(self, *task: str) -> None:
        """Begin a task; its answer is to be read before the next."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        """What went wrong in the task; "" when nothing did."""
        return str(json.loads(self._read()))

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@contextmanager
def children(number: int) -> Iterator[list[Child]]:
    """Processes that are ready for tasks."""
    with ExitStack() as stack:
        found = []
        for _ in range(number):
            child = Child()
            stack.callback(child.close)
            found.append(child)
        yield found


def run_rounds(place: str, folder: Path, rounds: int) -> int:
    """Rounds of both kinds on a store made at `place`; returns the number of lines checked."""
    ids = [f"clip-{number:04d}" for number in range(CLIPS)]
    store = create_store(place, SPEC, dataset="test")
    store.add_clips(ClipRow(clip, "old", "train") for clip in ids)
    checked = 0
    with children(3) as (one, other, watcher):
        for number in range(rounds):
            for beside in ("labels", "merge"):
                label = f"{beside} {number}"
                second = folder / f"source-{number}"
                half = folder / "first.csv", folder / "second.csv"
                for part, path in enumerate(half):
                    lines = [f"{clip},{label} {part}" for clip in ids[part::2]]
                    path.write_text("\n".join(["id,label", *lines]))
                if beside == "merge":
                    source = create_store(second, SPEC, dataset="test")
                    source.add_clips([ClipRow(f"merged-{number}", "new")])
                    source.replace_classes([ClassRow("new", 0)])
                    with source.writer(PRODUCER) as writer:
                        clip = f"merged-{number}"
                        writer.add(make_record(clip), make_tokens(clip))
                one.start("labels", place, str(half[0]))
                other.start(beside, place, str(half[1] if beside == "labels" else second))
                watcher.start("watch", place, "3")
                for child in (one, other, watcher):
                    assert (said := child.answer()) == "", f"round {number}, {beside}: {said}"
                found = {row.id: row.label for row in store.clips()}
                for part in (0, 1) if beside == "labels" else (0,):
                    lost = [clip for clip in ids[part::2] if found[clip] != f"{label} {part}"]
                    assert not lost, f"round {number}, {beside}: {len(lost)} edits lost"
                merged = number + (beside == "merge")
                assert len(found) == CLIPS + merged, f"round {number}: {len(found)} lines"
                checked += len(found)
    assert verify_store(place).problems == []
    assert [row.name for row in open_store(place).classes()] == ["new"]
    return checked


def main() -> None:
    """All rounds, on a disk and in S3."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--serve", action="store_true")
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    with tempfile.TemporaryDirectory() as folder:
        disk = LocalPath(folder, "disk")
        disk.mkdir()
        checked = run_rounds(str(disk / "store"), disk, options.rounds)
        _say(f"disk: {options.rounds} rounds of each kind, {checked} lines checked, none lost")
        lockless = LocalPath(folder, "lockless")
        lockless.mkdir()
        os.environ[WITHOUT_LOCKS] = "1"
        checked = run_rounds(str(lockless / "store"), lockless, options.rounds)
        del os.environ[WITHOUT_LOCKS]
        _say(f"without locks: {options.rounds} rounds of each kind, {checked} lines, none lost")
        cloud = Path(folder, "cloud")
        cloud.mkdir()
        with s3_server(cloud) as endpoint:
            os.environ.update(
                AWS_ENDPOINT_URL=endpoint,
                AWS_ALLOW_HTTP="true",
                AWS_ACCESS_KEY_ID="any",
                AWS_SECRET_ACCESS_KEY="any",
                AWS_REGION="us-east-1",
            )
            checked = run_rounds("s3://features/store", cloud, options.rounds)
        _say(f"S3: {options.rounds} rounds of each kind, {checked} lines checked, none lost")


if __name__ == "__main__":
    main()
