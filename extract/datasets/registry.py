"""Every data set by name."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stepcli.extract.datasets import (
    charades,
    csv_file,
    diving48,
    driveact,
    epic_kitchens,
    folder,
    hmdb51,
    hri30,
    ikea_asm,
    jester,
    kinetics,
    ntu,
    openclose,
    ssv2,
    ucf101,
)
from stepcli.extract.datasets.clip import Dataset, DatasetInfo
from stepcli.runtime.errors import UnknownName, UsageError


def _by_name(infos: Sequence[DatasetInfo]) -> dict[str, DatasetInfo]:
    found: dict[str, DatasetInfo] = {}
    for info in infos:
        if info.name in found:
            raise ValueError(f"two data sets are called {info.name!r}")
        found[info.name] = info
    return found


_SINGLE = (
    *(charades, csv_file, diving48, driveact, epic_kitchens, folder, hmdb51, hri30, ikea_asm),
    *(jester, openclose, ssv2, ucf101),
)
DATASETS = _by_name(
    [*(module.INFO for module in _SINGLE), *kinetics.INFOS.values(), *ntu.INFOS.values()]
)


def find_dataset(name: str) -> DatasetInfo:
    """The data set of that name.

    Raises:
        UnknownName: listing the close names.
    """
    if name not in DATASETS:
        raise UnknownName("data set", name, DATASETS)
    return DATASETS[name]


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
    return replace(info.load(found, options), root=folder_of(found), bundled=bundled)


def folder_of(root: Path) -> Path:
    """The absolute folder that a root stands for: a CSV's own. Links are not followed."""
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
