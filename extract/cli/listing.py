"""`stepcli datasets` and `stepcli backbones`: what there is."""

import os
from pathlib import Path
from typing import Annotated

import typer

from stepcli.extract.cli.completion import complete_datasets
from stepcli.runtime.terminal import say, say_lines

datasets_app = typer.Typer(no_args_is_help=True)


@datasets_app.command("list")
def list_datasets() -> None:
    """Every data set, and whether its folder is in its default place."""
    from stepcli.extract.datasets.registry import DATASETS, GROUP
    from stepcli.runtime.plugins import plugins

    home = os.environ.get("STEPCLI_DATA")
    for name, info in sorted(DATASETS.items()):
        here = info.bundled_root is not None or (home and (Path(home) / name).exists())
        say(f"{name:16} {'here' if here else '':6} {info.source}")
    for name, offered in sorted(plugins(GROUP).items()):
        say(f"{name:16} {'':6} package {', '.join(plugin.package for plugin in offered)}")


@datasets_app.command("show")
def show_dataset(
    name: Annotated[
        str, typer.Argument(help="Data set, e.g. ssv2.", autocompletion=complete_datasets)
    ],
) -> None:
    """The files that a data set expects on the disk, its options, and where to get it."""
    from stepcli.extract.datasets.registry import find_dataset

    info = find_dataset(name)
    say_lines(f"{info.name}: {info.source}\n\n{info.layout}")
    if info.options:
        say_lines("\nOptions (--set NAME=VALUE):")
        for option, meaning in info.options.items():
            say(f"  {option:8} {meaning}")


def backbones() -> None:
    """Short names of backbones; any other by its folder, or OWNER/NAME on the hub."""
    from stepcli.extract.backbones.names import BACKBONES, GROUP
    from stepcli.runtime.plugins import plugins

    for name, entry in BACKBONES.items():
        say(f"{name:24} {entry.repository or '(bundled)':44} {entry.source}")
    for name, offered in sorted(plugins(GROUP).items()):
        packages = ", ".join(plugin.package for plugin in offered)
        say(f"{name:24} {', '.join(plugin.value for plugin in offered):44} package {packages}")
