"""`stepcli store`: inspect, check and change feature stores."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from stepcli.cache.cli import maintenance as maintenance_commands
from stepcli.cache.cli import tables as table_commands
from stepcli.cache.cli.options import DryRunOption, JsonOption, StoreOption, WorkersOption
from stepcli.runtime.terminal import confirm, print_json, say, shown, would
from stepcli.runtime.words import counted, sized

app = typer.Typer(no_args_is_help=True)


@app.command()
def info(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """What a store holds: spec, clips done and left, parts, bytes, who wrote them."""
    from stepcli.cache.store.locate import chosen_place

    root = chosen_place(store)
    from stepcli.cache.store.store import open_store
    from stepcli.cache.store.summary import fact_lines, summarize

    summary = summarize(open_store(root))
    if as_json:
        print_json(summary)
        return
    for line in fact_lines(summary):
        say(line)


@app.command("list")
def list_every(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of stores. Default: $STEPCLI_STORES (./stores).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the stores of a folder: data set, backbone, tokens, clips, size."""
    from dataclasses import asdict

    from stepcli.cache.maintenance.remove import list_stores
    from stepcli.cache.store.locate import stores_folder

    place = folder or stores_folder()
    found = list_stores(place)
    if as_json:
        print_json([asdict(each) for each in found])
        return
    width = max((len(Path(each.path).name) for each in found), default=0)
    for each in found:
        name = f"{Path(each.path).name:<{width}}  {sized(each.bytes):>9}"
        if each.problem:
            say(f"{name}  cannot be opened: {each.problem}")
            continue
        say(
            f"{name}  {counted(each.clips, 'clip'):>13}  {each.dataset}, {each.backbone}, "
            f"{each.frames} frames of {each.tokens}, {each.dtype}"
        )
    total = sized(sum(each.bytes for each in found))
    say(f"{counted(len(found), 'store')} in {place}, {total}")


@app.command()
def rm(
    store: Annotated[
        list[Path], typer.Argument(help="Stores: folders, or names below $STEPCLI_STORES.")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Delete stores and nothing else. Asks first, or needs --yes.

    Refuses folders that are no store, that hold other files too, or that are being written.
    """
    from stepcli.cache.maintenance.remove import remove_store, require_removable
    from stepcli.cache.store.locate import locate_store

    places = list(dict.fromkeys(locate_store(each) for each in store))
    sizes = {place: require_removable(place) for place in places}
    for place, size in sizes.items():
        say(f"{would('delete', dry_run or not yes)} {place} ({sized(size)})")
    total = f"{counted(len(sizes), 'store')}, {sized(sum(sizes.values()))}"
    if dry_run:
        say(f"{total}; nothing was deleted")
        return
    if not yes:
        confirm(f"Delete {total}?")
    for place in places:
        remove_store(place)
    say(f"Deleted {total}")


@app.command("ls")
def list_clips(
    store: StoreOption = None,
    state: Annotated[
        Literal["all", "done", "quarantined", "left"], typer.Option(help="Which clips.")
    ] = "all",
    limit: Annotated[int, typer.Option(min=0, help="Maximum number of lines (0 = no limit).")] = 0,
    as_json: JsonOption = False,
) -> None:
    """List clips: id, state, label, split, and why a clip is in quarantine."""
    from itertools import islice

    from stepcli.cache.store.locate import chosen_place

    root = chosen_place(store)
    from stepcli.cache.store.store import open_store
    from stepcli.cache.store.summary import clip_states

    found = (line for line in clip_states(open_store(root)) if state in ("all", line["state"]))
    lines = list(islice(found, limit or None))
    if as_json:
        print_json(lines)
        return
    for line in lines:
        say("\t".join(shown(str(line[key])) for key in ("id", "state", "label", "split", "reason")))


@app.command()
def show(
    clip: Annotated[str, typer.Argument(help="Id of a committed clip.")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """One clip: its line in the clips table, where it is stored, and its tokens in numbers."""
    from stepcli.cache.store.locate import chosen_place

    root = chosen_place(store)
    from stepcli.cache.store.store import open_store
    from stepcli.cache.store.summary import describe_clip

    facts = describe_clip(open_store(root), clip)
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        say(f"{key.replace('_', ' ') + ':':<15} {value}")
    say(f"{'in colour:':<15} stepcli picture {clip}")


@app.command()
def verify(
    store: StoreOption = None,
    workers: WorkersOption = 4,
    as_json: JsonOption = False,
) -> None:
    """Check every byte of a store; names each damaged clip and exits with 4 if there is one.

    It exits with 1 where something could not be read, and nothing is known to be damaged."""
    from dataclasses import asdict

    from stepcli.cache.store.locate import chosen_place

    root = chosen_place(store)
    from stepcli.cache.maintenance.verify import verify_store
    from stepcli.runtime.errors import DamagedStore, StorageError
    from stepcli.runtime.progress import Progress

    with Progress("part", description="verify") as progress:
        report = verify_store(root, workers=workers, on_part=progress.show)
    if as_json:
        print_json({"store": str(root), "ok": report.ok, **asdict(report)})
    else:
        for problem in report.problems:
            say(f"{problem.place}: {'not read: ' if problem.unread else ''}{problem.problem}")
        for clip in report.damaged_clips:
            say(f"damaged clip: {clip}")
        say(
            f"{counted(report.parts, 'part')}, {counted(report.clips, 'clip')}, "
            f"{sized(report.bytes)}: "
            + ("all as written" if report.ok else f"{len(report.problems)} problems")
        )
    damaged = len(report.problems) - len(report.unread)
    if not report.ok and not damaged:
        first = report.unread[0]
        raise StorageError(
            f"{len(report.unread)} places of the store {root} could not be read, so nothing is "
            f"known of them; first {first.place}: {first.problem}"
        )
    if not report.ok:
        raise DamagedStore(
            f"the store {root} is damaged ({counted(damaged, 'problem')}, "
            f"{counted(len(report.damaged_clips), 'clip')}"
            + (f"; {len(report.unread)} places could not be read" if report.unread else "")
            + "); stepcli store repair sets the damaged parts aside"
        )


app.add_typer(maintenance_commands.app)
app.add_typer(table_commands.app)
