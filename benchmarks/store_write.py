"""Writing clips: each candidate puts all of them on disk, fsynced; stepcli from one at a time."""

import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import zarr
from safetensors.numpy import save_file
from store_clips import FORMATS, Size, fill, interleaved, random_tokens
from store_read import write_tar

from stepcli.cache.schema.manifest import Format


def synced(path: Path) -> None:
    for file in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]:
        fd = os.open(file, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def writers(tokens: np.ndarray, size: Size) -> dict[str, Callable[[Path], None]]:
    def with_numpy(folder: Path) -> None:
        with (folder / "tokens.npy").open("wb") as file:
            np.save(file, tokens)
            file.flush()
            os.fsync(file.fileno())

    def with_zarr(folder: Path) -> None:
        array = zarr.create_array(
            folder / "a",
            shape=tokens.shape,
            chunks=(1, *size.shape),
            shards=tokens.shape,
            dtype=tokens.dtype,
            compressors=None,
        )
        array[:] = tokens
        synced(folder / "a")

    def with_h5py(folder: Path) -> None:
        with h5py.File(folder / "a.h5", "w") as file:
            dataset = file.create_dataset("tokens", tokens.shape, tokens.dtype)
            for number, clip in enumerate(tokens):
                dataset[number] = clip
        synced(folder / "a.h5")

    def with_safetensors(folder: Path) -> None:
        save_file({f"{n:08d}": clip for n, clip in enumerate(tokens)}, folder / "a.safetensors")
        synced(folder / "a.safetensors")

    def with_tar(folder: Path) -> None:
        write_tar(folder / "a.tar", tokens)
        synced(folder / "a.tar")

    found: dict[str, Callable[[Path], None]] = {"np.save + fsync": with_numpy}
    for form in FORMATS:

        def with_store(folder: Path, form: Format = form) -> None:
            fill(folder / form, form, tokens, size)

        found[f"stepcli {form}"] = with_store
    return found | {
        "zarr-python": with_zarr,
        "h5py": with_h5py,
        "safetensors shard": with_safetensors,
        "tar": with_tar,
    }


def bench_write(
    size: Size, runs: int, folder: Path, *, others: bool = True
) -> dict[str, tuple[float, list[float]]]:
    """Seconds to write all clips, on disk; without `others` of np.save and stepcli only."""

    def one(write: Callable[[Path], None], run: int) -> float:
        work = folder / "written"
        work.mkdir()
        os.sync()
        start = time.perf_counter()
        write(work)
        spent = time.perf_counter() - start
        shutil.rmtree(work)
        return spent

    candidates = writers(random_tokens(size), size)
    if not others:
        candidates = dict(list(candidates.items())[: 1 + len(FORMATS)])
    return interleaved({name: partial(one, write) for name, write in candidates.items()}, runs)
