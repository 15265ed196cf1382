"""Name -> backbone, ready to run."""

from pathlib import Path

from stepcli.extract.backbones.base import Backbone
from stepcli.extract.backbones.bundled import load_bundled
from stepcli.extract.backbones.names import BUNDLED, BUNDLED_320, PREFIX, source_of


def load_backbone(name: str) -> Backbone:
    """Load a backbone on the CPU in float32.

    Args:
        name: a short name (`stepcli backbones`), or "hf:<repository[@revision] or folder>".

    Raises:
        UnknownName: listing the close names.
        BackboneError: what is missing and how to get it.
    """
    source = source_of(name)
    if name in (BUNDLED, BUNDLED_320):
        return load_bundled(name)
    if name.startswith(PREFIX) and Path(source).is_dir():
        # The spec holds the folder's name, not its place: a store outlives a move of the weights.
        name = f"{PREFIX}{Path(source).resolve().name}"
    from stepcli.extract.backbones.hf import load_hf  # transformers' model code: three seconds

    return load_hf(name, source)
