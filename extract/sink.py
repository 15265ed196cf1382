"""The last stage: a thread that writes clips into the store while the next ones are computed."""

import queue
import threading
import time
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import numpy as np

from stepcli.cache.clips import ClipRecord, Failure
from stepcli.cache.errors import TokensError
from stepcli.cache.spec import Producer
from stepcli.cache.store import Store
from stepcli.extract.progress import Progress

WAITING_CLIPS = 64
"""Clips that may wait for the disk before the stages ahead of it have to."""


@dataclass(frozen=True, slots=True)
class PartLimits:
    """A part of the store is closed, and safe from a crash, at the first of these."""

    clips: int = 4096
    seconds: float = 300.0
    megabytes: int = 1024


class Sink:
    """Writes what it is given, in order; commits when its context ends, however it ends.

    Args:
        store: where to.
        producer: recorded in each part.
        progress: told of each clip.
        attempts: clip id -> how often it has been tried in earlier runs.
        limits: when a part is closed.
    """

    def __init__(
        self,
        store: Store,
        producer: Producer,
        progress: Progress,
        attempts: dict[str, int],
        limits: PartLimits,
    ) -> None:
        self._limits = limits
        self._store = store
        self._producer = producer
        self._progress = progress
        self._attempts = attempts
        self._waiting: queue.Queue[tuple[ClipRecord, np.ndarray] | Failure | None] = queue.Queue(
            WAITING_CLIPS
        )
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="writer")
        self.busy_seconds = 0.0
        """Time spent on writing."""

    def add(self, record: ClipRecord, tokens: np.ndarray) -> None:
        """Hand over a clip's tokens [T, S, D]; they must not change afterwards.

        Raises:
            StoreError: an earlier clip could not be written.
        """
        self._put((record, tokens))

    def quarantine(self, failure: Failure) -> None:
        """Put a clip aside; raises as `add` does."""
        self._put(failure)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._waiting.put(None)
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def _put(self, item: tuple[ClipRecord, np.ndarray] | Failure) -> None:
        if self._error is not None:
            raise self._error
        self._waiting.put(item)

    def _run(self) -> None:
        try:
            with self._store.writer(
                self._producer,
                part_bytes=self._limits.megabytes << 20,
                part_clips=self._limits.clips,
                part_seconds=self._limits.seconds,
            ) as writer:
                while (item := self._waiting.get()) is not None:
                    started = time.perf_counter()
                    failure = item if isinstance(item, Failure) else None
                    if not isinstance(item, Failure):
                        record, tokens = item
                        try:
                            writer.add(record, tokens)
                        except TokensError as error:
                            failure = Failure(
                                record.id, record.source, type(error).__name__, str(error)
                            )
                    if failure is None:
                        self._progress.clip_done()
                    else:
                        attempt = self._attempts.get(failure.id, 0) + 1
                        writer.quarantine(replace(failure, attempt=attempt))
                        self._progress.clip_quarantined()
                    self.busy_seconds += time.perf_counter() - started
        except BaseException as error:  # noqa: BLE001 (raised again in the main thread)
            self._error = error
            while self._waiting.get() is not None:  # lets those who wait to put go on
                continue
