"""What a run says at its end: to people as lines, to scripts as JSON."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TypedDict

from stepcli.cache.schema.windows import split_window
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.store.store import Store
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.pipeline.prepare import Resources
from stepcli.extract.pipeline.space import Need
from stepcli.extract.pipeline.stages import StageSeconds, grouped_reasons
from stepcli.extract.sources.stock import Stock, Todo
from stepcli.runtime import terminal
from stepcli.runtime.progress import duration
from stepcli.runtime.settings import JsonObject
from stepcli.runtime.words import counted, sized

SHOWN_REASONS = 20


def say(text: str) -> None:
    """A line on standard error: standard output is for what scripts read."""
    terminal.say(text, err=True)


def say_notes(notes: Iterable[str]) -> None:
    """Each note that is not empty, as a line."""
    for note in notes:
        if note:
            say(f"note: {note}")


def announce(store: Store, need: Need, left: Sequence[Clip], resources: Resources | None) -> None:
    """What is about to be done; resources: this machine's, None where workers use their own."""
    spec = store.spec
    steps, tokens, dim = spec.clip_shape[-3:]
    layers = f"{len(spec.layers)} layers x " if len(spec.layers) > 1 else ""
    where = resources.device if resources else "each worker's device"
    say(
        f"{to_extract(need, left)} -> {store.path} ({store.format}); {spec.backbone} on {where}; "
        f"each: {layers}{steps} frames x {tokens} tokens x {dim} {spec.dtype}"
    )


def report_stages(count: int, seconds: StageSeconds, resources: Resources | None) -> None:
    """Where the time went; resources: this machine's, None where workers' times are summed."""
    decoders = f" in {resources.workers} processes" if resources else ""
    passes = f" in {resources.passes} passes at once" if resources else ""
    say(
        f"Processed {count} in {duration(seconds.total)}, {count / seconds.total:.1f} per second; "
        f"work: decoding {seconds.decoding:.1f} s{decoders}, "
        f"the backbone {seconds.forward:.1f} s{passes}, writing {seconds.writing:.1f} s"
    )
    say(
        f"waiting: for decoders {seconds.waiting_for_decoders:.1f} s, for the backbone "
        f"{seconds.waiting_for_backbone:.1f} s, for the disk {seconds.waiting_for_writer:.1f} s; "
        f"the limit was {seconds.limit}"
    )


def past_end_note(count: int) -> str:
    """A line on segments whose end lies behind the video's; "" where there are none."""
    if not count:
        return ""
    return (
        f"{counted(count, 'clip')} whose video ends before the segment does: stored are the frames "
        "up to the video's end; compare the list's times with the videos"
    )


def summarise(store: Store, todo: Todo, clips: Sequence[Clip], share: str) -> None:
    """Clips done, quarantined with their reasons, left."""
    total = len(todo.done) + len(todo.quarantined) + todo.left_count
    say(
        f"{_count(total, clips)} in all{share}: {len(todo.done)} done, "
        f"{len(todo.quarantined)} quarantined, {todo.left_count} left; store {store.path}"
    )
    reasons = grouped_reasons(todo.quarantined)
    for reason, count, example in reasons[:SHOWN_REASONS]:
        say(f"  {count} x {example.error}: {reason} (e.g. {example.path!r})")
    if len(reasons) > SHOWN_REASONS:
        say(f"  and {len(reasons) - SHOWN_REASONS} reasons more")
    if todo.quarantined:
        say(
            f"each with its reason in {store.path / 'failures'}; fix the files and run the same "
            "command with --retry-failed"
        )


def say_dry(store: Store, todo: Todo, stock: Stock, share: str, need: Need, *, prune: bool) -> None:
    """What a run would do that only asked."""
    say(
        f"dry run, nothing was written: {_count(len(todo.done), stock.share)}{share} done, "
        f"{len(todo.quarantined)} quarantined; to extract: {to_extract(need, todo.left)}; store "
        f"{store.path}"
    )
    rows = {row.id for row in store.clips()}
    going = [clip for clip in stock.not_listed if clip in rows]
    if prune:
        for clip in going[:SHOWN_REASONS]:
            say(f"  would be taken out of training: {clip}")
        if len(going) > SHOWN_REASONS:
            say(f"  and {len(going) - SHOWN_REASONS} clips more")


def way_back(store: Store, file: StoragePath) -> str:
    """How clips that were taken out of training come back."""
    command = f"stepcli store labels --store {store.path} --from"
    kept = f"{command} {file}" if file.local else f"{command} FILE, a copy of {file}"
    return f"their tokens stay; they come back when the list names them again, or with {kept}"


class Reason(TypedDict):
    """Why clips were quarantined."""

    error: str
    """Name of the class of the error."""
    message: str
    count: int
    example: str
    """Path of one of the videos."""


class RunSummary(TypedDict, total=False):
    """What `extract --json` prints; a dry run without a store has the first fields alone."""

    store: str
    clips: int
    left: int
    """Of recordings a dry run estimates it; `left_bytes`, which only a dry run has, likewise."""
    left_bytes: int
    spec_digest: str
    share: str
    stored_ids: int
    done: int
    quarantined: int
    not_listed: int
    changed: list[str]
    moved: int
    source_missing: int
    source_unknown: int
    reasons: list[Reason]
    seconds: dict[str, float | str] | None
    """StageSeconds, and the stage that the others waited for as "limit"."""
    warnings: list[str]
    config: JsonObject
    """The settings, as a --config file gives them."""


def as_json(
    store: Store,
    todo: Todo,
    stock: Stock,
    seconds: StageSeconds | None,
    share: str,
    need: Need | None = None,
) -> RunSummary:
    """The same for scripts; `seconds`: None where nothing was left to do; `need`: of a dry run."""
    compared = stock.compared
    left = todo.left_count if need is None else need.amount.ids
    summary: RunSummary = {
        "store": str(store.path),
        "spec_digest": store.spec.digest,
        "share": share.strip(" ()"),
        "clips": len(stock.share),
        "stored_ids": len(todo.done) + len(todo.quarantined) + left,
        "done": len(todo.done),
        "quarantined": len(todo.quarantined),
        "left": left,
        "not_listed": len(stock.not_listed),
        "changed": [change.id for change in compared.changed],
        "moved": len(compared.moved),
        "source_missing": len(compared.missing),
        "source_unknown": len(compared.unknown),
        "reasons": [
            {"error": example.error, "message": reason, "count": count, "example": example.path}
            for reason, count, example in grouped_reasons(todo.quarantined)
        ],
        "seconds": None if seconds is None else {**asdict(seconds), "limit": seconds.limit},
    }
    if need is not None:
        summary["left_bytes"] = need.size
    return summary


def to_extract(need: Need, clips: Sequence[Clip]) -> str:
    """What a run is about to store, with its size: "12 windows of 3 recordings, 1.2 MB"."""
    amount = need.amount
    if not clips:
        return "nothing"
    about = "about " if amount.basis else ""
    return f"{_of(str(amount), amount.noun, clips)}, {about}{sized(need.size)}{amount.remark}"


def _count(stored: int, clips: Sequence[Clip]) -> str:
    noun = "clip"
    if any(clip.views for clip in clips):
        noun = "window" if split_window(clips[0].stored_ids[0])[1] is not None else "view"
    return _of(counted(stored, noun), noun, clips)


def _of(stored: str, noun: str, clips: Sequence[Clip]) -> str:
    """ "12 windows" -> "12 windows of 3 recordings"; clips of one view stay as they are."""
    if noun == "clip":
        return stored
    return f"{stored} of {counted(len(clips), 'recording' if noun == 'window' else 'clip')}"
