"""A trained probe to take away: a folder with its card, and ONNX that any runtime reads."""

import logging
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stepcli.cache.storage.local import LocalPath
from stepcli.cache.tables.texts import FACTS, read_text
from stepcli.probe.analysis.clip_length import training_seconds
from stepcli.probe.analysis.load_run import (
    WEIGHTS,
    layout_of_run,
    load_probe,
    spec_of_run,
    texts_of_run,
)
from stepcli.probe.analysis.temperature import kept_calibration
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.nn.bank import Probe
from stepcli.probe.runs.metrics import METRICS
from stepcli.probe.runs.record import FILE as RUN
from stepcli.probe.runs.record import RunRecord, read_run
from stepcli.probe.runs.staging import staging_folder, sweep_staging
from stepcli.runtime.credentials import without_credentials
from stepcli.runtime.errors import DamagedStore, UsageError
from stepcli.runtime.files import (
    copy_beneath,
    disk_errors,
    fsync_folder,
    is_present,
    sync_all,
    write_synced,
)
from stepcli.runtime.terminal import shown

KEPT = (WEIGHTS, "calibration.json", "order.json")
"""What of a run travels beside its record; predictions of the test clips stay."""
CARD = "README.md"
ONNX = "probe.onnx"
TOLERANCE = 1e-4
"""Largest difference of a logit between ONNX and PyTorch, relative to the largest logit."""
ANY_CLIPS = {"tokens": {0: torch.export.Dim("clips", min=1, max=1 << 16)}}
"""What a graph does not take for granted of its input."""


def export_folder(folder: Path, out: Path) -> Path:
    """Copy what makes a trained probe, with a card, to <out>/<name of the run>.

    Files of an earlier export are replaced one by one, each whole; those that the run no longer has
    are removed. Links in the run's folder are not followed.

    Raises:
        UsageError: the folder is no run with a probe, or holds a link.
    """
    record = read_run(_require(folder) / RUN)
    if record.store:
        # Runs of earlier versions wrote down what the URL was given with.
        record = record.model_copy(update={"store": without_credentials(record.store)})
    target = out / record.run
    if target.is_symlink():
        raise UsageError(f"{target} is a link; remove it, or give another --out")
    with disk_errors(target):
        sweep_staging(out)
        target.mkdir(parents=True, exist_ok=True)
    in_place = folder.resolve() == target.resolve()
    # Where the probe goes there is no store to measure the clips of.
    with suppress(UsageError):
        record = record.model_copy(update={"clip_seconds": training_seconds(record)})
    with disk_errors(target), staging_folder(out) as staging:
        names = [name for name in KEPT if is_present(folder / name)]
        for name in names:
            _copy(folder, name, staging / name)
        for text in texts_of_run(record, folder):
            for name in (text.file, FACTS):  # what is named before the name of it
                names.append(f"text/{text.folder.name}/{name}")
                (staging / names[-1]).parent.mkdir(parents=True, exist_ok=True)
                source = text.folder.local
                assert source is not None  # `texts_of_run` gives no others
                _copy(source, name, staging / names[-1])
            if read_text(LocalPath(staging), text.folder.name).file != text.file:
                raise UsageError(f"{text.folder}: replaced meanwhile; export the run again")
        write_synced(staging / RUN, record.encode())
        write_synced(staging / CARD, card(folder, record).encode())
        for name in (*names, RUN, CARD):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).replace(target / name)
        for name in KEPT if not in_place else ():
            if name not in names:
                (target / name).unlink(missing_ok=True)
        fsync_folder(target)
    return target


def _copy(folder: Path, name: str, target: Path) -> None:
    try:
        copy_beneath(folder.resolve(), name, target)
    except DamagedStore as error:
        raise UsageError(f"{error}; links are not followed, copy the file itself there") from None


def _require(folder: Path) -> Path:
    for name in (RUN, WEIGHTS):
        if not (folder / name).is_file():
            raise UsageError(f"{folder} is not the folder of a trained probe: it has no {name}")
    return folder


def card(folder: Path, record: RunRecord) -> str:
    """What somebody who is given the probe must know, from its own record alone."""
    kept = kept_calibration(folder)
    scores = {name: getattr(record, name) for name in METRICS}
    numbers = [
        f"| {name.replace('_', ' ')} | {100 * value:.1f} % |"
        for name, value in scores.items()
        if value is not None
    ]
    classes = ", ".join(f"`{shown(name).replace('`', chr(39))}`" for name in record.classes)
    scaled = (
        "Probabilities are as trained; `stepcli calibrate` fits a temperature."
        if kept is None
        else f"Temperature {kept.temperature:.3f}, fitted on {kept.samples} held-out samples."
    )
    return "\n".join(
        [
            "---",
            "library_name: stepcli",
            "pipeline_tag: video-classification",
            "---",
            "",
            f"# {record.run}",
            "",
            f"A `{record.method}` probe ({record.params:,} trainable parameters) on frozen "
            f"features of `{record.backbone or 'unknown'}`, trained on {record.dataset} "
            f"(task {record.task}, seed {record.seed}).",
            "",
            f"| on split {record.split} ({record.test_samples} samples) | |",
            "| --- | ---: |",
            *numbers,
            "",
            scaled,
            "",
            "## What it reads",
            "",
            _tokens_read(record),
            "",
            *_code_needed(record),
            "## Use",
            "",
            "```sh",
            f"stepcli predict {record.run} --video clip.mp4",
            "```",
            "",
            "## Classes",
            "",
            classes,
            "",
            "The numbers hold for clips like those it was tested on. Nobody has looked at how it "
            "treats people or places that its data does not show.",
            "",
        ]
    )


