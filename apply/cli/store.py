"""`stepcli store`: the feature store's own commands, and those that need both stages."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from stepcli.apply.cli import labels as label_commands
from stepcli.cache.cli.options import JsonOption, StoreOption
from stepcli.cache.cli.store import app
from stepcli.runtime.terminal import print_json, say

__all__ = ["app"]


@app.command()
def export(
    store: StoreOption = None,
    npy: Annotated[Path | None, typer.Option(help="Folder for NumPy files.")] = None,
    h5: Annotated[Path | None, typer.Option(help="Folder for HDF5 files.")] = None,
    pt: Annotated[Path | None, typer.Option(help="Folder for PyTorch tensors.")] = None,
    tokens: Annotated[
        str | None, typer.Option(help="One kind of tokens, e.g. cls. Default: all.")
    ] = None,
    mean: Annotated[bool, typer.Option("--mean", help="Average the tokens of a frame.")] = False,
    transpose: Annotated[
        bool, typer.Option("--transpose", help="[D, N], as MS-TCN and ASFormer read it.")
    ] = False,
    dtype: Annotated[
        Literal["float32", "float16"], typer.Option(help="Type of the values.")
    ] = "float32",
    as_json: JsonOption = False,
) -> None:
    """Write the features of whole recordings as plain arrays, one file per recording.

    [N, D] or [N, S, D], every frame once, in order of time, with a JSON file beside it: times,
    frame rate, source, backbone, preprocessing, and labels where the store has segments.
    """
    from stepcli.cache.store.locate import chosen_place
    from stepcli.runtime.errors import UsageError
    from stepcli.runtime.progress import Progress
    from stepcli.runtime.words import counted, listed

    places: dict[Literal["npy", "h5", "pt"], Path | None] = {"npy": npy, "h5": h5, "pt": pt}
    given = {form: place for form, place in places.items() if place is not None}
    if len(given) != 1:
        raise UsageError("give one of --npy FOLDER, --h5 FOLDER and --pt FOLDER")
    ((form, out),) = given.items()
    place = chosen_place(store)
    from stepcli.apply.sharing.features import FeatureLayout, export_features
    from stepcli.cache.store.store import open_store

    layout = FeatureLayout(tokens, mean, transpose, dtype)
    done = 0

    with Progress("recording", description="export") as progress:

        def count(number: int, of: int) -> None:
            nonlocal done
            done = number
            progress.show(number, of)

        missing = export_features(open_store(place), out, form, layout, count)
    if as_json:
        print_json({"out": str(out), "recordings": done, "incomplete": missing})
    else:
        say(f"wrote {counted(done, 'recording')} to {out}")
    if missing:
        raise UsageError(
            f"{counted(len(missing), 'recording')} without all of their windows left out: "
            f"{listed(missing)}; run the same stepcli extract again"
        )


app.add_typer(label_commands.app)
