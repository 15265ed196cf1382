"""The backbone's arithmetic: as asked for, as the store has it, or the fastest that is near enough.

A store is computed in one precision: `auto` takes that of the clips that it holds, wherever the
device offers it, so that a second run never mixes two without a note.
"""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from stepcli.cache.parts.commit import read_part_record
from stepcli.cache.store.store import Store
from stepcli.extract.backbones.base import Backbone, ClipBackbone
from stepcli.extract.config import PRECISIONS
from stepcli.runtime.errors import StepcliError, UsageError
from stepcli.runtime.out_of_memory import is_out_of_memory

LEAST_GAIN = 1.3
"""How much faster than float32 a trial on a CPU must be."""
LEAST_COSINE = 0.999
"""Mean cosine of tokens to those of float32 in the trial."""
TRIED_PARAMETERS = 5_000_000
"""Smaller models wait for the decoders: no trial, float32."""
LARGE_PARAMETERS = 50_000_000
"""Larger models are tried on one frame, others on four."""
TRIAL_SECONDS = 10.0
"""No further pass of a trial is begun after this time."""
PASSES = 3
CPU_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
"""In /proc/cpuinfo: processors (Intel and AMD, Intel, Arm) that multiply bfloat16 in hardware."""


@dataclass(frozen=True, slots=True)
class Precision:
    """What was chosen, and why."""

    name: str
    """float32, tf32, bfloat16 or float16."""
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


class NoHalfPrecision(StepcliError):
    """A model does not run in a half precision on the CPU; the message is the model's own."""


class TrialOutOfMemory(StepcliError):
    """Memory ran out in a trial, which says nothing about the model."""


def dtype_of(name: str) -> torch.dtype:
    """Type of weights and pixels; TF32 is a way to multiply float32."""
    dtype: torch.dtype = getattr(torch, {"tf32": "float32"}.get(name, name))
    return dtype


def choose_precision(
    asked: str, device: torch.device, backbone: Backbone, store: Store | None = None
) -> Precision:
    """Settle the arithmetic of a run.

    Args:
        asked: --precision.
        device: of the forward passes.
        backbone: on the CPU, in float32.
        store: that the clips go to; None: a new one.

    Raises:
        UsageError: the device has no such arithmetic.
        TrialOutOfMemory: memory ran out while a half precision was tried.
    """
    offered = _offered(device)
    if asked != "auto":
        if asked not in offered:
            raise UsageError(
                f"--precision {asked}: {device.type} has {', '.join(offered)}; use one of these"
            )
        return Precision(asked, "as asked for")
    kept = None if store is None else stored_precision(store)
    if kept is not None and kept in offered:
        return Precision(kept, "as the clips that the store holds")
    if device.type == "cpu":
        return _of_cpu(backbone)
    return _of_gpu(backbone, device, "bfloat16" if "bfloat16" in offered else "float16")


def _of_gpu(backbone: Backbone, device: torch.device, name: str) -> Precision:
    """The half precision of a GPU, where the tokens of a frame stay near."""
    reason = f"{device.type} has {'it in hardware' if name == 'bfloat16' else 'no bfloat16'}"
    if isinstance(backbone, ClipBackbone):  # transformers all; a clip takes long on a CPU
        return Precision(name, reason)
    try:
        cosine = token_cosine(backbone, dtype_of(name))
    except NoHalfPrecision:
        return Precision(name, reason)  # unsupported on the CPU alone
    if cosine >= LEAST_COSINE:
        return Precision(name, f"{reason}; mean token cosine {cosine:.5f}")
    found = f"mean token cosine of {name} {cosine:.5f}: expected at least {LEAST_COSINE}"
    return Precision("float32", found)


def stored_precision(store: Store) -> str | None:
    """Precision of the last part's clips, by name; None for an empty store."""
    if not store.parts:
        return None
    numerics = read_part_record(store.path, store.parts[-1]).producer.numerics
    return numerics.partition(",")[0]


def _offered(device: torch.device) -> Sequence[str]:
    """What a device computes with."""
    if device.type == "cuda":
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return [name for name in PRECISIONS if name != "bfloat16" or has_bfloat16]
    if device.type == "mps":
        has_bfloat16 = torch.backends.mps.is_macos_or_newer(14, 0)
        return ["float32", *(["bfloat16"] if has_bfloat16 else []), "float16"]
    return ["float32", "bfloat16", "float16"]


