"""Name -> backbone, ready to run."""

from pathlib import Path

from stepcli.extract.backbones.base import Backbone
from stepcli.extract.backbones.bundled import load_bundled
from stepcli.extract.backbones.names import BUNDLED, BUNDLED_320, PREFIX, source_of, stored_name


def load_backbone(name: str) -> Backbone:
    """Load a backbone on the CPU in float32.

    Args:
        name: a short name (`stepcli backbones`), a folder, or a repository OWNER/NAME[@revision];
            the last two perhaps with "hf:" before them.

    Raises:
        UnknownName: listing the close names.
        BackboneError: what is missing and how to get it.
    """
    source = source_of(name)
    if name in (BUNDLED, BUNDLED_320):
        return load_bundled(name)
    # The spec holds a folder's name, not its place: a store outlives a move of the weights. Where
    # the folder is now is recorded beside the tokens.
    name = stored_name(name)
    if Path(source).is_dir():
        source = str(Path(source).resolve())
    from stepcli.extract.backbones.hf import load_hf  # transformers' model code: three seconds

    return load_hf(name, source, pickled=not name.startswith(PREFIX))
