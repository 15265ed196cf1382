"""A trained probe as ONNX, which any runtime reads: what it reads and its classes go along."""

import json
import logging
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stepcli.probe.analysis.export import CARD, ONNX, card, require_probe
from stepcli.probe.analysis.load_run import layout_of_run, load_probe, spec_of_run
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.nn.bank import Probe
from stepcli.probe.runs.record import FILE as RUN
from stepcli.probe.runs.record import RunRecord, read_run
from stepcli.probe.runs.staging import staging_folder, sweep_staging
from stepcli.runtime.errors import UsageError
from stepcli.runtime.files import disk_errors, fsync_folder, replace_synced, sync_all

TOLERANCE = 1e-4
"""Largest difference of a logit between ONNX and PyTorch, relative to the largest logit."""
ANY_CLIPS = {"tokens": {0: torch.export.Dim("clips", min=1, max=1 << 16)}}
"""What a graph does not take for granted of its input."""


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
    record = read_run(require_probe(folder) / RUN)
    layout = layout_of_run(record, folder)
    probe = load_probe(folder, record, layout)
    difference = write_onnx(probe, layout, record.method, path, onnx_facts(record, layout))
    beside = path.parent / CARD
    if beside.is_file():
        with disk_errors(beside):
            replace_synced(beside, card(folder, record, _use(layout)).encode())
    return difference


def onnx_facts(record: RunRecord, layout: TokenLayout) -> dict[str, str]:
    """What an ONNX file says of itself: its input, and the classes in the order of the logits."""
    facts = {
        "classes": json.dumps(record.classes, ensure_ascii=False),
        "input": _input(layout),
        "method": record.method,
        "backbone": record.backbone,
        "run": record.run,
    }
    with suppress(UsageError):
        spec = spec_of_run(record)
        facts["weights_sha256"] = spec.weights_digest
        facts["preprocessing"] = json.dumps(spec.preprocessing, sort_keys=True)
        facts["sampling"] = spec.sampling
    return facts


def _input(layout: TokenLayout) -> str:
    layers = f"{len(layout.layers)} layers (deepest last), " if len(layout.layers) > 1 else ""
    parts = " + ".join(f"{segment.name} ({segment.count})" for segment in layout.segments)
    return (
        f"tokens [clips, {', '.join(map(str, _shape(layout)))}], float32: clips, {layout.frames} "
        f"frames, {layers}{layout.tokens} tokens per frame ({parts}), {layout.dim} channels"
    )


def _use(layout: TokenLayout) -> list[str]:
    """Lines of the card about the file and how it is used."""
    return [
        f"`{ONNX}` reads {_input(layout)}, in the order in which a store holds them. It returns "
        "`logits` [clips, classes], with the classes below in this order. The metadata of the file "
        "contains both, and the preprocessing of the backbone.",
        "",
        "```python",
        "import json, numpy, onnxruntime",
        f'session = onnxruntime.InferenceSession("{ONNX}")',
        'classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])',
        f"tokens = numpy.zeros((1, {', '.join(map(str, _shape(layout)))}), numpy.float32)",
        '(logits,) = session.run(["logits"], {"tokens": tokens})',
        "print(classes[logits[0].argmax()])",
        "```",
        "",
    ]


def _shape(layout: TokenLayout) -> tuple[int, ...]:
    """T, (L,) S, D: one clip of the input."""
    layers = [len(layout.layers)] if len(layout.layers) > 1 else []
    return (layout.frames, *layers, layout.tokens, layout.dim)


def write_onnx(
    probe: Probe,
    layout: TokenLayout,
    method: str,
    path: Path,
    facts: Mapping[str, str] | None = None,
) -> float:
    """Write a probe (K = 1) as ONNX, of any number of clips, and check it against PyTorch.

    Input `tokens` [clips, T, (L,) S, D] float32 in the order in which they are stored; output
    `logits` [clips, classes]. `facts` become metadata of the file.

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
        program.model.metadata_props.update(facts or {})
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
    shape = (clips, *_shape(layout))
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
