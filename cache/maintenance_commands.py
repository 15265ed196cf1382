"""`stepcli store repair, merge, convert, compact, compare, labels`: what changes stores.

Each says what it does; `--dry-run` says it without doing it.
"""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from stepcli.cache.options import JsonOption, StoreOption, print_json, say

if TYPE_CHECKING:
    from tqdm import tqdm

app = typer.Typer()

DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")
]
PartBytesOption = Annotated[
    int, typer.Option("--part-bytes", min=1, help="Bytes of tokens at which a part is full.")
]
PartClipsOption = Annotated[
    int, typer.Option("--part-clips", min=1, help="Clips at which a part is full.")
]


@app.command()
def repair(
    store: StoreOption = None,
    workers: Annotated[int, typer.Option(min=1, help="Parts checked at the same time.")] = 4,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Drop damaged parts, keep their whole clips; stepcli extract then makes the rest again."""
    from stepcli.cache.errors import DamagedStore
    from stepcli.cache.locate import locate_store
    from stepcli.cache.repair import repair_store

    root = locate_store(store)
    plan = repair_store(root, workers=workers, dry_run=dry_run)
    if as_json:
        print_json({"store": str(root), "dry_run": dry_run, **asdict(plan)})
    else:
        for part, reason in plan.parts.items():
            say(f"{_would('drop', dry_run)} part {part}: {reason}")
        for clip in plan.dropped_clips:
            say(f"{_would('drop', dry_run)} clip {clip}: extract makes it again")
        for problem in plan.left:
            say(f"cannot mend {problem.place}: {problem.problem}")
        say(
            f"{len(plan.parts)} damaged parts, {plan.kept_clips} whole clips kept, "
            f"{len(plan.dropped_clips)} clips dropped, {len(plan.swept)} dead writers swept"
        )
    if plan.left:
        raise DamagedStore(
            f"{len(plan.left)} files of {root} outside of its parts are damaged; put them back "
            "from a backup, or replace the tables with stepcli store labels --from"
        )


@app.command()
def merge(
    target: Annotated[Path, typer.Argument(help="Store to add to.")],
    sources: Annotated[list[Path], typer.Argument(help="Stores of the same spec; left as is.")],
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Add the parts of other stores of one spec, by hard link where the file system has them."""
    from stepcli.cache.merge import merge_stores

    plan = merge_stores(target, sources, dry_run=dry_run)
    if as_json:
        print_json({"store": str(target), "dry_run": dry_run, **asdict(plan)})
        return
    for part, source in plan.parts.items():
        say(f"{_would('add', dry_run)} part {part} of {source}")
    for clip in plan.rows_differing:
        say(f"clip {clip}: its line in the clips table differs; the target's stays")
    say(
        f"{len(plan.parts)} parts, {plan.clips} clips, {plan.bytes} bytes "
        f"({plan.copied_bytes} copied), {plan.rows_added} new lines in the clips table"
    )


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="Store to read.")],
    target: Annotated[Path, typer.Argument(help="Store to make, or to go on with.")],
    form: Annotated[
        Literal["zarr", "hdf5"] | None, typer.Option("--format", help="Default: the source's.")
    ] = None,
    dtype: Annotated[
        Literal["float16", "float32", "bfloat16", "int8", "int8-channel"] | None,
        typer.Option(help="Default: the source's. int8: one scale a token."),
    ] = None,
    part_bytes: PartBytesOption = 1 << 30,
    part_clips: PartClipsOption = 4096,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Copy a store into another format or dtype; begun again, it goes on where it was."""
    from tqdm import tqdm

    from stepcli.cache.convert import convert_store

    with tqdm(unit="clip", disable=None, desc="convert") as bar:
        plan = convert_store(
            source,
            target,
            form=form,
            dtype=dtype,
            part_bytes=part_bytes,
            part_clips=part_clips,
            dry_run=dry_run,
            on_clip=partial(_advance, bar),
        )
    if as_json:
        print_json({"dry_run": dry_run, **asdict(plan)})
    else:
        say(
            f"{_would('write', dry_run)} {plan.clips} clips, {plan.bytes} bytes, to {target} as "
            f"{plan.format} {plan.dtype}; {plan.quarantined} quarantined"
        )
    if plan.quarantined:
        say(f"see why: stepcli store ls --store {target} --state quarantined", err=True)
        raise typer.Exit(3)


@app.command()
def compact(
    store: StoreOption = None,
    part_bytes: PartBytesOption = 1 << 30,
    part_clips: PartClipsOption = 4096,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Rewrite small parts into full ones and drop superseded copies; open readers go on."""
    from stepcli.cache.compact import compact_store
    from stepcli.cache.locate import locate_store

    root = locate_store(store)
    plan = compact_store(root, part_bytes=part_bytes, part_clips=part_clips, dry_run=dry_run)
    if as_json:
        print_json({"store": str(root), "dry_run": dry_run, **asdict(plan)})
        return
    for part in plan.rewritten:
        say(f"{_would('rewrite', dry_run)} part {part}")
    for part in plan.removed:
        say(f"{_would('remove', dry_run)} part {part}: no clip in it is in use")
    say(
        f"{len(plan.rewritten)} parts rewritten, {len(plan.removed)} removed: {plan.clips} clips "
        f"copied, {plan.superseded} superseded copies dropped, {plan.bytes_before} bytes before"
    )


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="The reference.")],
    b: Annotated[Path, typer.Argument(help="Store of the same clip shape.")],
    limit: Annotated[int, typer.Option(min=0, help="At most so many clips; 0: all.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """How far B's tokens are from A's: cosine and relative error, by token and by channel."""
    from stepcli.cache.compare import compare_stores

    found = compare_stores(a, b, limit=limit)
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
        say(f"{found.zero_tokens} tokens of norm zero left out")


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
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Change labels, splits, groups, views or classes; no token is touched."""
    from stepcli.cache.errors import UsageError
    from stepcli.cache.locate import locate_store
    from stepcli.cache.relabel import relabel, replace_classes, write_lines

    root = locate_store(store)
    if [table, classes, to].count(None) != 2:
        raise UsageError(
            "give one of --from FILE (change the clips table), --classes FILE (replace the "
            "classes) and --to FILE (write the clips table)"
        )
    if classes is not None:
        count = replace_classes(root, classes, dry_run=dry_run)
        if as_json:
            print_json({"store": str(root), "dry_run": dry_run, "classes": count})
        else:
            say(f"{_would('set', dry_run)} {count} classes")
        return
    if to is not None:
        count = write_lines(root, to)
        if as_json:
            print_json({"store": str(root), "written": count, "to": str(to)})
        else:
            say(f"{count} lines written to {to}")
        return
    assert table is not None
    plan = relabel(root, table, dry_run=dry_run)
    if as_json:
        print_json({"store": str(root), "dry_run": dry_run, **asdict(plan)})
        return
    for clip, changes in plan.changed.items():
        texts = ", ".join(f"{column} {text!r}" for column, text in changes.items())
        say(f"{_would('set', dry_run)} {clip}: {texts}")
    say(f"{plan.lines} lines, {len(plan.changed)} clips changed")


def _advance(bar: "tqdm[NoReturn]") -> None:
    bar.update()


def _would(verb: str, dry_run: bool) -> str:
    return f"would {verb}" if dry_run else verb
