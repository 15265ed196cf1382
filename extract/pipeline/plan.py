"""`stepcli plan`: what a store would cost in bytes and hours, before a byte is written."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from stepcli.cache import create_store
from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.schema.spec import Dtype
from stepcli.extract.backbones.base import Backbone
from stepcli.extract.backbones.token_selection import parse_tokens
from stepcli.extract.config import ExtractConfig
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.pipeline.clip_list import load_list, spread
from stepcli.extract.pipeline.plan_recordings import Recordings, Survey, none_readable
from stepcli.extract.pipeline.prepare import Prepared, prepare, settled
from stepcli.extract.pipeline.progress import ExtractionProgress
from stepcli.extract.pipeline.stages import extract_clips
from stepcli.extract.sources.stock import what_is_left
from stepcli.runtime.errors import UsageError
from stepcli.runtime.files import nearest_existing
from stepcli.runtime.progress import duration
from stepcli.runtime.words import counted, sized

DTYPES: tuple[Dtype, ...] = get_args(Dtype)
SHOWN: tuple[Dtype, ...] = ("float32", "float16", "int8")
PROBE_GRID = 4


@dataclass(frozen=True, slots=True)
class LayoutCost:
    """One choice of tokens and dtype."""

    tokens: str
    dtype: Dtype
    clip_bytes: int
    """Of one stored id: a clip, or a view of one."""
    total_bytes: int
    fits: bool
    break_even: float
    """Bytes per second: a disk that reads slower than this is slower than the backbone itself."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What `stepcli plan` prints."""

    clips: int
    stored: int
    """Ids in the store: clips, or views of them."""
    clip_seconds: float
    """Measured on this machine: seconds per clip with all of its views, all stages side by side; of
    recordings the mean."""
    free_bytes: int
    layouts: tuple[LayoutCost, ...]
    recordings: Recordings | None = None
    """With --windows: the clips are recordings, and the ids in the store windows."""

    @property
    def hours(self) -> float:
        """Of one extraction; the layout hardly matters to it."""
        return self.clips * self.clip_seconds / 3600

    @property
    def recommended(self) -> LayoutCost | None:
        """The finest grid, or the layout asked for, that takes at most half of the free space:
        in float16, else in int8."""
        several = len({cost.tokens for cost in self.layouts}) > 1
        for dtype in ("float16", "int8"):
            modest = [
                cost
                for cost in self.layouts
                if cost.dtype == dtype
                and 2 * cost.total_bytes <= self.free_bytes
                and not (several and cost.tokens in ("cls", "full"))
            ]
            if modest:
                return modest[-1]
        return None


def make_plan(
    config: ExtractConfig, stores: Path, probe_clips: int, layouts: Sequence[str] = ()
) -> Plan:
    """Extract a few clips, or parts of recordings, into a temporary store, and multiply.

    Args:
        config: what is to be extracted; its tokens, dtype and store do not matter.
        stores: where the store would lie: its free space counts.
        probe_clips: how many clips or recordings to try.
        layouts: of tokens to compare; none: those that the backbone has.

    Raises:
        StepcliError: as `stepcli extract` would; also where not one of the clips can be read.
    """
    if len(config.backbones) > 1:
        raise UsageError(f"plan takes one backbone; found {config.backbone}")
    clips = load_list(config).clips
    count, stored = len(clips), sum(len(clip.stored_ids) for clip in clips)
    prepared = prepare(config.model_copy(update={"tokens": "grid1"}))
    recordings = None
    if config.windows is None:
        seconds = _try_out(prepared, spread(clips, probe_clips))
    else:
        survey = Survey(clips, prepared.spec.sampling, prepared.spec.frames)
        recordings = survey.recordings
        count, stored = recordings.count, recordings.windows
        seconds = survey.extraction_seconds(_trial_of(prepared), probe_clips) / count
    free = shutil.disk_usage(nearest_existing(stores)).free
    costs = []
    for tokens in layouts or layouts_of(prepared.backbone):
        for dtype in DTYPES:
            spec = _storing(prepared, tokens, dtype).spec
            size = part_layout(spec).clip_bytes
            total = size * stored
            break_even = total / count / seconds
            costs.append(LayoutCost(tokens, dtype, size, total, total < free, break_even))
    return Plan(count, stored, seconds, free, tuple(costs), recordings)


