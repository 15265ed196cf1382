"""Reading clips: random batches into a buffer, and whole stores streamed in shuffled blocks."""

import tarfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path

import google_crc32c
import h5py
import numpy as np
import zarr
from safetensors import safe_open
from safetensors.numpy import save_file
from store_clips import FORMATS, Size, fill, interleaved, random_tokens

from stepcli.cache import stream_clips
from stepcli.cache.schema.manifest import Format
from stepcli.cache.store.store import Store

BATCH = 32

Read = Callable[[np.ndarray, np.ndarray], object]
"""Copies clips `places` into `out`."""


def readers(folder: Path, tokens: np.ndarray, size: Size) -> Iterator[tuple[str, Read]]:
    np.save(folder / "tokens.npy", tokens)
    mapped = np.load(folder / "tokens.npy", mmap_mode="r")

    def from_map(places: np.ndarray, out: np.ndarray) -> None:
        for row, place in enumerate(places.tolist()):
            out[row] = mapped[place]

    yield "np.memmap", from_map
    for form in FORMATS:
        store = fill(folder / form, form, tokens, size)
        yield f"stepcli {form}", store.read

        def one_by_one(places: np.ndarray, out: np.ndarray, store: Store = store) -> None:
            for row in range(len(places)):
                store.read(places[row : row + 1], out[row : row + 1])

        yield f"stepcli {form}, a call per clip", one_by_one
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
            out[row] = opened.get_tensor(f"{place:08d}")  # type: ignore[no-untyped-call]

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


def bench_read(
    size: Size, runs: int, batches: int, folder: Path
) -> dict[str, tuple[float, list[float]]]:
    """Seconds a batch of clips in random order, a checksum of the buffer included."""
    tokens = random_tokens(size)
    expected = [google_crc32c.value(clip) for clip in tokens]
    out = np.empty((BATCH, *size.shape), np.float16)

    def one(name: str, read: Read, run: int) -> float:
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
        return spent / batches

    candidates: dict[str, Callable[[int], float]] = {
        name: partial(one, name, read) for name, read in readers(folder, tokens, size)
    }
    return interleaved(candidates, runs)


def bench_stream(size: Size, runs: int, folder: Path) -> dict[str, tuple[float, list[float]]]:
    """Seconds a clip of a pass over everything, a checksum of each clip included."""
    tokens = random_tokens(size)
    np.save(folder / "tokens.npy", tokens)
    write_tar(folder / "a.tar", tokens)
    stores = {form: fill(folder / form, form, tokens, size) for form in FORMATS}

    def from_map(run: int) -> Iterator[np.ndarray]:
        mapped = np.load(folder / "tokens.npy", mmap_mode="r")
        for first in range(0, size.clips, BATCH):
            yield np.array(mapped[first : first + BATCH])

    def from_store(form: Format, run: int) -> Iterator[np.ndarray]:
        for _, batch in stream_clips(stores[form], batch=BATCH, seed=run):
            yield batch

    def from_tar(run: int) -> Iterator[np.ndarray]:
        """As webdataset does: one pass in the file's order, shuffled in a buffer of batches."""
        order = np.random.default_rng(run)
        kept: list[np.ndarray] = []
        with tarfile.open(folder / "a.tar", "r|") as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                kept.append(np.frombuffer(file.read(), np.float16).reshape(size.shape))
                if len(kept) == 4 * BATCH:
                    order.shuffle(kept)
                    yield np.stack(kept[:BATCH])
                    kept = kept[BATCH:]
        for first in range(0, len(kept), BATCH):
            yield np.stack(kept[first : first + BATCH])

    def passes(batches: Callable[[int], Iterator[np.ndarray]], run: int) -> float:
        start = time.perf_counter()
        seen = sum(len([google_crc32c.value(clip) for clip in batch]) for batch in batches(run))
        if seen != size.clips:
            raise SystemExit(f"{seen} clips of {size.clips}")
        return (time.perf_counter() - start) / seen

    candidates: dict[str, Callable[[int], float]] = {
        "np.memmap, in order": partial(passes, from_map)
    }
    for form in FORMATS:
        candidates[f"stepcli {form}, shuffled blocks"] = partial(passes, partial(from_store, form))
    candidates["tar, shuffle buffer"] = partial(passes, from_tar)
    return interleaved(candidates, runs)
