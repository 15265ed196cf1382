"""Whole recordings into windows: each frame decoded once and passed through the backbone once.

A thread per recording reads pictures in batches, keeps the tokens of the steps that windows still
to come will show, and hands each window to the writer as soon as its last step is there. Memory
does not grow with the length of a recording.
"""

import queue
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from stepcli.cache.schema.clips import ClipRecord, Failure, Source
from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.schema.quantize import decode_clips
from stepcli.cache.schema.views import view_id
from stepcli.cache.schema.windows import split_window, window_name, window_rule, with_steps
from stepcli.cache.store.store import Store
from stepcli.cache.tables.failures import read_failures
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.decode.isolated import GridPictures, grid_frames
from stepcli.extract.pipeline.backbone_runner import BackboneRunner, Encoded, EncodedClip
from stepcli.extract.pipeline.prepare import Prepared
from stepcli.extract.pipeline.progress import ExtractionProgress
from stepcli.extract.pipeline.stages import StageSeconds, make_runner
from stepcli.extract.pipeline.writer_thread import WriterThread
from stepcli.extract.sources.origin import facts_of, source_of, state_of
from stepcli.runtime.errors import ClipError, VideoError
from stepcli.runtime.threads import use_one_thread_a_pass


def extract_windows(
    recordings: Sequence[Clip],
    store: Store,
    prepared: Prepared,
    progress: ExtractionProgress,
    expected: Mapping[str, int] | None = None,
) -> StageSeconds:
    """Extract the windows of recordings that a store lacks; a broken recording is quarantined.

    Args:
        recordings: with their missing windows as views, as far as those are known. One with an end
            in seconds is read up to there, as if it ended there.
        store: of the prepared spec.
        prepared: the run's settings and backbone.
        progress: told of each window; its total is corrected as recordings are opened.
        expected: id of a recording -> its part of that total; without it, its views.

    Raises:
        StoreError: the disk refused; what was added before is committed.
        KeyboardInterrupt: likewise.
    """
    attempts = {one: failure.attempt for one, failure in read_failures(store.path).items()}
    resources = prepared.resources
    use_one_thread_a_pass()
    waiting: queue.SimpleQueue[Clip] = queue.SimpleQueue()
    for clip in recordings:
        waiting.put(clip)
    started = time.perf_counter()
    count = max(1, min(resources.workers, len(recordings)))
    runner = make_runner(prepared, store.spec)
    with WriterThread(store, prepared, progress, attempts) as writer:
        work = _Work(
            store,
            prepared,
            runner,
            writer,
            progress,
            expected or {clip.id: len(clip.stored_ids) for clip in recordings},
            threading.Semaphore(resources.passes),
        )
        with ThreadPoolExecutor(count, initializer=use_one_thread_a_pass) as threads:
            try:
                for done in [threads.submit(work.through, waiting) for _ in range(count)]:
                    done.result()
            except BaseException:
                work.stopping.set()
                raise
    return work.report(time.perf_counter() - started, writer.busy_seconds)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a step shows: converted once, however many windows have it."""

    tokens: Encoded
    seconds: float


class _Work:
    """What the threads of a run share."""

    def __init__(
        self,
        store: Store,
        prepared: Prepared,
        runner: BackboneRunner,
        writer: WriterThread,
        progress: ExtractionProgress,
        expected: Mapping[str, int],
        gate: threading.Semaphore,
    ) -> None:
        rule = window_rule(store.spec.sampling)
        assert rule is not None
        self._store, self._prepared, self._runner = store, prepared, runner
        self._writer, self._progress, self._gate, self._rule = writer, progress, gate, rule
        self._expected, self._layout = expected, part_layout(store.spec)
        self._lock = threading.Lock()
        self._decoding = self._forward = self._written = 0.0
        self.stopping = threading.Event()

    def through(self, waiting: "queue.SimpleQueue[Clip]") -> None:
        """Extract recordings until none is left."""
        while not self.stopping.is_set():
            try:
                clip = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                self._recording(clip)
            except _Stopped:
                return
            except BaseException:
                self.stopping.set()
                raise

    def report(self, total: float, writing: float) -> StageSeconds:
        """Where the time went."""
        return StageSeconds(
            total=total,
            waiting_for_decoders=self._decoding,
            waiting_for_backbone=self._forward,
            waiting_for_writer=self._written,
            decoding=self._decoding,
            forward=self._forward,
            writing=writing,
        )

    def _recording(self, clip: Clip) -> None:
        missing, counted = dict.fromkeys(clip.stored_ids), self._expected[clip.id]
        try:
            # Closed at once: what holds an exception would keep the decoder's process running.
            with closing(self._windows(clip)) as windows:
                for found in windows:
                    if isinstance(found, list):
                        self._progress.extend(len(found) - counted)
                        missing, counted = dict.fromkeys(found), len(found)
                        continue
                    before = time.perf_counter()
                    self._writer.add(found)
                    del missing[found.record.id]
                    counted -= 1
                    self._count(written=time.perf_counter() - before)
        except ClipError as error:
            self._progress.extend(len(missing) - counted)
            for stored_id in missing:
                self._writer.quarantine(
                    Failure(stored_id, str(clip.path), type(error).__name__, str(error))
                )

    def _windows(self, clip: Clip) -> Generator[list[str] | EncodedClip, None, None]:
        """First the ids of the windows that the store lacks, then those windows in order.

        The last window comes only once the recording has been read to its end.

        Raises:
            VideoError: with the reason.
        """
        rule = self._rule
        try:
            before, facts = state_of(clip.path), facts_of(clip.path)
        except OSError as error:
            raise VideoError(f"cannot be read ({error.strerror})") from error
        source = source_of(clip, facts)
        number = min(split_window(view_id(clip.id, view))[1] or 0 for view in clip.views)
        answers = grid_frames(
            clip.path,
            rule.rate,
            self._prepared.backbone.facts.plan,
            self._prepared.resources.batch,
            # One window earlier: the last one may begin before its place.
            first=max(0, (number - 1) * rule.stride),
            until=clip.end_seconds,
            frames_per_second=clip.frames_per_second,
        )
        with closing(answers):
            last = yield from self._cut(clip, source, answers)
        if last is None:
            return
        try:
            if state_of(clip.path) != before:
                raise VideoError("it changed while it was read; run the same command again")
        except OSError as error:
            raise VideoError(f"it vanished while it was read ({error.strerror})") from error
        yield last

    def _cut(
        self, clip: Clip, source: Source, answers: Iterator[int | GridPictures]
    ) -> Generator[list[str] | EncodedClip, None, EncodedClip | None]:
        """As `_windows`, but for the last window, which it returns; None where none is missing."""
        length, rule = self._store.spec.frames, self._rule
        steps = self._next(answers)
        assert isinstance(steps, int)
        starts = rule.starts(steps, length)
        left = [
            (stored_id, start)
            for number, start in enumerate(starts)
            if (stored_id := view_id(clip.id, window_name(number))) not in self._store
        ]
        yield [stored_id for stored_id, _ in left]
        if not left:
            return None
        kept: dict[int, _Kept] = {}
        size, last = (0, 0), None
        while last is None:
            found = self._next(answers)
            assert isinstance(found, GridPictures)
            size = found.size
            for (first, count, seconds), tokens in zip(
                found.steps, self._tokens(found.pictures), strict=True
            ):
                kept |= dict.fromkeys(range(first, first + count), _Kept(tokens, seconds))
            while left and min(left[0][1] + length, steps) - 1 in kept:
                stored_id, start = left.pop(0)
                window = [kept[min(start + i, steps - 1)] for i in range(length)]
                record = _record(stored_id, clip, source, window, size, start, steps)
                encoded = EncodedClip(record, *self._joined([each.tokens for each in window]))
                if left:
                    yield encoded
                    kept = {step: each for step, each in kept.items() if step >= left[0][1]}
                else:
                    last = encoded
        # The recording's end, where the reader says whether it was complete.
        while self._next(answers) is not None:
            pass
        return last

    def _next(self, answers: Iterator[int | GridPictures]) -> int | GridPictures | None:
        if self.stopping.is_set():
            raise _Stopped
        before = time.perf_counter()
        found = next(answers, None)
        self._count(decoding=time.perf_counter() - before)
        return found

    def _tokens(self, pictures: NDArray[np.uint8]) -> list[Encoded]:
        """Clips of one step each; as many passes at once as the device is meant for."""
        frames = torch.from_numpy(pictures)
        with self._gate:
            before = time.perf_counter()
            encoded = self._runner.encoded_frames(frames)
            self._count(forward=time.perf_counter() - before)
        return encoded

    def _joined(self, steps: Sequence[Encoded]) -> Encoded:
        """The steps of a window as one clip."""
        time_axis = self._layout.tokens.axes.index("frame") - 1  # a clip has no axis of clips
        arrays = [stored for stored, _ in steps if stored is not None]
        if len(arrays) == len(steps):
            together = zip(*arrays, strict=True)
            return [np.concatenate(parts, axis=time_axis) for parts in together], None
        return None, np.concatenate([self._floats(*step) for step in steps], axis=time_axis)

    def _floats(self, arrays: Sequence[np.ndarray] | None, tokens: np.ndarray | None) -> np.ndarray:
        """[(L,) 1, S, D] float32 of a step beside one that does not fit."""
        if tokens is not None:
            return tokens
        assert arrays is not None
        stored = zip(arrays, self._layout.arrays, strict=True)
        floats: np.ndarray = decode_clips(
            [own.view(kept.dtype)[None] for own, kept in stored], self._layout
        )[0]
        return floats

    def _count(self, *, decoding: float = 0.0, forward: float = 0.0, written: float = 0.0) -> None:
        with self._lock:
            self._decoding += decoding
            self._forward += forward
            self._written += written


class _Stopped(Exception):
    """Another thread has failed, or the run was interrupted."""


def _record(
    stored_id: str,
    clip: Clip,
    source: Source,
    window: Sequence[_Kept],
    size: tuple[int, int],
    start: int,
    steps: int,
) -> ClipRecord:
    seconds = tuple(each.seconds for each in window)
    return ClipRecord(
        id=stored_id,
        source=str(clip.path),
        pts_seconds=seconds,
        distinct_frames=len(set(seconds)),
        frame_height=size[0],
        frame_width=size[1],
        origin=replace(source, segment=with_steps(source.segment, start, steps)),
    )
