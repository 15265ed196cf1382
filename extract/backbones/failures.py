"""Why a model of the hub or of a folder could not be loaded, in one line.

The files of such a folder are somebody's data, and transformers meets a damaged or unusual one with
errors of every kind: each becomes a BackboneError. `--debug` shows where it came from.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

from stepcli.extract.backbones.base import BackboneError
from stepcli.runtime.errors import StepcliError
from stepcli.runtime.extras import LOADING_ERRORS, causes, failed_import, first_line

PROCESSORS = ("preprocessor_config.json", "processor_config.json")
TIMM = "timm models are not supported; give the same network as a transformers checkpoint"


@contextmanager
def loading_errors(what: str, place: str) -> Iterator[None]:
    """Turn whatever goes wrong inside into a BackboneError of one line.

    Args:
        what: First words of the message, e.g. "backbone hf:my-vit".
        place: Folder or repository.

    Raises:
        BackboneError: the reason, and what to do.
    """
    # Else transformers asks a service on the hub to convert pickled weights, which is not wanted.
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    try:
        yield
    except StepcliError as error:
        if str(error).startswith(what):
            raise
        raise BackboneError(f"{what}: {error}") from error
    except Exception as error:
        raise BackboneError(f"{what}: {explain_failure(place, error)}") from error


def explain_failure(place: str, error: Exception) -> str:
    """One line on why a model could not be loaded, and what to do."""
    if place.startswith("timm/") or (isinstance(error, ImportError) and "timm" in str(error)):
        return TIMM
    chain = list(causes(error))
    if any(isinstance(cause, GatedRepoError) for cause in chain):
        return (
            f"{place} is gated: accept its licence on the hub, then `hf auth login`, "
            "or give a local folder as hf:<folder>"
        )
    if any(isinstance(cause, RepositoryNotFoundError) for cause in chain):
        return (
            f"the hub has no repository {place} (or it is private: `hf auth login`); "
            "give another, or a local folder as hf:<folder>"
        )
    if any(isinstance(cause, LocalEntryNotFoundError) for cause in chain):
        return (
            f"{place} is not in the local cache and the hub cannot be reached; go online once, "
            f"or copy it here and give the folder as hf:<folder>"
        )
    imported = any(isinstance(c, ImportError) or "torchvision" in str(c) for c in chain)
    if imported and (reason := broken_torchvision()):
        return reason
    if reason := failed_import(error):
        return reason
    if isinstance(error, MemoryError):
        return f"{place} does not fit in memory"
    folder = Path(place)
    if "/" in place and not folder.exists() and place.count("/") != 1:
        return f"there is no folder {place}"
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            return f"{place} has no config.json; give the folder of a transformers model"
        if not any((folder / name).is_file() for name in PROCESSORS):
            return f"{place} has no preprocessor_config.json, which says how to prepare images"
        pickled = sorted(path.name for path in folder.glob("*.bin"))
        if pickled and not any(folder.glob("*.safetensors*")):
            return (
                f"{place} has only pickled weights ({pickled[0]}), which stepcli does not read; "
                "write model.safetensors with transformers' save_pretrained"
            )
    if "ignore_mismatched_sizes" in str(error):
        return f"{place} cannot be loaded (its weights have other shapes than its config.json says)"
    said = first_line(error)
    if isinstance(error, OSError | ValueError):  # these are written for people
        said = said.removeprefix(f"{type(error).__name__}: ")
    return f"{place} cannot be loaded ({said})"


def broken_torchvision() -> str | None:
    """Why the installed torchvision does not load; None where it does, or none is installed.

    stepcli has no use for it, but transformers imports the one it finds.
    """
    if find_spec("torchvision") is None:
        return None
    try:
        import_module("torchvision")
    except LOADING_ERRORS as error:
        return (
            f"the installed torchvision does not load ({first_line(error)}); it was probably built "
            "for another torch: install the one that belongs to yours, or uninstall it (stepcli "
            "does without)"
        )
    return None
