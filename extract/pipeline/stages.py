"""Stage one: decode -> batch -> forward -> reduce -> write, each in its own thread or process.

Bounded queues connect the stages, so memory stays flat however long the run: decoders wait
for a free slot of pixels, the forward pass for the disk.
"""

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from stepcli.cache.schema.clips import Failure
from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.store.store import Store
from stepcli.cache.tables.failures import read_failures
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.decode.pool import AHEAD, DecodedClip, DecodePool
from stepcli.extract.decode.process import DecodeSettings
from stepcli.extract.pipeline.backbone_runner import BackboneRunner, EncodedClip, group_by_frames
from stepcli.extract.pipeline.precision import dtype_of
from stepcli.extract.pipeline.prepare import Prepared
from stepcli.extract.pipeline.progress import ProgressListener
from stepcli.extract.pipeline.writer_thread import WriterThread
from stepcli.runtime.threads import use_one_thread_a_pass

FORWARD = "stepcli-forward"


@dataclass(frozen=True, slots=True)
class StageSeconds:
    """Where the time of a run went."""

    total: float
    waiting_for_decoders: float
    waiting_for_backbone: float
    waiting_for_writer: float
    decoding: float
    """Summed over the decoder processes."""
    forward: float
    """Summed over the passes that run beside each other."""
    writing: float
    past_end: int = 0
    """Clips whose segment ends after their video does."""

    @property
    def limit(self) -> str:
        """The stage that the others waited for."""
        stages = {
            "decoding": self.waiting_for_decoders,
            "the backbone": self.waiting_for_backbone,
            "writing": self.waiting_for_writer,
        }
        return max(stages, key=stages.__getitem__)


@dataclass(frozen=True, slots=True)
class Target:
    """One backbone's part of a run: which clips it lacks, and where their tokens go."""

    store: Store
    prepared: Prepared
    """The run's settings and backbone, which moves to the run's device."""
    progress: ProgressListener
    """Told of each clip."""
    generation: int = 0
    """Of the parts; above those of clips that are extracted again."""
    wanted: frozenset[str] | None = None
    """Stored ids that it lacks; None: those of all clips of the run."""


def extract_clips(
    clips: Iterable[Clip],
    store: Store,
    prepared: Prepared,
    progress: ProgressListener,
    generation: int = 0,
) -> StageSeconds:
    """Extract clips into one store; see `extract_into`.

    Args:
        clips: those to do, none of them committed.
        store: of the prepared spec.
        prepared: as `Target.prepared`.
        progress: told of each clip.
        generation: of the parts.
    """
    return extract_into(clips, [Target(store, prepared, progress, generation)])


