"""Every data set by name: a file beside this one, an installed package's, or a user's own file."""

import os
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from stepcli.extract.datasets import custom_dataset
from stepcli.extract.datasets.clip import Dataset, DatasetInfo
from stepcli.runtime.code_files import is_code
from stepcli.runtime.errors import UnknownName, UsageError
from stepcli.runtime.plugins import find_plugin, plugins

GROUP = "stepcli.datasets"
"""Entry points of data sets."""


def _declared() -> dict[str, DatasetInfo]:
    """What the modules beside this one declare: a DatasetInfo called INFO, or several as INFOS."""
    found: dict[str, DatasetInfo] = {}
    here = __name__.rpartition(".")[2]
    for module in iter_modules(import_module(__package__).__path__):
        if module.name == here:
            continue
        names = vars(import_module(f"{__package__}.{module.name}"))
        for info in (*names.get("INFOS", {}).values(), names.get("INFO")):
            if info is None:
                continue
            if info.name in found:
                raise ValueError(f"two data sets are called {info.name!r}")
            found[info.name] = info
    return found


DATASETS = _declared()
"""The data sets that come with stepcli, by name."""


def known_names() -> list[str]:
    """Data sets that come with stepcli and those of installed packages, sorted."""
    return sorted({*DATASETS, *plugins(GROUP)})


def find_dataset(name: str) -> DatasetInfo:
    """The data set of that name; of `file.py:name` the file is executed.

    Raises:
        UnknownName: listing the close names.
        UsageError: a file that does not run, a package that fails to load, a name defined twice.
    """
    if is_code(name):
        return custom_dataset.load_own(name)
    plugin = find_plugin(GROUP, name, DATASETS)
    if plugin is not None:
        return custom_dataset.of_plugin(plugin)
    if name not in DATASETS:
        raise UnknownName("data set", name, known_names())
    return DATASETS[name]


def code_of(name: str) -> dict[str, str]:
    """Which code lists the clips of a data set from outside; {} for one of stepcli's own, or where
    that code is not on this machine."""
    if name in DATASETS:
        return {}
    try:
        place, identity = find_dataset(name).code
    except UsageError:
        return {}
    return {place: identity}


def load_dataset(name: str, root: Path | None, options: Mapping[str, str]) -> Dataset:
    """Read a data set's lists; touches no video.

    Args:
        name: as registered.
        root: its folder (for `csv`, the file); None: STEPCLI_DATA/<name>, or what is bundled.
        options: the data set's own, by name.

    Raises:
        UsageError: no root, unknown option, missing pieces.
    """
    info = find_dataset(name)
    for option in options:
        if option not in info.options:
            raise UnknownName(f"option of the data set {name}", option, info.options)
    found = root_of(info, root)
    bundled = info.bundled_root is not None and found == info.bundled_root()
    made = info.load(found, options)
    notes = made.notes if not info.code[0] else (*made.notes, f"listed by {' '.join(info.code)}")
    return replace(made, root=folder_of(found), bundled=bundled, notes=notes)


def folder_of(root: Path) -> Path:
    """The absolute folder of a root; for a CSV the folder that holds it. Links are not followed."""
    folder = root.parent if root.is_file() else root
    return Path(os.path.abspath(folder))  # noqa: PTH100 (Path.absolute keeps "..")


def root_of(info: DatasetInfo, given: Path | None) -> Path:
    """The root as given, else STEPCLI_DATA/<name>, else the bundled one.

    Raises:
        UsageError: there is none.
    """
    if given is not None:
        if not given.exists():
            raise UsageError(f"{info.name}: --root {given} does not exist")
        return given
    home = os.environ.get("STEPCLI_DATA")
    below = Path(home) / info.name if home else None
    if below is not None and below.exists():
        return below
    if info.bundled_root is not None:
        return info.bundled_root()
    looked = f"{below} does not exist" if below else "STEPCLI_DATA is not set"
    raise UsageError(
        f"{info.name}: give its folder as --root, or put it into STEPCLI_DATA/{info.name} "
        f"({looked}); `stepcli datasets show {info.name}` prints the expected layout"
    )
