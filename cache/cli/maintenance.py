"""`stepcli store repair, merge, convert, compact`: what changes the parts of stores.

Each says what it does; `--dry-run` says it without doing it.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from stepcli.cache.cli.options import (
    DryRunOption,
    JsonOption,
    PartBytesOption,
    PartClipsOption,
    StoreOption,
    WorkersOption,
)
from stepcli.runtime.terminal import print_json, say, would
from stepcli.runtime.words import counted, sized

app = typer.Typer()


@app.command()
def repair(
    store: StoreOption = None,
    workers: WorkersOption = 4,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete what this and earlier repairs moved away.")
    ] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Move damaged parts away, keep their intact clips; stepcli extract makes the rest again.

    Damaged parts go to .damaged/ in the store. What cannot be read (a disk's or a server's error, a
    permission) is left as it is. A damaged manifest is restored from the parts, a damaged table
    from its last version.
    """
    from stepcli.cache.store.locate import chosen_place

    root = chosen_place(store)
    from stepcli.cache.maintenance.repair import repair_store
    from stepcli.runtime.errors import DamagedStore, StorageError
    from stepcli.runtime.progress import Progress

    with Progress("part", description="verify") as progress:
        plan = repair_store(
            root, workers=workers, delete=delete, dry_run=dry_run, on_part=progress.show
        )
    if as_json:
        print_json({"store": str(root), "dry_run": dry_run, **asdict(plan)})
    else:
        for part, reason in plan.parts.items():
            say(f"{would('move', dry_run)} part {part} to .damaged/: {reason}")
        for clip in plan.dropped_clips:
            say(f"{would('drop', dry_run)} clip {clip}: extract makes it again")
        for place, done in plan.restored.items():
            say(f"{would('restore', dry_run)} {place}: {done}")
        for problem in plan.left:
            verb = "cannot read" if problem.unread else "cannot restore"
            say(f"{verb} {problem.place}: {problem.problem}")
        if plan.deleted_bytes:
            say(f"{would('delete', dry_run)} {sized(plan.deleted_bytes)} in {root}/.damaged")
        if plan.set_aside_bytes and not delete:
            say(
                f"{sized(plan.set_aside_bytes)} in {root}/.damaged; stepcli store repair "
                "--delete frees them"
            )
        if plan.parts or plan.restored or plan.swept or plan.left:
            say(
                f"{counted(len(plan.parts), 'damaged part')}, "
                f"{counted(plan.kept_clips, 'whole clip')} kept, "
                f"{counted(len(plan.dropped_clips), 'clip')} dropped, "
                f"{counted(len(plan.restored), 'other file')} restored, "
                f"{counted(len(plan.swept), 'dead writer')} swept"
            )
        else:
            say("nothing is damaged")
    if plan.left:
        first = min(plan.left, key=lambda problem: problem.unread)
        more = f" (and {len(plan.left) - 1} more)" if len(plan.left) > 1 else ""
        if first.unread:
            raise StorageError(
                f"could not read {root}/{first.place}: {first.problem}{more}; nothing that was "
                "not read was changed: fix the cause and repair again"
            )
        raise DamagedStore(f"cannot restore {root}/{first.place}: {first.problem}{more}")


@app.command()
def merge(
    target: Annotated[Path, typer.Argument(help="Store that is added to: a folder or URL.")],
    sources: Annotated[list[Path], typer.Argument(help="Stores of the same spec; left as is.")],
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Add the parts of other stores of one spec, by hard link where the file system has them."""
    from stepcli.cache.maintenance.merge import merge_stores
    from stepcli.cache.storage.places import place_of
    from stepcli.runtime.progress import Progress

    into = place_of(target)
    with Progress("part", description="merge") as progress:
        plan = merge_stores(
            into, [place_of(source) for source in sources], dry_run=dry_run, on_part=progress.show
        )
    if as_json:
        print_json({"store": str(into), "dry_run": dry_run, **asdict(plan)})
        return
    for part, source in plan.parts.items():
        say(f"{would('add', dry_run)} part {part} of {source}")
    for clip in plan.rows_differing:
        say(f"clip {clip}: its line in the clips table differs; the target's stays")
    for tower in plan.texts_differing:
        say(f"texts of {tower}: other embeddings than the target's, which stay")
    say(
        f"{counted(len(plan.parts), 'part')}, {counted(plan.clips, 'clip')}, "
        f"{sized(plan.bytes)} ({sized(plan.copied_bytes)} copied), "
        f"{counted(plan.rows_added, 'new line')} in the clips table"
    )


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="Store to read: a folder or URL.")],
    target: Annotated[Path, typer.Argument(help="Store to make, or to go on with.")],
    form: Annotated[
        Literal["zarr", "hdf5"] | None, typer.Option("--format", help="Default: the source's.")
    ] = None,
    dtype: Annotated[
        Literal["float16", "float32", "bfloat16", "int8", "int8-channel"] | None,
        typer.Option(help="Default: the source's. int8: one scale per token."),
    ] = None,
    part_bytes: PartBytesOption = 1 << 30,
    part_clips: PartClipsOption = 4096,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Copy a store into another format, dtype or place; started again, it resumes."""
    from stepcli.cache.maintenance.convert import convert_store
    from stepcli.cache.storage.places import place_of
    from stepcli.runtime.progress import Progress

    with Progress("clip", description="convert") as progress:
        plan = convert_store(
            place_of(source),
            place_of(target),
            form=form,
            dtype=dtype,
            part_bytes=part_bytes,
            part_clips=part_clips,
            dry_run=dry_run,
            on_clip=progress.show,
        )
    if as_json:
        print_json({"dry_run": dry_run, **asdict(plan)})
    else:
        say(
            f"{would('write', dry_run)} {counted(plan.clips, 'clip')}, "
            f"{sized(plan.bytes)}, to {plan.target} "
            f"as {plan.format} {plan.dtype}; {plan.quarantined} quarantined"
        )
    if plan.quarantined:
        say(f"see why: stepcli store ls --store {plan.target} --state quarantined", err=True)
        raise typer.Exit(3)


@app.command()
def compact(
    store: StoreOption = None,
    part_bytes: PartBytesOption = 1 << 30,
    part_clips: PartClipsOption = 4096,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Rewrite small parts into full ones and drop superseded copies; open readers keep working."""
    from stepcli.cache.store.locate import chosen_place

    root = chosen_place(store)
    from stepcli.cache.maintenance.compact import compact_store
    from stepcli.runtime.progress import Progress

    with Progress("clip", description="compact") as progress:
        plan = compact_store(
            root,
            part_bytes=part_bytes,
            part_clips=part_clips,
            dry_run=dry_run,
            on_clip=progress.show,
        )
    if as_json:
        print_json({"store": str(root), "dry_run": dry_run, **asdict(plan)})
        return
    for part in plan.rewritten:
        say(f"{would('rewrite', dry_run)} part {part}")
    for part in plan.removed:
        say(f"{would('remove', dry_run)} part {part}: no clip in it is in use")
    if not plan.rewritten and not plan.removed:
        say("nothing to compact: no small parts to join, no superseded copies")
        return
    say(
        f"{counted(len(plan.rewritten), 'part')} rewritten, {len(plan.removed)} removed: "
        f"{counted(plan.clips, 'clip')} "
        f"copied, {plan.superseded} superseded copies dropped, {sized(plan.bytes_before)} before"
    )
