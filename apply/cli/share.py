"""`stepcli push` and `stepcli pull`: probes and stores to and from folders and the hub."""

from pathlib import Path
from typing import Annotated

import typer

from stepcli.runtime.terminal import say

HubOption = Annotated[
    bool, typer.Option("--hub", help="A repository of the Hugging Face hub instead of a folder.")
]
EndpointOption = Annotated[
    str | None, typer.Option(help="Address of another hub. Default: HF_ENDPOINT, or the public.")
]


def push(
    folder: Annotated[Path, typer.Argument(help="Of a trained probe, runs/<run>, or of a store.")],
    to: Annotated[str, typer.Option(help="A folder; with --hub USER/NAME.")],
    hub: HubOption = False,
    public: Annotated[
        bool, typer.Option("--public", help="A new repository is for everybody to see.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Remove parts on the hub that are not in this store."),
    ] = False,
    endpoint: EndpointOption = None,
) -> None:
    """Upload a trained probe or a store, with a card that describes it.

    Nothing leaves this machine without --hub; a new repository is private without --public.
    """
    from stepcli.runtime.errors import UsageError

    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}; give runs/<run>, or a store's folder")
    from stepcli.apply.sharing.contents import kind_of, push_to_folder

    kind = kind_of(folder)
    if not hub:
        say(f"{push_to_folder(folder, Path(to))}: {kind}")
        return
    from stepcli.apply.sharing import hub as client

    place = client.push(
        folder,
        to,
        kind,
        public=public,
        replace=replace,
        endpoint=endpoint,
        on_part=lambda done, every: say(f"part {done} of {every}", err=True),
    )
    name = to.removeprefix(client.DATASETS)
    say(place)
    say(f"stepcli pull {client.DATASETS if kind == 'store' else ''}{name} --hub")


def pull(
    source: Annotated[
        str, typer.Argument(help="A folder; with --hub USER/NAME, of a store datasets/USER/NAME.")
    ],
    out: Annotated[Path, typer.Option(help="Where its folder is put.")] = Path("pulled"),
    hub: HubOption = False,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of the repository.")
    ] = None,
    endpoint: EndpointOption = None,
) -> None:
    """Fetch a trained probe or a store, check all of it, and only then put it in place.

    Only data is read: safetensors, tables and settings. Code is neither fetched nor run.
    """
    if hub:
        from stepcli.apply.sharing import hub as client

        target = client.pull(source, out, revision=revision, endpoint=endpoint)
    else:
        from stepcli.runtime.errors import UsageError

        if not Path(source).is_dir():
            raise UsageError(f"there is no folder {source}; for the hub add --hub")
        from stepcli.apply.sharing.contents import pull_from_folder

        target = pull_from_folder(Path(source), out)
    say(str(target))
