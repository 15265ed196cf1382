"""`stepcli doctor`: what this machine can do, and what is missing, before a long run."""

import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal
from urllib.request import getproxies

import av
import torch

from stepcli.extract.backbones.base import BackboneError
from stepcli.extract.backbones.bundled import weights_path
from stepcli.extract.backbones.failures import broken_torchvision
from stepcli.extract.backbones.hub import hub_host, why_unreachable
from stepcli.runtime import threads as cpu
from stepcli.runtime.files import nearest_existing

PACKAGES = (
    *("stepcli", "torch", "transformers", "av", "numpy", "pillow", "zarr", "h5py", "pyarrow"),
    *("huggingface_hub", "safetensors"),
)
DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg", "gif")
TRIAL_BYTES = 64 << 20
FEW_FILES = 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    state: Literal["ok", "note", "MISSING"]
    """"note": works, but a user may want to know; "MISSING": extraction will fail without it."""
    what: str
    text: str


def examine(stores: Path) -> Iterator[Finding]:
    """Look at the machine; yields a finding at a time, since some take seconds.

    Args:
        stores: where stores would lie.
    """
    yield Finding("ok", "python", ".".join(map(str, sys.version_info[:3])))
    for package in PACKAGES:
        try:
            yield Finding("ok", package, version(package))
        except PackageNotFoundError:
            yield Finding("MISSING", package, f"not installed; pip install {package}")
    if reason := broken_torchvision():
        yield Finding("MISSING", "torchvision", reason)
    yield _gpus()
    yield Finding("ok", "cores", str(cpu.cores()))
    yield from _codecs()
    yield _weights()
    yield from _disk(stores)
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield Finding(
        "ok" if files >= FEW_FILES else "note",
        "open files",
        str(files) if files >= FEW_FILES else f"{files}; raise it with: ulimit -n 4096",
    )
    yield _hub()


def _gpus() -> Finding:
    count = torch.cuda.device_count()
    if not count:
        return Finding("note", "GPU", "none that torch can use; extraction runs on the CPU")
    names = ", ".join(torch.cuda.get_device_name(i) for i in range(count))
    return Finding("ok", "GPU", f"{count}: {names}; CUDA {torch.version.cuda}")


def _codecs() -> Iterator[Finding]:
    library = ".".join(map(str, av.library_versions["libavcodec"]))
    missing = [name for name in DECODERS if not _decodes(name)]
    yield Finding(
        "note" if missing else "ok",
        "video decoders",
        f"libavcodec {library}: "
        + (f"no {', '.join(missing)}" if missing else ", ".join(DECODERS)),
    )


def _decodes(name: str) -> bool:
    try:
        return not av.Codec(name, "r").is_encoder
    except ValueError:
        return False


def _weights() -> Finding:
    try:
        return Finding("ok", "bundled weights", str(weights_path()))
    except BackboneError as error:
        return Finding("note", "bundled weights", str(error))


def _disk(stores: Path) -> Iterator[Finding]:
    place = nearest_existing(stores)
    if not os.access(place, os.W_OK):
        yield Finding("MISSING", "stores", f"{place} cannot be written to; set STEPCLI_STORES")
        return
    free = shutil.disk_usage(place).free
    yield Finding("ok" if free > 10e9 else "note", "free space", f"{free / 1e9:.1f} GB in {place}")
    trial = place / f".stepcli-doctor-{os.getpid()}"
    block = os.urandom(1 << 20)
    try:
        started = time.perf_counter()
        with trial.open("wb") as file:
            for _ in range(TRIAL_BYTES >> 20):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        rate = TRIAL_BYTES / (time.perf_counter() - started)
    except OSError as error:
        yield Finding("MISSING", "write speed", f"{place}: {error.strerror}")
    else:
        yield Finding("ok", "write speed", f"{rate / 1e6:.0f} MB/s with fsync")
    finally:
        trial.unlink(missing_ok=True)


def _hub() -> Finding:
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in {"1", "TRUE", "YES", "ON"}:
        return Finding("note", "hub", "HF_HUB_OFFLINE is set: only cached models and folders")
    reason = why_unreachable()
    if reason is not None:
        return Finding(
            "note", "hub", f"{hub_host()} cannot be reached ({reason}): only cached models"
        )
    if getproxies():
        return Finding("note", "hub", f"{hub_host()} is asked through a proxy; not tried")
    return Finding("ok", "hub", f"{hub_host()} can be reached")
