"""What every store must do: one suite, run for each format on each storage."""

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from sample_clips import PRODUCER, SPEC, clip_ids, fill_store, make_record, make_tokens

from stepcli.cache import create_store, open_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.schema.clips import ClassRow, ClipRow, Failure
from stepcli.cache.schema.manifest import Format
from stepcli.cache.schema.spec import Segment, StoreSpec
from stepcli.cache.storage.path import Location
from stepcli.cache.storage.places import place_of
from stepcli.runtime.errors import (
    ClipNotFound,
    DamagedStore,
    SpecMismatch,
    StoreNotFound,
    TokensError,
    UsageError,
)


class StoreContract:
    """Subclassed for each format, and for each storage with a fixture `root`: a folder or a URL."""

    format: ClassVar[Format]
    token_file: ClassVar[str]

    def test_clips_come_back_rounded_to_the_stores_dtype(self, root: Location) -> None:
        fill_store(root, self.format, 10)
        store = open_store(root)
        assert store.ids == clip_ids(10)
        assert len(store) == 10
        assert len(store.parts) == 3
        tokens = store.read(store.ids)
        expected = np.stack([make_tokens(clip) for clip in clip_ids(10)]).astype(np.float16)
        np.testing.assert_array_equal(tokens, expected)
        assert tokens.dtype == np.float16

    @pytest.mark.parametrize("dtype", ["float16", "float32"])
    @pytest.mark.parametrize("layers", [(-1,), (-3, -1)])
    def test_every_dtype_and_several_layers(
        self, root: Location, dtype: str, layers: tuple[int, ...]
    ) -> None:
        spec = StoreSpec.model_validate({**dict(SPEC), "dtype": dtype, "layers": layers})
        store = fill_store(root, self.format, 3, spec=spec)
        assert store.read(clip_ids(3)).shape == (3, *spec.clip_shape)
        np.testing.assert_array_equal(
            store.read(["clip-0001"])[0], make_tokens("clip-0001", spec).astype(dtype)
        )
        assert verify_store(root).ok

    def test_ids_positions_repeats_and_order(self, root: Location) -> None:
        store = fill_store(root, self.format, 9)
        by_id = store.read(["clip-0007", "clip-0000", "clip-0007"])
        by_position = store.read(np.array([7, 0, 7]))
        np.testing.assert_array_equal(by_id, by_position)
        np.testing.assert_array_equal(by_id[0], by_id[2])
        assert store.read([]).shape == (0, *SPEC.clip_shape)

    def test_reads_into_the_callers_buffer(self, root: Location) -> None:
        store = fill_store(root, self.format, 4)
        out = np.full((2, *SPEC.clip_shape), 7, np.float16)
        assert store.read(["clip-0003", "clip-0001"], out) is out
        np.testing.assert_array_equal(out[1], make_tokens("clip-0001").astype(np.float16))
        with pytest.raises(ValueError, match="out: expected"):
            store.read(["clip-0003"], out)
        with pytest.raises(ValueError, match="out: expected"):
            store.read(["clip-0003"], np.empty((1, *SPEC.clip_shape), np.float32))
        with pytest.raises(ValueError, match="positions"):
            store.read(np.array([4]))

    def test_record_tells_what_extraction_found(self, root: Location) -> None:
        store = fill_store(root, self.format, 6)
        assert store.record("clip-0005") == make_record("clip-0005")
        with pytest.raises(ClipNotFound, match="'nowhere'"):
            store.record("nowhere")
        with pytest.raises(ClipNotFound, match="'nowhere'"):
            store.read(["clip-0001", "nowhere"])

    def test_reader_sees_its_snapshot_until_it_refreshes(self, root: Location) -> None:
        writing = create_store(root, SPEC, dataset="test", format=self.format)
        reader = open_store(root)
        with writing.writer(PRODUCER) as writer:
            writer.add(make_record("a"), make_tokens("a"))
            staged = place_of(root).staging(writer._staging.owner.name)
            assert list(staged.iterdir())
            assert len(open_store(root)) == 0
            writer.commit()
            assert "a" not in reader
            reader.refresh()
            assert "a" in reader
            writer.add(make_record("b"), make_tokens("b"))
        assert len(open_store(root)) == 2
        assert not staged.exists()

    def test_a_part_closes_at_the_first_limit(self, root: Location) -> None:
        store = create_store(root, SPEC, dataset="test", format=self.format)
        clip_bytes = make_tokens("a").size * 2
        limits = [{"part_clips": 2}, {"part_bytes": 2 * clip_bytes + 1}, {"part_seconds": 0.0}]
        expected = [2, 2, 1]
        for number, (limit, most) in enumerate(zip(limits, expected, strict=True)):
            before = len(store.parts)
            with store.writer(PRODUCER, **limit) as writer:  # type: ignore[arg-type]
                for clip in clip_ids(4):
                    writer.add(make_record(f"{number}-{clip}"), make_tokens(clip))
            store.refresh()
            assert len(store.parts) - before == 4 // most

    def test_added_clips_survive_an_exception(self, root: Location) -> None:
        store = create_store(root, SPEC, dataset="test", format=self.format)

        def interrupted() -> None:
            with store.writer(PRODUCER) as writer:
                writer.add(make_record("a"), make_tokens("a"))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        store.refresh()
        assert store.ids == ["a"]
        assert verify_store(root).ok

    def test_tokens_that_do_not_fit_are_refused_and_the_rest_kept(self, root: Location) -> None:
        store = create_store(root, SPEC, dataset="test", format=self.format)
        with store.writer(PRODUCER) as writer:
            writer.add(make_record("good"), make_tokens("good"))
            for value, reason in ((1e6, "too large for float16"), (np.nan, "not finite")):
                bad = make_tokens("bad")
                bad[1, 2, 3] = value
                with pytest.raises(TokensError, match=reason):
                    writer.add(make_record("bad"), bad)
            with pytest.raises(TokensError, match="shape"):
                writer.add(make_record("bad"), make_tokens("bad")[:2])
            with pytest.raises(TokensError, match="frame times"):
                writer.add(make_record("bad", frames=2), make_tokens("bad"))
            for clip, source in (("", "a"), ("x" * 40_000, "a"), ("a", "not-utf8-\udc80.webm")):
                record = replace(make_record("bad"), id=clip, source=source)
                with pytest.raises(TokensError, match="must be UTF-8"):
                    writer.add(record, make_tokens("bad"))
            with pytest.raises(TokensError, match="floating-point"):
                writer.add(make_record("bad"), make_tokens("bad").astype(np.int64))
            writer.quarantine(Failure("bad", "bad.webm", "TokensError", "too large"))
        store.refresh()
        assert store.ids == ["good"]
        assert store.quarantined()["bad"].message == "too large"

    def test_done_beats_quarantined_and_the_latest_failure_counts(self, root: Location) -> None:
        store = create_store(root, SPEC, dataset="test", format=self.format)
        with store.writer(PRODUCER) as writer:
            writer.quarantine(Failure("a", "a.webm", "VideoError", "first"))
            writer.quarantine(Failure("a", "a.webm", "VideoError", "second", attempt=2))
            writer.quarantine(Failure("b", "b.webm", "VideoError", "line\nbreak \u2028 {}"))
        assert store.quarantined()["a"].message == "second"
        with store.writer(PRODUCER) as writer:
            writer.add(make_record("a"), make_tokens("a"))
        store.refresh()
        assert store.quarantined().keys() == {"b"}
        assert store.quarantined()["b"].message == "line\nbreak \u2028 {}"

    def test_fingerprint_names_the_tokens_not_the_files(
        self, root: Location, tmp_path: Path
    ) -> None:
        one = fill_store(root, self.format, 6, part_clips=2)
        same = fill_store(tmp_path / "same", "zarr", 6, part_clips=5)
        fewer = fill_store(tmp_path / "fewer", self.format, 5)
        assert one.fingerprint == same.fingerprint
        assert one.fingerprint != fewer.fingerprint

    def test_another_spec_is_refused_naming_the_fields(self, root: Location) -> None:
        fill_store(root, self.format, 1)
        grid = (Segment(name="grid3", kind="grid", count=9, grid=(3, 3)),)
        for changes, words in (
            ({"frames": 8}, "frames: store 3, asked 8"),
            ({"dtype": "float32"}, "dtype: store 'float16', asked 'float32'"),
            ({"segments": grid}, "tokens: store cls,grid2, asked grid3"),
            ({"preprocessing": {"resize": 256}}, "preprocessing.resize: store 224, asked 256"),
        ):
            other = StoreSpec.model_validate({**dict(SPEC), **changes})
            with pytest.raises(SpecMismatch, match=words.replace(".", r"\.")):
                create_store(root, other, dataset="test")

    def test_another_data_set_or_format_is_refused(self, root: Location) -> None:
        fill_store(root, self.format, 1)
        assert create_store(root, SPEC, dataset="test").format == self.format
        with pytest.raises(UsageError, match="data set 'test', this run is on 'other'"):
            create_store(root, SPEC, dataset="other")
        other: Format = "hdf5" if self.format == "zarr" else "zarr"
        with pytest.raises(UsageError, match=f"format {self.format}, not {other}"):
            create_store(root, SPEC, dataset="test", format=other)

    def test_no_store(self, root: Location) -> None:
        with pytest.raises(StoreNotFound, match="no feature store"):
            open_store(root)

    def test_clips_table_belongs_to_the_user(self, root: Location) -> None:
        store = fill_store(root, self.format, 2)
        mine = [ClipRow("clip-0000", "my label", "val", "me", "left"), *store.clips()[1:]]
        store.replace_clips(mine)
        differing = store.add_clips([ClipRow("clip-0000", "theirs"), ClipRow("new", "n")])
        assert differing == [ClipRow("clip-0000", "theirs")]
        assert open_store(root).clips() == [*mine, ClipRow("new", "n")]
        for bad in ("x" * 40_000, "not-utf8-\udc80"):
            with pytest.raises(UsageError, match="must be UTF-8"):
                store.replace_clips([ClipRow("x", bad)])
        with pytest.raises(UsageError, match="'x' occurs twice"):
            store.replace_clips([ClipRow("x", "1"), ClipRow("x", "2")])
        assert verify_store(root).ok

    def test_classes_table(self, root: Location) -> None:
        store = fill_store(root, self.format, 1)
        rows = [
            ClassRow("open, wide", 1, "close", "equivariant", "open, wide", 'a "door"\nopens'),
            ClassRow("close", 0, "open, wide", "equivariant"),
        ]
        store.replace_classes(rows)
        assert open_store(root).classes() == rows[::-1]
        with pytest.raises(UsageError, match="class index 0 occurs twice"):
            store.replace_classes([ClassRow("a", 0), ClassRow("b", 0)])

    def test_many_threads_read_the_same_store(self, root: Location) -> None:
        store = fill_store(root, self.format, 12)
        expected = store.read(store.ids)
        wrong: list[int] = []

        def read_often(seed: int) -> None:
            generator = np.random.default_rng(seed)
            for _ in range(50):
                places = generator.integers(0, 12, 5)
                if not np.array_equal(store.read(places), expected[places]):
                    wrong.append(seed)

        threads = [threading.Thread(target=read_often, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


class SharedContract(StoreContract):
    """What holds besides where other processes see the store."""

    def test_another_process_reads_the_same_bytes(self, root: Location) -> None:
        store = fill_store(root, self.format, 5)
        script = (
            "import sys; from stepcli.cache import open_store; store = open_store(sys.argv[1]);"
            "sys.stdout.buffer.write(store.read(store.ids[::-1]).tobytes())"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(root)], capture_output=True, check=True
        )
        assert done.stdout == store.read(store.ids[::-1]).tobytes()


class DiskContract(SharedContract):
    """What holds besides of files on a disk."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return Path(str(tmp_path)) / "store"

    def test_of_two_copies_the_latest_part_wins(self, root: Path) -> None:
        store = create_store(root, SPEC, dataset="test", format=self.format)
        for value in ("one", "two"):
            with store.writer(PRODUCER) as writer:
                writer.add(make_record("same"), make_tokens(value))
        store.refresh()
        assert store.ids == ["same"]
        winner = sorted(store.parts)[-1]
        by_part = {}
        for name in store.parts:
            other = root.parent / name
            other.mkdir()
            (other / "manifest.json").write_bytes((root / "manifest.json").read_bytes())
            (other / "parts").mkdir()
            (other / "parts" / name).symlink_to(root / "parts" / name)
            # A link is no part: nothing outside a store is ever read.
            assert len(open_store(other)) == 0
            (other / "parts" / name).unlink()
            (root / "parts" / name).rename(other / "parts" / name)
            by_part[name] = open_store(other).read(["same"])
            (other / "parts" / name).rename(root / "parts" / name)
        np.testing.assert_array_equal(store.read(["same"]), by_part[winner])

    def test_a_cut_token_file_is_an_error_not_a_signal(self, root: Path) -> None:
        store = fill_store(root, self.format, 4)
        store.read(store.ids)
        (part,) = store.parts
        path = root / "parts" / part / self.token_file
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
        for reader in (store, open_store(root)):
            with pytest.raises(DamagedStore, match="ends at byte"):
                reader.read(store.ids)

    def test_a_lost_token_file_is_named(self, root: Path) -> None:
        store = fill_store(root, self.format, 4)
        (root / "parts" / store.parts[0] / self.token_file).unlink()
        with pytest.raises(DamagedStore, match=r"missing.*repair"):
            open_store(root).read(["clip-0000"])


class Zarr:
    format: ClassVar[Format] = "zarr"
    token_file = "tokens.zarr/tokens/c.0.0.0.0"


class Hdf5:
    format: ClassVar[Format] = "hdf5"
    token_file = "tokens.h5"


class TestZarr(Zarr, DiskContract):
    pass


class TestHdf5(Hdf5, DiskContract):
    pass


class InMemory(StoreContract):
    @pytest.fixture
    def root(self, tmp_path: Path) -> str:
        return f"memory://{tmp_path}/store"


class TestZarrInMemory(Zarr, InMemory):
    pass


class TestHdf5InMemory(Hdf5, InMemory):
    pass


class TestHdf5InS3(Hdf5, SharedContract):
    @pytest.fixture
    def root(self, url: str) -> str:
        return url
