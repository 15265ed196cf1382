"""`stepcli store labels`: labels and splits of clips, and segments of recordings.

Segments may come from a data set's own annotation file, which stage 1 reads: so the command lies
above both stages.
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from stepcli.cache.cli.options import DryRunOption, JsonOption, StoreOption
from stepcli.runtime.terminal import print_json, say, would

if TYPE_CHECKING:
    from stepcli.cache.storage.path import StoragePath

Answer: TypeAlias = tuple[dict[str, Any], list[str]]
"""What --json prints beside the store, and the lines that people read."""

app = typer.Typer()


@app.command()
def labels(
    store: StoreOption = None,
    table: Annotated[
        Path | None,
        typer.Option(
            "--from", exists=True, help="CSV or Parquet: id and any of label, split, group, view."
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(help="Take over a classes.csv: name, index, partner, kind, mirror, prompt."),
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Write the clips table as CSV.")] = None,
    segments: Annotated[
        Path | None,
        typer.Option(
            help="Label windows of recordings: a CSV with recording, start_seconds, end_seconds, "
            "label, or the annotation file of Drive&Act, IKEA ASM, EPIC-KITCHENS or Charades."
        ),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Option of that data set; repeatable."),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            help="Frames per second of the recordings, for segments by frame number whose videos "
            "are not here."
        ),
    ] = None,
    test_share: Annotated[
        float | None,
        typer.Option(
            help="Draw a split for clips without one: this share of each class's groups is test."
        ),
    ] = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Change labels, splits, groups, views or classes; no token is touched."""
    from stepcli.cache.store.locate import chosen_place
    from stepcli.runtime.errors import UsageError

    if [table, classes, to, segments, test_share].count(None) != 4:
        raise UsageError(
            "give one of --from FILE (change the clips table), --classes FILE (replace the "
            "classes), --segments FILE (label windows of recordings), --to FILE (write the clips "
            "table) and --test-share 0.25 (draw a split)"
        )
    if segments is None and (options or fps is not None):
        raise UsageError(f"{'--set' if options else '--fps'} is an option of --segments FILE")
    if fps is not None and not 0 < fps < float("inf"):
        raise UsageError(f"--fps {fps}: expected more than 0")
    root = chosen_place(store)
    if segments is not None:
        facts, lines = _by_segments(root, segments, options or [], fps, dry_run)
    elif test_share is not None:
        facts, lines = _drawn(root, test_share, dry_run)
    elif classes is not None:
        facts, lines = _classes(root, classes, dry_run)
    elif to is not None:
        facts, lines = _written(root, to, dry_run)
    else:
        assert table is not None
        facts, lines = _by_table(root, table, dry_run)
    if as_json:
        print_json({"store": str(root), "dry_run": dry_run, **facts})
        return
    for line in lines:
        say(line)


def _by_segments(
    root: "StoragePath", table: Path, options: list[str], fps: float | None, dry_run: bool
) -> Answer:
    from stepcli.cache.maintenance.segments import take_segments
    from stepcli.extract.config.values import read_options
    from stepcli.extract.pipeline.annotation_files import segments_reader
    from stepcli.runtime.errors import UsageError
    from stepcli.runtime.words import counted

    try:
        reader = segments_reader(read_options(options), fps)
    except ValueError as error:
        raise UsageError(f"--set: {error}") from None
    taken = take_segments(root, table, read=reader, dry_run=dry_run)
    lines = [f"note: {note}" for note in taken.notes]
    lines += [f"warning: {warning}" for warning in taken.warnings]
    lines.append(
        f"{would('take', dry_run)} {counted(taken.segments, 'segment')} of "
        f"{counted(taken.recordings, 'recording')} with {counted(taken.windows, 'window')}"
    )
    if not dry_run:
        lines.append(
            f"{counted(taken.changed, 'window')} changed; {taken.background:,} of "
            f"{taken.windows:,} are background"
        )
    return asdict(taken), lines


def _drawn(root: "StoragePath", test_share: float, dry_run: bool) -> Answer:
    from stepcli.cache.maintenance.draw_split import draw_split
    from stepcli.runtime.words import counted, listed

    drawn = draw_split(root, test_share, dry_run=dry_run)
    assigned = "Would assign" if dry_run else "Assigned"
    before = counted(drawn.kept, "clip") if drawn.kept else "none"
    lines = [
        f"{assigned} {counted(drawn.train, 'clip')} to train and {drawn.test:,} to test; "
        f"{before} had a split before"
    ]
    if drawn.followed:
        lines.append(
            f"{assigned} {counted(drawn.followed, 'clip')} to the split that the rest of the "
            "group has already"
        )
    if drawn.untested:
        lines.append(
            f"without a test clip, for want of a second group: {', '.join(drawn.untested)}"
        )
    if drawn.torn:
        lines.append(
            f"{counted(len(drawn.torn), 'group')} already in several splits; the other clips "
            f"stay without a split: {listed(drawn.torn)}; set them with store labels --from"
        )
    return asdict(drawn), lines


def _classes(root: "StoragePath", classes: Path, dry_run: bool) -> Answer:
    from stepcli.cache.maintenance.relabel import replace_classes
    from stepcli.runtime.words import counted

    count, notes = replace_classes(root, classes, dry_run=dry_run)
    lines = [f"note: {note}" for note in notes]
    lines.append(f"{would('set', dry_run)} {counted(count, 'class', 'classes')}")
    return {"classes": count, "notes": notes}, lines


def _written(root: "StoragePath", to: Path, dry_run: bool) -> Answer:
    from stepcli.cache.maintenance.relabel import write_lines
    from stepcli.runtime.words import counted

    count = write_lines(root, to, dry_run=dry_run)
    lines = [f"{would('write', dry_run)} {counted(count, 'line')} to {to}"]
    return {"written": count, "to": str(to)}, lines


def _by_table(root: "StoragePath", table: Path, dry_run: bool) -> Answer:
    from stepcli.cache.maintenance.relabel import relabel
    from stepcli.runtime.words import counted

    plan = relabel(root, table, dry_run=dry_run)
    lines = []
    for clip, changes in plan.changed.items():
        texts = ", ".join(f"{column} {text!r}" for column, text in changes.items())
        lines.append(f"{would('set', dry_run)} {clip}: {texts}")
    lines += [f"note: {note}" for note in plan.notes]
    lines += [f"warning: {warning}" for warning in (*plan.alike, *plan.leakage)]
    for column, blank in plan.blank.items():
        lines.append(f"note: {counted(blank, 'line')} with a blank {column}")
    lines.append(f"{counted(plan.lines, 'line')}, {counted(len(plan.changed), 'clip')} changed")
    return asdict(plan), lines