def _of_cpu(backbone: Backbone) -> Precision:
    """bfloat16 where the processor has it, and a trial shows that it is faster and near."""
    if not _cpu_has_bfloat16():
        return Precision("float32", "this CPU has no bfloat16 in hardware")
    size = sum(each.numel() for each in backbone.model.parameters())
    if size < TRIED_PARAMETERS:
        return Precision("float32", "the model is small: decoding takes longer")
    try:
        gain, cosine = try_bfloat16(backbone, 1 if size >= LARGE_PARAMETERS else 4)
    except NoHalfPrecision as error:
        return Precision("float32", f"the model does not run in bfloat16: {error}")
    found = f"bfloat16 is {gain:.1f} times as fast here, mean token cosine {cosine:.5f}"
    if gain >= LEAST_GAIN and cosine >= LEAST_COSINE:
        return Precision("bfloat16", found)
    return Precision("float32", f"{found}: expected at least {LEAST_GAIN} and {LEAST_COSINE}")


def _cpu_has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether Linux lists the flag; other systems are not asked."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    flags = {word for line in lines if line[:5] in ("flags", "Featu") for word in line.split()}
    return bool(flags & CPU_FLAGS)


def try_bfloat16(backbone: Backbone, frames: int) -> tuple[float, float]:
    """Time a backbone in float32, and its copy in bfloat16, on the same frames with one thread.

    Args:
        backbone: on the CPU, in float32.
        frames: of a pass; a backbone of clip scope takes one clip.

    Returns:
        How many times as fast bfloat16 is, by the thread's own time, which other programs on the
        machine do not change; mean cosine of its tokens to those of float32.

    Raises:
        NoHalfPrecision: the model does not run in bfloat16.
        TrialOutOfMemory: the copy or its pass did not fit into memory.
    """
    pixels = _pictures(backbone, frames)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        exact = _flat(backbone, pixels)
        other, rounded = _in_half(backbone, pixels, torch.bfloat16)
        cosine = float(functional.cosine_similarity(exact, rounded, dim=-1).mean())
        begun, spent = time.monotonic(), ([float("inf")], [float("inf")])
        for _ in range(PASSES):
            for seconds, each, shown in zip(
                spent, (backbone, other), (pixels, pixels.bfloat16()), strict=True
            ):
                started = time.thread_time()
                _flat(each, shown)
                seconds.append(time.thread_time() - started)
            if time.monotonic() - begun > TRIAL_SECONDS:
                break
    finally:
        torch.set_num_threads(threads)
    return min(spent[0]) / min(spent[1]), cosine


def token_cosine(backbone: Backbone, dtype: torch.dtype) -> float:
    """Mean cosine of one frame's tokens, computed in a type on the CPU, to those of float32.

    Raises:
        NoHalfPrecision: the model does not run in that type on the CPU.
        TrialOutOfMemory: the copy or its pass did not fit into memory.
    """
    pixels = _pictures(backbone, 1)
    exact = _flat(backbone, pixels)
    _, rounded = _in_half(backbone, pixels, dtype)
    return float(functional.cosine_similarity(exact, rounded, dim=-1).mean())


def _in_half(backbone: Backbone, pixels: Tensor, dtype: torch.dtype) -> tuple[Backbone, Tensor]:
    """A backbone's copy in a half precision, and its tokens of pixels.

    The float32 pass comes before, outside: an error of the model in any precision is not met here.
    """
    try:
        other = copy.deepcopy(backbone)
        other.to(torch.device("cpu"), dtype)
        return other, _flat(other, pixels.to(dtype))
    # Missing kernels, layers kept in float32 and modules that cannot be copied raise RuntimeError
    # (NotImplementedError is one); NumPy, which has no bfloat16, has torch raise TypeError.
    except (MemoryError, RuntimeError, TypeError) as error:
        said = " ".join(str(error).split())[:100]
        if is_out_of_memory(error):
            name = str(dtype).removeprefix("torch.")
            raise TrialOutOfMemory(
                f"--precision auto: memory ran out while {name} was tried on the CPU ({said}); "
                f"give --precision float32 or {name}, which need no trial"
            ) from error
        raise NoHalfPrecision(said) from error


def _pictures(backbone: Backbone, frames: int) -> Tensor:
    """Normalised pixels as smooth as those of videos, always the same."""
    plan = backbone.facts.plan
    outer: tuple[int, ...] = (frames,)
    if isinstance(backbone, ClipBackbone):
        outer = (1, backbone.call_frames)
    count = outer[0] * (outer[1] if len(outer) > 1 else 1)
    coarse = torch.randn(count, 3, 14, 14, generator=torch.Generator().manual_seed(0))
    size = (plan.height, plan.width)
    smooth = functional.interpolate(coarse, size, mode="bilinear", antialias=False)
    return smooth.view(*outer, 3, *size)


@torch.inference_mode()
def _flat(backbone: Backbone, pixels: Tensor) -> Tensor:
    """All tokens, [n, D] float32."""
    prefix, patches = backbone.tokens(pixels)
    return torch.cat([prefix.flatten(0, -2), patches.flatten(0, -2)]).float()
