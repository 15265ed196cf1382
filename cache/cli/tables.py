"""`stepcli store compare, duplicates, labels`: how stores differ; labels and splits of clips."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stepcli.cache.cli.options import DryRunOption, JsonOption, StoreOption
from stepcli.runtime.terminal import print_json, say, would
from stepcli.runtime.words import counted

if TYPE_CHECKING:
    from stepcli.cache.storage.path import StoragePath

app = typer.Typer()


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="The reference: a folder or URL.")],
    b: Annotated[Path, typer.Argument(help="Store of the same clip shape.")],
    limit: Annotated[
        int, typer.Option(min=0, help="Maximum number of clips, evenly spread (0 = no limit).")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """How far B's tokens are from A's: cosine and relative error, by token and by channel."""
    from stepcli.cache.maintenance.compare import compare_stores
    from stepcli.runtime.progress import Progress

    with Progress("clip", description="compare") as progress:
        found = compare_stores(a, b, limit=limit, on_clip=progress.show)
    if as_json:
        print_json({"a": str(a), "b": str(b), **asdict(found)})
        return
    for line in found.spec_differences:
        say(f"spec: {line}".replace("store", str(a)).replace("asked", str(b)))
    say(
        f"clips: {found.clips} compared, {found.identical_clips} identical; "
        f"{len(found.only_in_a)} only in A, {len(found.only_in_b)} only in B"
    )
    for name in ("cosine", "token_error", "channel_error"):
        spread = getattr(found, name)
        if spread is not None:
            say(
                f"{name.replace('_', ' ') + ':':<15} mean {spread.mean:.6f}, "
                f"worst {spread.worst:.6f} ({spread.where})"
            )
    if found.zero_tokens:
        say(f"{counted(found.zero_tokens, 'token')} of norm zero left out")


@app.command()
def duplicates(
    store: StoreOption = None,
    limit: Annotated[int, typer.Option(min=0, help="Maximum number of sets (0 = no limit).")] = 0,
    as_json: JsonOption = False,
) -> None:
    """List clips that are copies: set, id, split, label, and whether their files are equal.

    Views of one clip and windows of one file are not copies. No token is read except to confirm
    equal checksums.
    """
    from stepcli.cache.store.locate import chosen_place

    root = chosen_place(store)
    from stepcli.cache.store.duplicates import describe_copies
    from stepcli.cache.store.store import open_store

    found = describe_copies(open_store(root))
    sets = found["sets"][: limit or None]
    if as_json:
        print_json(found | {"sets": sets})
        return
    for number, one in enumerate(sets, 1):
        for row in one["clips"]:
            cells = (str(number), row["id"], row["split"], row["label"], f"files {one['files']}")
            say("\t".join(cells))
    say(
        f"{found['copies']} of {counted(found['clips'], 'clip')} are in "
        f"{counted(len(found['sets']), 'set')} of copies; "
        f"{counted(found['test_clips_copied_in_train'], 'test clip')} copied in train; "
        f"{counted(found['sets_with_several_labels'], 'set')} with more than one label"
    )
    if found["compared_by_checksum_alone"]:
        say(
            f"{counted(found['compared_by_checksum_alone'], 'stored view')} compared by 32-bit "
            "checksum alone: too many to compare their tokens"
        )


@app.command()
def labels(
    store: StoreOption = None,
    table: Annotated[
        Path | None,
        typer.Option("--from", help="CSV or Parquet: id and any of label, split, group, view."),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(help="Take over a classes.csv: name, index, partner, kind, mirror, prompt."),
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Write the clips table as CSV.")] = None,
    segments: Annotated[
        Path | None,
        typer.Option(
            help="CSV: recording, start_seconds, end_seconds, label. Windows take the label of "
            "their middle, or background."
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
    from stepcli.runtime.words import counted, listed

    if [table, classes, to, segments, test_share].count(None) != 4:
        raise UsageError(
            "give one of --from FILE (change the clips table), --classes FILE (replace the "
            "classes), --segments FILE (label windows of recordings), --to FILE (write the clips "
            "table) and --test-share 0.25 (draw a split)"
        )
    root = chosen_place(store)
    from stepcli.cache.maintenance.draw_split import draw_split
    from stepcli.cache.maintenance.relabel import relabel, replace_classes, write_lines

    if segments is not None:
        _label_by_segments(root, segments, dry_run=dry_run, as_json=as_json)
        return
    if test_share is not None:
        drawn = draw_split(root, test_share, dry_run=dry_run)
        if as_json:
            print_json({"store": str(root), "dry_run": dry_run, **asdict(drawn)})
            return
        assigned = "Would assign" if dry_run else "Assigned"
        before = counted(drawn.kept, "clip") if drawn.kept else "none"
        say(
            f"{assigned} {counted(drawn.train, 'clip')} to train and {drawn.test:,} to test; "
            f"{before} had a split before"
        )
        if drawn.followed:
            say(
                f"{assigned} {counted(drawn.followed, 'clip')} to the split that the rest of the "
                "group has already"
            )
        if drawn.untested:
            say(f"without a test clip, for want of a second group: {', '.join(drawn.untested)}")
        if drawn.torn:
            say(
                f"{counted(len(drawn.torn), 'group')} already in several splits; the other clips "
                f"stay without a split: {listed(drawn.torn)}; set them with store labels --from"
            )
        return
    if classes is not None:
        count, notes = replace_classes(root, classes, dry_run=dry_run)
        if as_json:
            print_json({"store": str(root), "dry_run": dry_run, "classes": count, "notes": notes})
            return
        for note in notes:
            say(f"note: {note}")
        say(f"{would('set', dry_run)} {counted(count, 'class', 'classes')}")
        return
    if to is not None:
        count = write_lines(root, to, dry_run=dry_run)
        if as_json:
            print_json({"store": str(root), "dry_run": dry_run, "written": count, "to": str(to)})
        else:
            say(f"{would('write', dry_run)} {counted(count, 'line')} to {to}")
        return
    assert table is not None
    plan = relabel(root, table, dry_run=dry_run)
    if as_json:
        print_json({"store": str(root), "dry_run": dry_run, **asdict(plan)})
        return
    for clip, changes in plan.changed.items():
        texts = ", ".join(f"{column} {text!r}" for column, text in changes.items())
        say(f"{would('set', dry_run)} {clip}: {texts}")
    for note in plan.notes:
        say(f"note: {note}")
    for warning in (*plan.alike, *plan.leakage):
        say(f"warning: {warning}")
    for column, blank in plan.blank.items():
        say(f"note: {counted(blank, 'line')} with a blank {column}")
    say(f"{counted(plan.lines, 'line')}, {counted(len(plan.changed), 'clip')} changed")


def _label_by_segments(root: "StoragePath", table: Path, *, dry_run: bool, as_json: bool) -> None:
    from stepcli.cache.maintenance.segments import take_segments
    from stepcli.runtime.words import counted

    taken = take_segments(root, table, dry_run=dry_run)
    if as_json:
        print_json({"store": str(root), "dry_run": dry_run, **asdict(taken)})
        return
    for note in taken.notes:
        say(f"note: {note}")
    say(
        f"{would('take', dry_run)} {counted(taken.segments, 'segment')} of "
        f"{counted(taken.recordings, 'recording')} with {counted(taken.windows, 'window')}"
    )
    if not dry_run:
        say(
            f"{counted(taken.changed, 'window')} changed; {taken.background:,} of "
            f"{taken.windows:,} are background"
        )
