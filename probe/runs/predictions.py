"""predictions.parquet: what one probe said about each test sample."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stepcli.probe.runs.metrics import Floats, Ints, credit, hits, named
from stepcli.runtime.errors import DamagedStore, UsageError
from stepcli.runtime.files import read_regular
from stepcli.runtime.parquet_tables import LARGEST, numbers, read_parquet

FILE = "predictions.parquet"
SAMPLE = {
    "clip": pa.string(),
    "group": pa.string(),
    "start_frame": pa.int64(),
    "backward": pa.bool_(),
    "label": pa.int64(),
}
"""Columns that say what was shown, and their types; `logits` is the column beside them."""


LABELS = "labels"
"""A column of --task multi-label: the classes of each sample, by index."""
COPIED = "copied"
"""A column that runs of earlier versions do without."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """What one probe said about n samples."""

    clips: tuple[str, ...]
    groups: tuple[str, ...]
    starts: Ints
    """[n]: first stored frame that was shown."""
    backward: NDArray[np.bool_]
    labels: Ints
    logits: Floats
    """[n, C]"""
    copied: NDArray[np.bool_] | None = None
    """[n]: whether the clip is a copy of a training clip; None where it is not known."""
    relevant: NDArray[np.bool_] | None = None
    """[n, C]: which classes each sample has, of --task multi-label; then `labels` are all -1."""

    @property
    def correct(self) -> NDArray[np.float64]:
        """[n]: 1 where the largest logit is the label's, or that of one of several; 1/m where m
        classes tie for it."""
        if self.relevant is not None:
            return hits(self.logits, self.relevant)
        return credit(self.logits, self.labels)

    @property
    def samples(self) -> list[tuple[str, int, bool]]:
        """Clip, first frame and direction of each: names a sample among those of a run."""
        return list(zip(self.clips, self.starts.tolist(), self.backward.tolist(), strict=True))


def read_predictions(folder: Path, *, several: bool = False) -> Predictions:
    """The predictions of one run.

    Args:
        folder: The run's.
        several: Whether the caller knows clips with any number of labels.

    Raises:
        UsageError: the folder's file is missing or is not such a table, or its clips have any
            number of labels and `several` is not given.
    """
    path = folder / FILE
    try:
        data = read_regular(path, LARGEST)
        # A value of a list has four bytes, so no more of them fit.
        names, optional = [*SAMPLE, "logits"], [COPIED, LABELS]
        table = read_parquet(
            data, path, rows=LARGEST, values=LARGEST, columns=names, optional=optional
        ).combine_chunks()
        width = _width(table, path)
        relevant = _relevant(table, width, path) if LABELS in table.schema.names else None
    except (FileNotFoundError, DamagedStore) as error:
        reason = f"cannot be read ({' '.join(str(error).split())})"
        if isinstance(error, FileNotFoundError):
            reason = "is missing (an exported probe has none: use the run that it was made from)"
        raise UsageError(f"{path} {reason}; delete the run's folder and train it again") from None
    if relevant is not None and not several:
        raise UsageError(
            f"run {folder.name} has any number of labels per clip, this takes one per clip; its "
            "mean average precision is in stepcli results, also with --across"
        )
    clip, group, start, backward, label = (table[name] for name in SAMPLE)
    flat = numbers(table["logits"].combine_chunks().flatten())
    return Predictions(
        tuple(clip.to_pylist()),
        tuple(group.to_pylist()),
        numbers(start),
        np.array(backward.to_pylist(), np.bool_),
        numbers(label),
        flat.reshape(-1, width),
        np.array(table[COPIED].to_pylist(), np.bool_) if COPIED in table.schema.names else None,
        relevant,
    )


def joined(parts: Sequence[Predictions]) -> Predictions:
    """What several probes said of different samples of the same classes, one after the other.

    Raises:
        UsageError: they do not have the same classes.
    """
    if len(parts) == 1:
        return parts[0]
    if len({part.logits.shape[1] for part in parts}) > 1:
        raise UsageError("the groups' runs have different classes; train them again on one store")
    copied = [part.copied for part in parts]
    return Predictions(
        tuple(clip for part in parts for clip in part.clips),
        tuple(group for part in parts for group in part.groups),
        np.concatenate([part.starts for part in parts]),
        np.concatenate([part.backward for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.logits for part in parts]),
        None
        if any(each is None for each in copied)
        else np.concatenate([each for each in copied if each is not None]),
        None
        if any(part.relevant is None for part in parts)
        else np.concatenate([part.relevant for part in parts if part.relevant is not None]),
    )


def encode_predictions(said: Predictions) -> bytes:
    """The Parquet file of one run.

    Added are the class of the largest logit as `predicted`, the first of those that tie, and
    `correct`, whose mean is top-1: a tie of m classes for the label is 1/m. Where samples have any
    number of labels, `label` is -1, `labels` lists the classes by index, and `probabilities` are
    those of each class by itself.
    """
    flat = pa.array(said.logits.astype(np.float32).ravel())
    cells = (said.clips, said.groups, said.starts, said.backward, said.labels)
    table = pa.table(
        {name: pa.array(c, kind) for (name, kind), c in zip(SAMPLE.items(), cells, strict=True)}
        | {
            "predicted": named(said.logits),
            "correct": said.correct,
            "logits": pa.FixedSizeListArray.from_arrays(flat, said.logits.shape[1]),
        }
        | ({} if said.copied is None else {COPIED: pa.array(said.copied, pa.bool_())})
        | _of_sets(said)
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _of_sets(said: Predictions) -> dict[str, pa.Array]:
    """Columns of samples with any number of labels."""
    if said.relevant is None:
        return {}
    chances = 0.5 * (1 + np.tanh(said.logits.astype(np.float64) / 2))
    flat = pa.array(chances.astype(np.float32).ravel())
    return {
        LABELS: pa.array([np.flatnonzero(row) for row in said.relevant], pa.list_(pa.int64())),
        "probabilities": pa.FixedSizeListArray.from_arrays(flat, chances.shape[1]),
    }


def _relevant(table: pa.Table, width: int, path: Path) -> NDArray[np.bool_]:
    """[n, C] of a table's lists of classes.

    Raises:
        DamagedStore: a class is none of the C.
    """
    relevant = np.zeros((table.num_rows, width), np.bool_)
    for row, labels in zip(relevant, table[LABELS].to_pylist(), strict=True):
        if any(not isinstance(label, int) or not 0 <= label < width for label in labels):
            raise DamagedStore(f"{path}: {LABELS}: a label that is none of its {width} classes")
        row[labels] = True
    return relevant


def _width(table: pa.Table, path: Path) -> int:
    """C, the classes of a table that can be one of predictions.

    Raises:
        DamagedStore: it is none.
    """
    logits = table.schema.field("logits").type
    if not pa.types.is_fixed_size_list(logits) or logits.value_type != pa.float32():
        raise DamagedStore(f"{path}: logits: expected lists of float32, found {logits}")
    optional = {COPIED: pa.bool_(), LABELS: pa.list_(pa.int64())}
    known = SAMPLE | {n: kind for n, kind in optional.items() if n in table.schema.names}
    for name, kind in known.items():
        if table.schema.field(name).type != kind:
            raise DamagedStore(
                f"{path}: {name}: expected {kind}, found {table.schema.field(name).type}"
            )
    width = int(logits.list_size)
    cells = [*table.columns, table["logits"].combine_chunks().flatten()]
    if not table.num_rows or any(column.null_count for column in cells):
        raise DamagedStore(f"{path}: no sample, or an empty cell")
    labels = numbers(table["label"])
    if LABELS in table.schema.names:
        return width
    if labels.min() < 0 or labels.max() >= width:
        raise DamagedStore(f"{path}: a label that is none of its {width} classes")
    return width