def _code_needed(record: RunRecord) -> list[str]:
    """What a probe or backbone from outside stepcli needs beside the folder."""
    needed = []
    options, code = record.config.get("options"), record.spec.get("code_digest")
    if isinstance(options, dict) and options.get("sha256"):
        what = options.get("package") or "a file of code"
        needed.append((record.method, what, options["sha256"]))
    if code:
        needed.append((record.backbone, "code of the backbone", code))
    lines = [
        shown(f"- `{name}`: {what}, sha256 `{digest}`").replace("\n", " ")
        for name, what, digest in needed
    ]
    if not lines:
        return []
    head = (
        "## Code that it needs\n\nNot in this folder; stepcli executes only files that you trust:"
    )
    return [f"{head}\n", *lines, ""]


def _tokens_read(record: RunRecord) -> str:
    try:
        spec = spec_of_run(record)
    except UsageError as error:
        return f"Not known: {error}."
    tokens = ", ".join(segment.name for segment in spec.segments)
    return (
        f"{spec.frames} frames per clip, sampling `{spec.sampling}`, tokens {tokens} with "
        f"{spec.dim} channels; backbone weights sha256 `{spec.weights_digest}`."
    )


class Plain(nn.Module):
    """One probe as a function of its tokens alone."""

    def __init__(self, probe: Probe) -> None:
        super().__init__()
        self.probe = probe

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, T, (L,) S, D] float32 -> logits [B, C]."""
        logits: Tensor = self.probe(TokenBatch(tokens))[0]
        return logits


def export_onnx(folder: Path, path: Path) -> float:
    """Write a run's probe as ONNX; see `write_onnx`.

    Raises:
        UsageError: the folder is no run with a probe, its method cannot be written so, or the
            answers differ.
    """
    record = read_run(_require(folder) / RUN)
    layout = layout_of_run(record, folder)
    return write_onnx(load_probe(folder, record, layout), layout, record.method, path)


def write_onnx(probe: Probe, layout: TokenLayout, method: str, path: Path) -> float:
    """Write a probe (K = 1) as ONNX, of any number of clips, and check it against PyTorch.

    Input `tokens` [clips, T, (L,) S, D] float32 in the order in which they are stored; output
    `logits` [clips, classes].

    Returns:
        The largest difference of a logit from PyTorch's, on random tokens.

    Raises:
        UsageError: the method cannot be written so, or the answers differ; nothing is left at
            `path`.
    """
    module = Plain(probe).eval()
    others = example_tokens(layout, 5)
    try:
        with torch.no_grad():
            expected = module(others).numpy()
    except ValueError as error:  # it reads more than tokens, such as the times of the frames
        raise UsageError(f"method {method} cannot be written as ONNX: {error}") from error
    # Two clips: a graph traced with one could take "one" for granted.
    program = _program(module, example_tokens(layout, 2), method)
    with disk_errors(path):
        sweep_staging(path.parent)
    with disk_errors(path), staging_folder(path.parent) as staging:
        written = staging / path.name
        program.save(written)
        difference = float(np.abs(_run_onnx(written, others) - expected).max())
        if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
            raise UsageError(
                f"method {method}: ONNX gives other logits than PyTorch (by {difference:.2g}); "
                "nothing was written"
            )
        sync_all([*staging.iterdir(), staging])
        for file in staging.iterdir():  # large weights are a file of their own
            file.replace(path.parent / file.name)
        fsync_folder(path.parent)
    return difference


def example_tokens(layout: TokenLayout, clips: int) -> Tensor:
    """Random tokens [clips, T, (L,) S, D], always the same."""
    layers = [len(layout.layers)] if len(layout.layers) > 1 else []
    shape = (clips, layout.frames, *layers, layout.tokens, layout.dim)
    return torch.randn(shape, generator=torch.Generator().manual_seed(clips))


def _program(module: nn.Module, example: Tensor, method: str) -> Any:
    # It says at each export that torchvision's operators, which nothing here uses, are not there.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # PyTorch's own deprecations, among its parts.
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                dynamic_shapes=ANY_CLIPS,
                input_names=["tokens"],
                output_names=["logits"],
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise UsageError(f"method {method} cannot be written as ONNX: {reason:.200}") from error
    if program is None:
        raise UsageError(f"method {method}: PyTorch made no ONNX program of it")
    return program


def _run_onnx(path: Path, tokens: Tensor) -> NDArray[np.float32]:
    import onnxruntime

    (found,) = onnxruntime.InferenceSession(path).run(["logits"], {"tokens": tokens.numpy()})
    logits: NDArray[np.float32] = found
    return logits
