"""Options that `stepcli extract` and `stepcli plan` share; light, since the door reads it."""

from pathlib import Path
from typing import Annotated

import typer

from stepcli.extract.choices import Precision, Preprocess


def complete_datasets(incomplete: str) -> list[str]:
    """Data sets that a shell may go on with."""
    from stepcli.extract.datasets.registry import known_names

    return [name for name in known_names() if name.startswith(incomplete)]


def complete_backbones(incomplete: str) -> list[str]:
    """Short names of backbones that a shell may go on with."""
    from stepcli.extract.backbones.names import known_names

    return [name for name in known_names() if name.startswith(incomplete)]


DatasetOption = Annotated[
    str,
    typer.Option(
        help="Data set by name: ssv2, csv, folder ... (`stepcli datasets list`).",
        autocompletion=complete_datasets,
    ),
]
RootOption = Annotated[
    Path | None,
    typer.Option(
        help="Its folder; for csv the file, or a folder of one. Default: STEPCLI_DATA/<name>."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="An option of the data set; repeatable."),
]
BackboneOption = Annotated[
    str,
    typer.Option(
        help="Frozen model: a name (`stepcli backbones`), or a folder, or OWNER/NAME on the hub.",
        autocompletion=complete_backbones,
    ),
]
FramesOption = Annotated[int, typer.Option(min=1, max=4096, help="Frames stored a clip.")]
SamplingOption = Annotated[
    str,
    typer.Option(
        help="Which frames: uniform, midpoint (X-CLIP's), random-seed<n>, dense<stride>; "
        "dense<stride>-<V>views and random-<V>views store V temporal views."
    ),
]
ViewsOption = Annotated[
    str,
    typer.Option(help="Spatial views of every clip: center, three-crops, flip; with commas."),
]
TrainViewsOption = Annotated[
    int,
    typer.Option(help="Random resized crops of every clip but val's and test's: 1, 2, 4 or 8."),
]
LayersOption = Annotated[
    str, typer.Option(help="Layers stored, counted from the end, e.g. -4,-3,-2,-1.")
]
PreprocessOption = Annotated[
    Preprocess,
    typer.Option(help="Resize as the model's own processor does, or large frames faster."),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>.")]
PrecisionOption = Annotated[Precision, typer.Option(help="Arithmetic of the backbone.")]
