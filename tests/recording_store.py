"""Stores of windows whose tokens say of which step of which recording they are."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from stepcli.cache import create_store
from stepcli.cache.schema.clips import ClipRecord, ClipRow, Source
from stepcli.cache.schema.spec import Producer, Segment, StoreSpec
from stepcli.cache.schema.windows import parse_windows, window_name, with_steps
from stepcli.cache.store.store import Store

PRODUCER = Producer(source="test", device="cpu", numerics="float32", versions={"stepcli": "0"})
SPEC = StoreSpec(
    backbone="test-backbone",
    weights_digest="0" * 64,
    segments=(Segment(name="cls", kind="prefix", count=1),),
    dim=4,
    frames=4,
    sampling="windows2fps/2",
    preprocessing={"crop_height": 224},
    dtype="float32",
)


def step_tokens(recording: str, steps: int, spec: StoreSpec) -> np.ndarray:
    """[N, (L,) S, D] float32: a function of recording and step."""
    layers = [len(spec.layers)] if len(spec.layers) > 1 else []
    shape = (steps, *layers, spec.tokens_per_frame, spec.dim)
    return (
        np.random.default_rng([len(recording), *recording.encode()])
        .standard_normal(shape)
        .astype(np.float32)
    )


def window_store(
    path: Path,
    tokens: Mapping[str, np.ndarray],
    rule: str = "4@2fps/2",
    *,
    spec: StoreSpec = SPEC,
    splits: Mapping[str, str] | None = None,
    leave_out: frozenset[str] = frozenset(),
) -> Store:
    """Recordings cut into windows.

    Args:
        path: of the store.
        tokens: recording -> [N, (L,) S, D] of its steps.
        rule: as of `extract --windows`.
        spec: everything else.
        splits: recording -> split.
        leave_out: windows that are not stored.
    """
    length, how = parse_windows(rule)
    spec = replace_spec(spec, length, how.name, next(iter(tokens.values())))
    store = create_store(path, spec, dataset="test")
    rows = []
    with store.writer(PRODUCER) as writer:
        for recording, steps in tokens.items():
            for number, start in enumerate(how.starts(len(steps), length)):
                stored_id = f"{recording}@{window_name(number)}"
                rows.append(ClipRow(stored_id, "", (splits or {}).get(recording, ""), recording))
                if stored_id in leave_out:
                    continue
                at = np.minimum(np.arange(start, start + length), len(steps) - 1)
                seconds = tuple((at / float(how.rate)).tolist())
                source = Source("/data", f"{recording}.mp4", 1, 1, f"sha256:{recording}")
                record = ClipRecord(
                    stored_id,
                    f"/data/{recording}.mp4",
                    seconds,
                    len(set(seconds)),
                    224,
                    224,
                    replace(source, segment=with_steps("", start, len(steps))),
                )
                window = steps[at]
                writer.add(record, window if window.ndim == 3 else window.swapaxes(0, 1))
    store.add_clips(rows)
    store.refresh()
    return store


def replace_spec(spec: StoreSpec, frames: int, sampling: str, tokens: np.ndarray) -> StoreSpec:
    """The spec for tokens of a recording, [N, (L,) S, D]."""
    count, dim = tokens.shape[-2:]
    full = Segment(name="full", kind="prefix", count=count)
    return spec.model_copy(
        update={
            "frames": frames,
            "sampling": sampling,
            "dim": dim,
            "layers": (-1,) if tokens.ndim == 3 else tuple(range(-tokens.shape[1], 0)),
            **({} if count == spec.tokens_per_frame else {"segments": (full,)}),
        }
    )
