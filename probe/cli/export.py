"""`stepcli export`: a trained probe as a folder with a card, and as ONNX."""

from pathlib import Path
from typing import Annotated

import typer

from stepcli.runtime.terminal import say


def export(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of trained probes, runs/<run>; several are taken.")
    ],
    out: Annotated[Path, typer.Option(help="Where <run>/ is put.")] = Path("exported"),
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Write probe.onnx too, checked against PyTorch.")
    ] = False,
) -> None:
    """Write trained probes to folders: weights, settings, calibration, a card with the numbers.

    stepcli predict takes the folder as it is.
    """
    from stepcli.probe.runs.record import FILE
    from stepcli.runtime.errors import UsageError
    from stepcli.runtime.extras import load_extra

    for needed in ("onnx", "onnxruntime", "onnxscript") if onnx else ():
        load_extra(needed, "onnx", "--onnx")
    for run in runs:
        if not (run / FILE).is_file():
            raise UsageError(f"{run} is not the folder of a trained probe: it has no {FILE}")
    from stepcli.probe.analysis.export import ONNX, export_folder
    from stepcli.probe.analysis.onnx_export import export_onnx

    for run in runs:
        target = export_folder(run, out)
        say(f"{target}: weights, settings and card")
        if onnx:
            difference = export_onnx(run, target / ONNX)
            say(f"{target / ONNX}: logits differ from PyTorch's by at most {difference:.1e}")
