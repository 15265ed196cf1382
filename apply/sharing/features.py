"""Features of whole recordings as plain arrays, for other people's code: one file per recording."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from stepcli.cache.maintenance.recordings import (
    Recording,
    recordings_of,
    require_rule,
    step_seconds,
    step_tokens,
)
from stepcli.cache.schema.segments import by_recording, labels_at
from stepcli.cache.store.store import Store
from stepcli.runtime.errors import UnknownName, UsageError
from stepcli.runtime.files import disk_errors, replace_synced
from stepcli.runtime.settings import JsonObject
from stepcli.runtime.words import counted, listed

Form = Literal["npy", "h5", "pt"]
Float = Literal["float32", "float16"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class FeatureLayout:
    """What is written of each step."""

    tokens: str | None = None
    """Name of the one segment of tokens, e.g. cls; None: all."""
    mean: bool = False
    """Average the tokens of a step."""
    transpose: bool = False
    """[D, N] in place of [N, D]."""
    dtype: Float = "float32"


def export_features(
    store: Store,
    out: Path,
    form: Form,
    layout: FeatureLayout,
    on_recording: Progress | None = None,
) -> list[str]:
    """Write the tokens of each recording, every step once, in order of time.

    `<recording>.<form>` is [N, D], [N, S, D], or with several layers [N, L, S, D];
    `<recording>.json` says what it is. Folders are those of the recordings' ids.

    Args:
        store: of windows.
        out: folder; made when missing.
        form: npy; h5 (data sets features and seconds); pt (a tensor).
        layout: what is written of each step.
        on_recording: told of recordings done, and of how many there are.

    Returns:
        Recordings of which windows are missing: they are left out.

    Raises:
        UsageError: a store of clips, files that are there already, a layout that does not fit.
        UnknownName: no such segment of tokens.
    """
    found = recordings_of(store)
    whole = [recording for recording in found if not recording.missing]
    take = _positions(store, layout)
    files = {recording.id: _file(out, recording.id, form) for recording in whole}
    there = [file for file in files.values() if file.exists() or file.with_suffix(".json").exists()]
    if there:
        raise UsageError(
            f"{counted(len(there), 'recording')} to be written to {out} already there: "
            f"{listed(there)}; give another folder"
        )
    segments = by_recording(store.segments())
    fingerprint = store.fingerprint
    for number, recording in enumerate(whole, 1):
        file, seconds = files[recording.id], step_seconds(store, recording)
        blocks = (_shaped(block[..., take, :], layout) for block in step_tokens(store, recording))
        with disk_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            shape = _write(file, form, blocks, recording.steps, layout, seconds)
            mine = segments.get(recording.id)
            facts = _facts(store, recording, layout, shape, seconds) | {"fingerprint": fingerprint}
            if mine is not None:
                facts["labels"] = [*labels_at(mine, seconds.tolist())]
                facts["segments"] = [
                    [one.start_seconds, one.end_seconds, one.label] for one in mine
                ]
            replace_synced(file.with_suffix(".json"), json.dumps(facts, indent=1).encode())
        if on_recording is not None:
            on_recording(number, len(whole))
    return [recording.id for recording in found if recording.missing]


def _positions(store: Store, layout: FeatureLayout) -> slice:
    """Which tokens of a step are taken."""
    spec = store.spec
    take = slice(0, spec.tokens_per_frame)
    if layout.tokens is not None:
        start = 0
        for segment in spec.segments:
            if segment.name == layout.tokens:
                take = slice(start, start + segment.count)
                break
            start += segment.count
        else:
            raise UnknownName(
                "tokens of the store", layout.tokens, [segment.name for segment in spec.segments]
            )
    flat = len(spec.layers) == 1 and (layout.mean or take.stop - take.start == 1)
    if layout.transpose and not flat:
        raise UsageError(
            "--transpose needs one vector per frame: choose one token (--tokens cls) or their mean "
            "(--mean) of a store of one layer"
        )
    return take


def _shaped(block: NDArray[np.float32], layout: FeatureLayout) -> NDArray[np.floating]:
    """[n, (L,) S, D] as it is written: without the axis of tokens where there is one alone."""
    if layout.mean:
        block = block.mean(axis=-2, keepdims=True)
    if block.shape[-2] == 1:
        block = block[..., 0, :]
    return block.astype(layout.dtype)


def _file(out: Path, recording: str, form: Form) -> Path:
    """Where a recording goes.

    Raises:
        UsageError: an id that leads out of the folder.
    """
    steps = recording.split("/")
    if any(step in ("", ".", "..") or "\0" in step for step in steps):
        raise UsageError(f"the recording {recording!r} cannot be the name of a file below {out}")
    return out.joinpath(*steps[:-1], f"{steps[-1]}.{form}")


def _write(
    file: Path,
    form: Form,
    blocks: Iterator[NDArray[np.floating]],
    steps: int,
    layout: FeatureLayout,
    seconds: NDArray[np.float64],
) -> list[int]:
    """Write one array, block by block, and put it in place once it is whole; returns its shape."""
    first = next(blocks)
    shape = (steps, *first.shape[1:])
    shape = shape[::-1] if layout.transpose else shape
    partial = file.with_name(f".{file.name}.partial")

    def fill(array: NDArray[np.floating]) -> None:
        rows = array.T if layout.transpose else array
        done = 0
        for block in (each for group in ([first], blocks) for each in group):
            rows[done : done + len(block)] = block
            done += len(block)

    if form == "npy":
        mapped = np.lib.format.open_memmap(partial, "w+", np.dtype(layout.dtype), shape)
        fill(mapped)
        mapped.flush()
    elif form == "h5":
        with h5py.File(partial, "w") as written:
            array = np.empty(shape, layout.dtype)
            fill(array)
            written["features"], written["seconds"] = array, seconds
    else:
        array = np.empty(shape, layout.dtype)
        fill(array)
        torch.save(torch.from_numpy(array), partial)
    partial.replace(file)
    return list(shape)


def _facts(
    store: Store,
    recording: Recording,
    layout: FeatureLayout,
    shape: list[int],
    seconds: NDArray[np.float64],
) -> JsonObject:
    spec, source = store.spec, recording.source
    return {
        "recording": recording.id,
        "shape": list(shape),
        "dtype": layout.dtype,
        "frames_per_second": float(require_rule(store).rate),
        "seconds": seconds.tolist(),
        "repeated_frames": int((np.diff(seconds) <= 0).sum()),
        "source": {
            "path": source.path,
            "root": source.root,
            "size": source.size,
            "digest": source.digest,
        },
        "backbone": spec.backbone,
        "weights_digest": spec.weights_digest,
        "layers": list(spec.layers),
        "tokens": [segment.name for segment in spec.segments]
        if layout.tokens is None
        else [layout.tokens],
        "mean_over_tokens": layout.mean,
        "stored_dtype": spec.dtype,
        "preprocessing": dict(spec.preprocessing),
        "store": str(store.path),
    }
