"""The last stage: a thread that writes clips into the store while the next ones are computed."""

import queue
import threading
import time
from dataclasses import replace
from types import TracebackType
from typing import Self

from stepcli.cache.parts.interrupts import uninterrupted
from stepcli.cache.schema.clips import Failure
from stepcli.cache.store.store import Store
from stepcli.cache.store.writer import StoreWriter
from stepcli.extract.pipeline.backbone_runner import EncodedClip
from stepcli.extract.pipeline.prepare import Prepared
from stepcli.extract.pipeline.progress import ProgressListener
from stepcli.runtime.errors import TokensError

WAITING_CLIPS = 64
"""Clips that may wait for the disk before the stages ahead of it have to."""


class WriterThread:
    """Writes what it is given, in order; commits when its context ends, however it ends.

    Args:
        store: where to.
        prepared: says when a part is closed, and what is recorded in each.
        progress: told of each clip.
        attempts: clip id -> how often it has been tried in earlier runs.
        generation: of the parts.
    """

    def __init__(
        self,
        store: Store,
        prepared: Prepared,
        progress: ProgressListener,
        attempts: dict[str, int],
        generation: int = 0,
    ) -> None:
        self._store = store
        self._prepared = prepared
        self._generation = generation
        self._progress = progress
        self._attempts = attempts
        self._waiting: queue.Queue[EncodedClip | Failure | None] = queue.Queue(WAITING_CLIPS)
        self._ended = False
        """Whether the end of what is waiting was taken: nothing comes after it."""
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="writer")
        self.busy_seconds = 0.0
        """Time spent on writing."""

    def add(self, clip: EncodedClip) -> None:
        """Hand over a clip's tokens; they must not change afterwards.

        Raises:
            StoreError: an earlier clip could not be written.
        """
        self._put(clip)

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
        with uninterrupted():  # what was added is being committed
            self._waiting.put(None)
            self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def _put(self, item: EncodedClip | Failure) -> None:
        if self._error is not None:
            raise self._error
        self._waiting.put(item)

    def _next(self) -> EncodedClip | Failure | None:
        item = self._waiting.get()
        self._ended = item is None
        return item

    def _run(self) -> None:
        try:
            config = self._prepared.config
            with self._store.writer(
                self._prepared.producer,
                part_bytes=config.part_megabytes << 20,
                part_clips=config.part_clips,
                part_seconds=config.part_seconds,
                generation=self._generation,
            ) as writer:
                while (item := self._next()) is not None:
                    started = time.perf_counter()
                    failure = item if isinstance(item, Failure) else None
                    if not isinstance(item, Failure):
                        try:
                            _write(writer, item)
                        except TokensError as error:
                            record = item.record
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
            while not self._ended:  # lets those who wait to put go on; the last commit is after it
                self._next()


def _write(writer: StoreWriter, clip: EncodedClip) -> None:
    if clip.arrays is not None:
        writer.add_stored(clip.record, clip.arrays)
    elif clip.tokens is not None:
        writer.add(clip.record, clip.tokens)  # says which value does not fit
