"""`stepcli chirality`: one probe per group of mirror-image actions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stepcli.probe.cli.analysis import JsonOption
from stepcli.probe.cli.options import DeviceOption, names_of
from stepcli.probe.methods.catalogue import complete_methods, require_known
from stepcli.runtime.terminal import print_json, say, warn
from stepcli.runtime.words import counted

if TYPE_CHECKING:
    from stepcli.probe.analysis.chirality import GroupScore

GROUP_WIDTH = 34
"""Characters of a group's name in the table; fewer beside a column of methods."""
METHOD_WIDTH = 20


def chirality(
    groups: Annotated[
        Path,
        typer.Argument(
            exists=True,
            help="CSV with the columns group,label; or one that Chirality in Action publishes.",
        ),
    ],
    method: Annotated[
        str,
        typer.Option(
            help="Methods, each trained on each group alone: linear,step.",
            autocompletion=complete_methods,
        ),
    ] = "linear",
    store: Annotated[
        Path | None, typer.Option(help="Store to read. Default: the only one.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Probes of each group.")] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over a group's clips.")] = 60,
    train_split: Annotated[str, typer.Option(help="Split to train on.")] = "train",
    test_split: Annotated[str, typer.Option(help="Split to report on.")] = "test",
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """The chirality protocol: one probe for each group of mirror-image actions, then the mean.

    --json prints one object per method, in a list if there are several methods.
    """
    from dataclasses import asdict
    from statistics import fmean

    from stepcli.cache.store.locate import existing_store

    names = list(dict.fromkeys(names_of("--method", method)))
    require_known(names)
    place = existing_store(store)
    from stepcli.probe.analysis.chiral_groups import read_groups

    read = read_groups(groups)
    from stepcli.probe.analysis.chirality import chirality as measure
    from stepcli.probe.config import DataConfig

    scores, notes = measure(
        place,
        read,
        names,
        seeds=seeds,
        data=DataConfig(epochs=epochs),
        splits=(train_split, test_split),
        device=device,
    )
    for line in notes:
        warn(f"note: {line}")
    means = {name: fmean(score.top1 for score in own) for name, own in scores.items()}
    if as_json:
        found = [
            {"method": name, "mean_top1": means[name], "groups": [asdict(score) for score in own]}
            for name, own in scores.items()
        ]
        print_json(found if len(found) > 1 else found[0])
        return
    for line in _table(scores):
        say(line)
    for name, own in scores.items():
        say(
            f"{name}: {100 * means[name]:.1f} % mean over {counted(len(own), 'group')}, "
            f"{counted(seeds, 'seed')} each"
        )


def _table(scores: "Mapping[str, Sequence[GroupScore]]") -> list[str]:
    """A row per method and group; the methods in a column where there are several."""
    wide = min(METHOD_WIDTH, max(map(len, ("method", *scores)))) if len(scores) > 1 else 0
    left = GROUP_WIDTH - wide - 2 if wide else GROUP_WIDTH

    def line(method: str, group: str, *cells: str) -> str:
        first = f"{method:<{wide}.{wide}}  " if wide else ""
        classes, train, test, top1 = cells
        return f"{first}{group:<{left}.{left}}  {classes:>7}  {train:>6}  {test:>6}  {top1:>6}"

    return [
        line("method", "group", "classes", "train", "test", "top-1"),
        *(
            line(
                name,
                score.group,
                f"{score.classes}",
                f"{score.train_clips}",
                f"{score.test_samples}",
                f"{100 * score.top1:.1f}",
            )
            for name, own in scores.items()
            for score in own
        ),
    ]