def extract_into(clips: Iterable[Clip], targets: Sequence[Target]) -> StageSeconds:
    """Extract clips for one backbone, or several that share frames, sampling, views and device.

    Each clip is decoded once. A broken one is quarantined and the run continues.

    Args:
        clips: those that some target lacks; asked for one by one as decoders get free.
        targets: the backbones and their stores.

    Raises:
        StoreError: the disk refused; what was added before is committed.
        KeyboardInterrupt: likewise; a pass that still runs is not waited for.
    """
    first, wanted = targets[0], [target.wanted for target in targets]
    spec, config, resources = first.store.spec, first.prepared.config, first.prepared.resources
    frames = spec.frames * spec.frames_per_token
    plan, *others = (target.prepared.backbone.facts.plan for target in targets)
    settings = DecodeSettings(
        plan, spec.sampling, frames, first.prepared.views, config.decoder, tuple(others)
    )
    use_one_thread_a_pass()
    runners = [make_runner(target.prepared, target.store.spec) for target in targets]
    workers = (
        min(resources.workers, len(clips)) if isinstance(clips, Sequence) else resources.workers
    )
    in_flight = AHEAD * resources.passes
    clips_a_batch = max(1, resources.batch // frames)
    clock = _Clock()
    with ExitStack() as stack:
        writers = [stack.enter_context(_writer(target)) for target in targets]
        pool = stack.enter_context(
            DecodePool(
                settings,
                workers=workers,
                slots=workers * AHEAD + (in_flight + 1) * clips_a_batch,
                clip_seconds=config.clip_timeout,
            )
        )
        threads = stack.enter_context(_passes(resources.passes))
        pending: deque[tuple[WriterThread, Future[list[EncodedClip]]]] = deque()

        def store_oldest() -> None:
            writer, future = pending.popleft()
            with clock.stage("forward"):
                results = future.result()
            with clock.stage("writer"):
                for result in results:
                    writer.add(result)

        decoded = clock.decoding(pool.decode(clips))
        for group in group_by_frames(decoded, resources.batch, clips_a_batch):
            if isinstance(group, Failure):
                for writer, ids in zip(writers, wanted, strict=True):
                    if ids is None or group.id in ids:
                        writer.quarantine(group)
                continue
            shared = zip(*(clip.for_plans(wanted) for clip in group), strict=True)
            for writer, runner, own in zip(writers, runners, shared, strict=True):
                if mine := [clip for clip in own if clip is not None]:
                    future = threads.submit(clock.timed, "passes", runner, mine)
                    pending.append((writer, future))
            while len(pending) >= in_flight:
                store_oldest()
        while pending:
            store_oldest()
    return clock.report(sum(writer.busy_seconds for writer in writers))


def _writer(target: Target) -> WriterThread:
    attempts = {clip: each.attempt for clip, each in read_failures(target.store.path).items()}
    return WriterThread(target.store, target.prepared, target.progress, attempts, target.generation)


def make_runner(prepared: Prepared, spec: StoreSpec) -> BackboneRunner:
    """The backbone on the run's device, warmed up where it is compiled."""
    resources, compiled = prepared.resources, prepared.config.compiled
    runner = BackboneRunner(
        prepared.backbone,
        prepared.selection,
        device=resources.device,
        dtype=dtype_of(resources.precision),
        tf32=resources.precision == "tf32",
        batch=resources.batch,
        layers=spec.layers,
        store_dtype=spec.dtype,
        compiled=compiled,
    )
    if compiled:
        runner.warm_up(spec.frames * spec.frames_per_token)
    return runner


@contextmanager
def _passes(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads for forward passes. An interrupt does not wait for the pass of a large model."""
    threads = ThreadPoolExecutor(
        count, thread_name_prefix=FORWARD, initializer=use_one_thread_a_pass
    )
    try:
        yield threads
    except BaseException:
        threads.shutdown(wait=False, cancel_futures=True)
        raise
    threads.shutdown()


def passes_still_running() -> bool:
    """Whether an interrupted run has left a forward pass behind, which nothing can stop."""
    return any(thread.name.startswith(FORWARD) for thread in threading.enumerate())


def grouped_reasons(failures: Sequence[Failure]) -> list[tuple[str, int, Failure]]:
    """Reasons with their count and one example each, the most frequent first."""
    counts = Counter(failure.message for failure in failures)
    example = {failure.message: failure for failure in reversed(failures)}
    return [(reason, count, example[reason]) for reason, count in counts.most_common()]


class _Clock:
    """Adds up the time that the main thread spends in each stage."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._spent: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()
        self._past_end = 0

    def timed(
        self,
        name: str,
        work: Callable[[list[DecodedClip]], list[EncodedClip]],
        group: list[DecodedClip],
    ) -> list[EncodedClip]:
        """Do a piece of work of a stage, in any thread."""
        started = time.perf_counter()
        try:
            return work(group)
        finally:
            with self._lock:
                self._spent[name] += time.perf_counter() - started

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._spent[name] += time.perf_counter() - started

    def decoding(self, results: Iterator[DecodedClip | Failure]) -> Iterator[DecodedClip | Failure]:
        """Pass results through; time between asking for one and having it is waiting."""
        while True:
            with self.stage("decoders"):
                result = next(results, None)
            if result is None:
                return
            if isinstance(result, DecodedClip):
                self._spent["decoding"] += result.seconds
                self._past_end += result.read.past_end
            yield result

    def report(self, writing: float) -> StageSeconds:
        return StageSeconds(
            total=time.perf_counter() - self._started,
            waiting_for_decoders=self._spent["decoders"],
            waiting_for_backbone=self._spent["forward"],
            waiting_for_writer=self._spent["writer"],
            decoding=self._spent["decoding"],
            forward=self._spent["passes"],
            writing=writing,
            past_end=self._past_end,
        )
