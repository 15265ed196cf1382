"""What a trained probe looks at in clips of its store: attention over frames and patches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stepcli.cache.store.store import Store
from stepcli.probe.analysis.calibration import softmax
from stepcli.probe.analysis.explain import Attention, attention, encoding_similarity, patch_grid
from stepcli.probe.analysis.load_run import load_probe
from stepcli.probe.analysis.run_samples import store_of_run, task_on_its_tokens
from stepcli.probe.data.features import task_layout
from stepcli.probe.data.streamed import Streamed
from stepcli.probe.report.report_data import ReportEntry
from stepcli.probe.runs.predictions import Predictions, read_predictions
from stepcli.probe.sweeps.session import Session
from stepcli.runtime.errors import ClipError, StoreError

if TYPE_CHECKING:
    from stepcli.probe.nn.bank import Probe

FramesOf = Callable[[Store, str], NDArray[np.uint8]]
"""(store, stored clip) -> its stored frames as pictures [T, height, width, 3], or a ClipError."""

CONFIDENT = 0.8
"""Probability of the answer of a mistake that is called confident."""
AVERAGED = 96
"""Test samples whose attention is averaged."""


@dataclass(frozen=True)
class Strip:
    """One test sample, frame by frame as it was shown."""

    clip: str
    backward: bool
    truth: str
    said: str
    confidence: float
    over_frames: NDArray[np.float32]
    """[T], mean over heads; with the CLS's share they sum to 1."""
    over_patches: NDArray[np.float32] | None
    """[T, rows, columns], mean over heads."""
    pictures: NDArray[np.uint8] | None
    """[T, height, width, 3]; None where the video cannot be read."""
    absent: str
    """Why it cannot; "" where it can, or was not asked for."""


class Looker:
    """The first seed's probe of one entry, on its store."""

    def __init__(self, entry: ReportEntry, place: Path | None) -> None:
        """Open the store, find the test samples and load the probe.

        Raises:
            StoreNotFound: the store is not where it was.
            UsageError: it holds other tokens now, or not all clips that the run was tested on, or
                the run has no probe.
        """
        record = entry.found.first
        runs = entry.found.runs
        session = Session(store_of_run(record, place), runs, "cpu")
        self.entry = entry
        self.store = session.store
        said = read_predictions(runs / record.run)
        self.task = task_on_its_tokens(session, record, said)
        layout = task_layout(session.store, self.task)
        self.probe: Probe = load_probe(runs / record.run, record, layout)
        self._features = Streamed(session.store, session.device)

    def similarity(self) -> NDArray[np.float64] | None:
        """Of the learned frame encodings, [T, T]."""
        found = encoding_similarity(self.probe)
        return None if found is None else found.double().numpy()

    def attention(self, rows: Sequence[int], *, backward: bool | None = None) -> Attention:
        """Of test samples as they are shown, or all of them in one direction.

        Raises:
            UsageError: the method has no query whose attention is folded.
        """
        samples = self.task.test[np.array(rows)]
        if backward is not None:
            samples = replace(samples, backward=np.full(len(rows), backward))
        tokens = self._features.gather(self.task, samples)
        return attention(self.probe, self._features.batch(self.task, samples, tokens))

    def strip(self, said: Predictions, row: int, frames_of: FramesOf | None) -> Strip:
        """One test sample with where the probe looked."""
        seen = self.attention([row])
        grid = patch_grid(seen, self.store.spec.segments)
        names = self.entry.found.classes
        probabilities = softmax(said.logits[row : row + 1])[0]
        best = int(probabilities.argmax())
        pictures, absent = None, ""
        if frames_of is not None:
            try:
                shown = self.task.test[np.array([row])]
                whole = frames_of(self.store, self.task.clips[int(shown.clip[0])])
                pictures = whole[shown.frames(self.task.length)[0]]
            except (ClipError, StoreError) as error:
                # The videos need not be here any more; the caption reports it.
                absent = str(error)
        return Strip(
            said.clips[row],
            bool(said.backward[row]),
            names[int(said.labels[row])],
            names[best],
            float(probabilities[best]),
            seen.over_frames[0].mean(dim=0).numpy(),
            None if grid is None else grid[0].mean(dim=0).numpy(),
            pictures,
            absent,
        )

    def over_time(self) -> tuple[Tensor, Tensor]:
        """[H, T] each: mean attention over frames with clips shown forward, and shown backward.

        Raises:
            UsageError: the method has no query whose attention is folded.
        """
        count = min(AVERAGED, len(self.task.test))
        rows = [i * len(self.task.test) // count for i in range(count)]
        forward, backward = (
            self.attention(rows, backward=way).over_frames.mean(dim=0) for way in (False, True)
        )
        return forward, backward


def confident_mistakes(said: Predictions, count: int) -> list[int]:
    """Rows of the wrong answers of at least `CONFIDENT`, the most confident first, one per clip."""
    probabilities = softmax(said.logits)
    confidence = np.where(said.correct > 0, -1.0, probabilities.max(axis=1))
    rows: list[int] = []
    clips: set[str] = set()
    for row in np.argsort(-confidence, kind="stable").tolist():
        if confidence[row] < CONFIDENT or len(rows) == count:
            break
        if said.clips[row] not in clips:
            clips.add(said.clips[row])
            rows.append(row)
    return rows
