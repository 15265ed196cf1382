"""`stepcli export`: a trained probe as a folder with a card, and as ONNX."""

from pathlib import Path
from typing import Annotated

import typer

from stepcli.probe.cli.options import runs_folder
from stepcli.runtime.terminal import say, warn


def export(
    runs: Annotated[
        list[str],
        typer.Argument(help="Trained probes: folders or names of runs; several are taken."),
    ],
    out: Annotated[Path, typer.Option(help="Where <run>/ is put.")] = Path("exported"),
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Write probe.onnx too, checked against PyTorch.")
    ] = False,
) -> None:
    """Write trained probes to folders: weights, settings, calibration, a card with the numbers.

    stepcli predict takes the folder as it is.
    """
    from stepcli.probe.runs.find import find_run, without_slices
    from stepcli.probe.runs.record import FILE
    from stepcli.runtime.errors import UsageError
    from stepcli.runtime.extras import load_extra

    for needed in ("onnx", "onnxruntime", "onnxscript") if onnx else ():
        load_extra(needed, "onnx", "--onnx")
    folders = []
    for word in runs:
        folder = find_run(word, runs_folder(None))
        if folder is None:
            raise UsageError(
                f"{word} is neither the folder of a trained probe, with a {FILE}, nor a run's name "
                f"in {runs_folder(None)}; list them with stepcli runs"
            )
        folders.append(folder)
    final, note = without_slices(list(dict.fromkeys(folders)))
    if note:
        warn(note)
    from stepcli.probe.analysis.export import ONNX, export_folder
    from stepcli.probe.analysis.onnx_export import export_onnx

    for run in final:
        target = export_folder(run, out)
        say(f"{target}: weights, settings and card")
        if onnx:
            difference = export_onnx(run, target / ONNX)
            say(f"{target / ONNX}: logits differ from PyTorch's by at most {difference:.1e}")