def layouts_of(backbone: Backbone) -> list[str]:
    """The layouts worth comparing, from coarse to fine."""
    finest = min(backbone.facts.grid)
    grids = [f"grid{side}" for side in (1, 2, 4, 8) if side <= finest]
    return [*(["cls"] if "cls" in backbone.facts.prefix else []), *grids, "full"]


def _storing(prepared: Prepared, tokens: str, dtype: Dtype) -> Prepared:
    """The same run with other tokens stored."""
    selection = parse_tokens(tokens, prepared.backbone.facts)
    update = {"segments": selection.segments, "dtype": dtype}
    return replace(prepared, selection=selection, spec=prepared.spec.model_copy(update=update))


def _trial_of(prepared: Prepared) -> Prepared:
    """The run that is timed."""
    side = min(PROBE_GRID, *prepared.backbone.facts.grid)
    return settled(_storing(prepared, f"grid{side}", "float32"))[0]


def _try_out(prepared: Prepared, clips: Sequence[Clip]) -> float:
    """Seconds per clip."""
    trial = _trial_of(prepared)
    views = sum(len(clip.stored_ids) for clip in clips)
    with tempfile.TemporaryDirectory() as place, ExtractionProgress(views, 0) as progress:
        store = create_store(Path(place) / "probe", trial.spec, dataset="plan")
        spent = extract_clips(clips, store, trial, progress)
        store.refresh()
        todo = what_is_left(store, clips)
        if not todo.done:
            reasons = [failure.message for failure in todo.quarantined]
            raise none_readable(len(clips), "clips", reasons)
    # Side by side, the slowest stage sets the pace; the decoders' start is paid once.
    decoding = spent.decoding / min(trial.resources.workers, len(clips))
    pace = max(decoding, spent.waiting_for_backbone, spent.waiting_for_writer)
    readable = len(clips) * len(todo.done) / (len(todo.done) + len(todo.quarantined))
    return pace / readable


def _heading(plan: Plan) -> list[str]:
    """What there is to do, and how long it takes."""
    takes = f"on this machine: {duration(plan.hours * 3600)}; {sized(plan.free_bytes)} free"
    if (found := plan.recordings) is not None:
        pace = plan.hours * 3600 / found.frames
        return [
            f"{counted(found.count, 'recording')}, {duration(found.seconds)} in all, give "
            f"{counted(found.windows, 'window')}",
            f"{counted(found.frames, 'frame')} for the backbone, {pace * 1000:.3g} ms each {takes}",
            *found.notes(),
        ]
    clips = f"{plan.clips} clips"
    if plan.stored != plan.clips:
        clips += f" in {plan.stored} views"
    return [f"{clips}, {plan.clip_seconds * 1000:.0f} ms per clip {takes}"]


def describe(plan: Plan) -> str:
    """The plan as text for people."""
    lines = [
        *_heading(plan),
        "",
        f"{'tokens':12}" + "".join(f"{dtype:>13} " for dtype in SHOWN) + "  break-even at float16",
    ]
    cost_of = {(cost.tokens, cost.dtype): cost for cost in plan.layouts}
    for tokens in dict.fromkeys(cost.tokens for cost in plan.layouts):
        row = [cost_of[tokens, dtype] for dtype in SHOWN]
        sizes = [f"{sized(cost.total_bytes):>13}{' ' if cost.fits else '!'}" for cost in row]
        rate = cost_of[tokens, "float16"].break_even
        lines.append(f"{tokens:12}{''.join(sizes)}{rate / 1e6:12.1f} MB/s")
    lines += [
        "",
        *(() if all(cost.fits for cost in plan.layouts) else ("!: does not fit",)),
        "bfloat16 is as large as float16, int8-channel hardly larger than int8",
        "break-even: read slower than that, and recomputing the tokens would be as fast",
    ]
    best = plan.recommended
    lines.append(
        f"recommended: --tokens {best.tokens} --dtype {best.dtype}"
        if best
        else "recommended: nothing fits with room to spare; free space, or store cls only"
    )
    return "\n".join(lines)
