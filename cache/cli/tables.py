"""`stepcli store compare, duplicates`: how stores differ, and which clips are copies."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from stepcli.cache.cli.options import JsonOption, StoreOption
from stepcli.runtime.terminal import print_json, say
from stepcli.runtime.words import counted

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
        say(f"spec: {line}")
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
