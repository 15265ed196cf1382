"""What every storage must do: subclass `StorageContract` with a fixture `root`."""

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest

from stepcli.cache.storage.handles import ABSENT
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.storage.places import place_of
from stepcli.runtime.errors import DamagedStore

RECORD = "part.json"
PART = "000000-" + 32 * "a"


def staged_part(root: StoragePath, files: dict[str, bytes], name: str = PART) -> Path:
    """A folder that is complete and ready to be published."""
    folder = root.staging(f"writer-{uuid.uuid4().hex}", make=True) / name
    for path, content in {**files, RECORD: b"{}"}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def publish(root: StoragePath, files: dict[str, bytes], name: str = PART) -> StoragePath:
    sizes = {path: len(content) for path, content in files.items()}
    (root / "parts" / name).publish(staged_part(root, files, name), sizes, RECORD)
    return root / "parts" / name


class StorageContract:
    """`root` is the place of a store that does not exist yet, prepared."""

    def test_names_and_addresses(self, root: StoragePath) -> None:
        path = root / "parts" / "x" / "tokens.h5"
        assert (path.name, (root / "parts/x").name) == ("tokens.h5", "x")
        assert str(path) == f"{root}/parts/x/tokens.h5"
        assert path == root / "parts/x/tokens.h5"
        assert len({path, root / "parts/x/tokens.h5", root}) == 2
        assert place_of(str(root)) == root
        assert place_of(root) is root
        assert place_of(root.address) == root
        assert place_of(root.location).location == root.location
        assert path.location == f"{root.location}/parts/x/tokens.h5"
        assert (root.local is None) == ("://" in str(root))
        copy = ForkingPickler.loads(bytes(ForkingPickler.dumps(path)))
        assert (copy, type(copy)) == (path, type(path))

    def test_small_files_are_whole_or_missing(self, root: StoragePath) -> None:
        path = root / "file.json"
        with pytest.raises(FileNotFoundError):
            path.read(10)
        path.remove()
        path.write(b"first")
        path.write(b"second")
        assert path.read(6) == b"second"
        with pytest.raises(DamagedStore, match="expected at most 5 bytes, found 6"):
            path.read(5)
        (root / "empty").write(b"")
        assert (root / "empty").read(0) == b""
        path.remove()
        with pytest.raises(FileNotFoundError):
            path.read(10)

    def test_files_in_folders_of_folders(self, root: StoragePath) -> None:
        folder = (root / "text").make_folder() / "tower"
        folder.make_folder()
        (folder / "text.json").write(b"abc")
        assert folder.read_beneath("text.json", 3) == b"abc"
        with pytest.raises(DamagedStore, match="expected at most 2 bytes, found 3"):
            folder.read_beneath("text.json", 2)
        with pytest.raises(FileNotFoundError):
            folder.read_beneath("other.json", 3)

    def test_a_file_is_created_once(self, root: StoragePath) -> None:
        path = root / "manifest.json"
        barrier = threading.Barrier(6)

        def create(number: int) -> bool:
            barrier.wait()
            return path.create(b"%d" % number)

        with ThreadPoolExecutor(6) as pool:
            created = list(pool.map(create, range(6)))
        assert created.count(True) == 1
        assert path.read(9) == b"%d" % created.index(True)
        assert root.names() == ["manifest.json"]

    def test_a_swap_that_came_too_late_changes_nothing(self, root: StoragePath) -> None:
        path = root / "tables.json"
        absent = path.look(9)
        assert (absent.content, absent.digest) == (None, ABSENT)
        with root.exclusive():
            assert path.swap(b"one", absent)
            assert not path.swap(b"two", absent)
        first = path.look(3)
        assert first.content == b"one"
        path.write(b"two")
        with root.exclusive():
            assert not path.swap(b"three", first)
            assert path.swap(b"three", path.look(3))
        with pytest.raises(DamagedStore, match="expected at most 4 bytes, found 5"):
            path.look(4)
        last = path.look(5)
        path.remove()
        with root.exclusive():
            assert not path.swap(b"four", last)
        assert path.look(9).content is None

    def test_no_change_of_several_writers_is_lost(self, root: StoragePath) -> None:
        path = root / "counter"
        path.write(b"0")

        def add(_: int) -> None:
            while True:
                with root.exclusive():
                    seen = path.look(9)
                    if path.swap(b"%d" % (int(seen.content or b"0") + 1), seen):
                        return

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(add, range(12)))
        assert path.read(9) == b"12"

    def test_listings(self, root: StoragePath) -> None:
        folder = root / "parts"
        assert (folder.names(), folder.child_names(), dict(folder.entries())) == ([], [], {})
        assert not folder.is_there()
        contents = {"a/b/c": b"xyz", "a/d": b"", "ab": b"x"}
        for name, content in contents.items():
            below = folder.make_folder()
            for step in name.split("/")[:-1]:
                below = (below / step).make_folder()
            (folder / name).write(content)
        (root / "parts2").write(b"a neighbour")
        assert folder.names() == sorted(contents)
        assert (folder / "a").names() == ["b/c", "d"]
        assert folder.child_names() == ["a", "ab"]
        sizes = {name: entry.size for name, entry in folder.entries().items()}
        assert sizes == {name: len(content) for name, content in contents.items()}
        assert folder.is_there()
        assert (folder / "a").is_there()
        folder.remove_all()
        folder.remove_all()
        assert root.names() == ["parts2"]

    def test_a_file_is_read_in_ranges_and_blocks(self, root: StoragePath, tmp_path: Path) -> None:
        content = np.random.default_rng(0).bytes(5_000)
        part = publish(root, {"tokens/c": content})
        path = part / "tokens/c"
        assert path.size() == 5_000
        assert b"".join(bytes(block) for block in path.blocks()) == content
        file = part.open_ranges("tokens/c")
        assert bytes(file.read(100, 4_900)) == content[4_900:]
        for offset in (4_901, 5_000, 9_000):
            with pytest.raises(DamagedStore, match="ends at byte 5000"):
                file.read(100, offset)
        fresh = part.open_ranges("tokens/c")
        with pytest.raises(DamagedStore, match="ends at byte 5000"):
            fresh.read(100, 4_901)
        path.download(tmp_path / "deep" / "copy")
        assert (tmp_path / "deep" / "copy").read_bytes() == content
        missing: tuple[Callable[[], object], ...] = (
            (part / "other").size,
            lambda: list((part / "other").blocks()),
            lambda: part.open_ranges("other").read(1, 0),
            lambda: (part / "other").download(tmp_path / "other"),
        )
        for call in missing:
            with pytest.raises(FileNotFoundError):
                call()
        assert not (tmp_path / "other").exists()

    def test_many_ranges_of_many_files(self, root: StoragePath) -> None:
        names = ["000000-" + 32 * letter for letter in "ab"]
        contents = [np.random.default_rng(number).bytes(1_000) for number in range(2)]
        for name, content in zip(names, contents, strict=True):
            publish(root, {"tokens/c": content}, name)
        source = (root / "parts").clip_source()
        which = np.array([1, 0, 0, 1, 0], np.int32)
        offsets = np.array([900, 0, 100, 900, 50])
        target = bytearray(500)
        for _ in range(2):  # the second time files are open, sizes known
            source.read(names, "tokens/c", which, offsets, 100, lambda: memoryview(target))
            expected = [
                contents[n][start : start + 100] for n, start in zip(which, offsets, strict=True)
            ]
            assert bytes(target) == b"".join(expected)
            source.forget()

        def never() -> memoryview:
            raise AssertionError("nothing is allocated for bytes that are not there")

        one = np.array([1], np.int32)
        with pytest.raises(DamagedStore, match="ends"):
            source.read(names, "tokens/c", one, np.array([901]), 100, never)
        with pytest.raises(FileNotFoundError):
            source.read(names, "tokens/d", one, np.array([0]), 100, never)

    def test_a_part_appears_whole_and_goes_whole(self, root: StoragePath) -> None:
        parts = root / "parts"
        assert parts.published(RECORD)[0] == set()
        files = {"index.parquet": b"index", "tokens/c": b"tokens"}
        staged = staged_part(root, files)
        assert parts.published(RECORD)[0] == set()
        sent = (parts / PART).publish(staged, {k: len(v) for k, v in files.items()}, RECORD)
        assert sent in (0, 11)
        assert not staged.exists()
        assert parts.published(RECORD)[0] == {PART}
        assert (parts / PART).names() == sorted([*files, RECORD])
        trash = root.staging("trash", make=True)
        for _ in range(2):
            (parts / PART).withdraw(lambda: trash, RECORD)
            assert parts.published(RECORD)[0] == set()
        assert not (parts / PART).is_there()

    def test_moves(self, root: StoragePath) -> None:
        publish(root, {"tokens/c": b"tokens"})
        (root / "clips.parquet").write(b"clips")
        damaged = (root / ".damaged").make_folder()
        (root / "parts" / PART).move(damaged / PART, first=RECORD)
        (root / "clips.parquet").move(damaged / "clips", first=RECORD)
        assert root.names() == [
            f".damaged/{PART}/{RECORD}",
            f".damaged/{PART}/tokens/c",
            ".damaged/clips",
        ]
        assert (damaged / "clips").read(9) == b"clips"
        with pytest.raises(FileNotFoundError):
            (root / "parts" / PART).move(damaged / "again", first=RECORD)

    def test_logs(self, root: StoragePath) -> None:
        logs = [(root / "failures").open_log(writer) for writer in ("a", "b", "c")]
        for number in range(3):
            for log in logs[:2]:
                log.append(b"%d\n" % number)
        for log in logs:
            log.close()
        names = (root / "failures").child_names()
        for writer in "ab":
            mine = [name for name in names if name.startswith(writer)]
            lines = [(root / "failures" / name).read(99) for name in mine]
            assert b"".join(lines) == b"0\n1\n2\n"
        assert not any(name.startswith("c") for name in names), "nothing was appended"

    def test_drafts_and_the_dead_are_swept(self, root: StoragePath) -> None:
        (root / "keep").write(b"x")
        root.sweep_drafts(lambda name: name.endswith(".draft"))
        assert root.names() == ["keep"]
        alive = root.staging("not-an-owner", make=True)
        assert root.sweep_staging("parts", RECORD, lambda name: True) == []
        assert alive.is_dir()
        alive.rmdir()

    def test_what_else_a_store_asks_for(self, root: StoragePath) -> None:
        free = root.free_bytes()
        assert free is None or free > 0
        assert isinstance(root.index_on_open, bool)
        root.prepare()
