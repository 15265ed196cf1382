"""`--backbone a,b`: a store for each backbone, every clip decoded once for all of them."""

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from stepcli.extract.config import ExtractConfig
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.engines.ready import check_space, make_ready, needs_of_new
from stepcli.extract.engines.run import (
    OpenRun,
    announced,
    finish,
    open_run,
    run_extract,
    say_about,
)
from stepcli.extract.pipeline.clip_list import ClipList
from stepcli.extract.pipeline.progress import ExtractionProgress, ProgressListener
from stepcli.extract.pipeline.stages import StageSeconds, Target, extract_into
from stepcli.extract.pipeline.summary import RunSummary, past_end_note, report_stages, say_notes
from stepcli.runtime.errors import UsageError

PLACE = "{backbone}"
"""In --store: replaced by the name of each backbone."""


def extract_all(config: ExtractConfig, listed: ClipList) -> tuple[int, list[RunSummary]]:
    """Extract for the one backbone of a run, or for several.

    Returns:
        The highest exit code; a summary per store.

    Raises:
        StepcliError: anything that the user can fix, before the first video is read.
        KeyboardInterrupt: finished clips are committed.
    """
    if len(config.backbones) == 1:
        (config,) = configs_of(config)
        code, summary = run_extract(config, listed)
        return code, [summary]
    require_sharing(config)
    warnings = say_about(listed, config)
    ready = [make_ready(each, listed) for each in configs_of(config)]  # all, before a store is made
    places = [str(each.place) for each in ready]
    if twice := [place for place in places if places.count(place) > 1]:
        raise UsageError(
            f"--store {twice[0]}: two of the backbones would share it, because their folders have "
            "one name; extract them one by one, each with a --store of its own"
        )
    check_space(needs_of_new(ready, listed), warnings)
    opened = [open_run(each, listed) for each in ready]
    runs = [run for run in opened if isinstance(run, OpenRun)]
    if not runs:
        return 0, [run for run in opened if not isinstance(run, OpenRun)]
    seconds = None
    with ExitStack() as tables:
        for run in runs:
            tables.enter_context(run.table(listed))
        check_space([run.need for run in runs], warnings)
        if left := [run for run in runs if run.todo.left]:
            seconds = _extract_left(left)
    outcomes = [finish(run, seconds, warnings) for run in runs]
    return max(code for code, _ in outcomes), [summary for _, summary in outcomes]


def configs_of(config: ExtractConfig) -> list[ExtractConfig]:
    """The settings of each backbone's run.

    Raises:
        UsageError: --store names one store for all of them.
    """
    if len(config.backbones) > 1 and config.store is not None and PLACE not in config.store:
        raise UsageError(
            f"--store {config.store}: {len(config.backbones)} backbones need a store each; put "
            f"{PLACE} into the name, or leave --store out"
        )
    return [
        config.model_copy(
            update={
                "backbone": name,
                "store": config.store and config.store.replace(PLACE, _folder_name(name)),
            }
        )
        for name in config.backbones
    ]


def require_sharing(config: ExtractConfig) -> None:
    """Refuse what cannot be shared between backbones.

    Raises:
        UsageError: naming the option.
    """
    alone = {
        "--engine ray": config.engine == "ray",
        "--windows": config.windows is not None,
        "--preprocess fast": config.preprocess == "fast",
    }
    for option, is_given in alone.items():
        if is_given:
            raise UsageError(f"{option} takes one backbone per run; found {config.backbone}")


def _folder_name(backbone: str) -> str:
    return backbone.rstrip("/").rpartition("/")[2].removeprefix("hf:").replace(":", "-")


def _extract_left(runs: Sequence[OpenRun]) -> StageSeconds:
    """One pass over the clips that any of the stores lacks."""
    prepared = [announced(run) for run in runs]
    rounded = {each.resources.precision == "tf32" for each in prepared}
    if len(rounded) > 1:
        raise UsageError(
            "one store is computed in TF32 and another is not, which a process cannot do at once; "
            "give --precision, or extract them one by one"
        )
    total, done = (sum(count) for count in zip(*map(_counts, runs), strict=True))
    with ExtractionProgress(total, done) as progress:
        listener = _OneAtATime(progress)
        targets = [
            Target(
                run.store,
                settled,
                listener,
                0 if run.stock.redo is None else run.stock.redo.generation,
                frozenset(stored for clip in run.todo.left for stored in clip.stored_ids),
            )
            for run, settled in zip(runs, prepared, strict=True)
        ]
        seconds = extract_into(union([run.todo.left for run in runs]), targets)
        count = progress.done
    report_stages(count, seconds, prepared[0].resources)
    say_notes([past_end_note(seconds.past_end)])
    for run in runs:
        run.store.refresh()
    return seconds


def _counts(run: OpenRun) -> tuple[int, int]:
    return run.todo.left_count, len(run.todo.done)


def union(lists: Sequence[Sequence[Clip]]) -> list[Clip]:
    """Each clip of several lists once, with every view that one of them names."""
    found: dict[str, Clip] = {}
    for clip in (clip for each in lists for clip in each):
        known = found.get(clip.id, clip)
        views = dict.fromkeys((*known.views, *clip.views))
        found[clip.id] = replace(known, views=tuple(views))
    return list(found.values())


class _OneAtATime:
    """Passes on what several writers say at once; see `ProgressListener`."""

    def __init__(self, progress: ProgressListener) -> None:
        self._progress = progress
        self._lock = threading.Lock()

    def clip_done(self) -> None:
        """One more clip is stored."""
        with self._lock:
            self._progress.clip_done()

    def clip_quarantined(self) -> None:
        """One more clip is quarantined."""
        with self._lock:
            self._progress.clip_quarantined()
