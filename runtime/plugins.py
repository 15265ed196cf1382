"""Objects that installed packages offer by entry point: methods, data sets and backbones.

Listing them reads the metadata of packages only. A package is imported when its name is asked for,
so a broken one breaks nothing else.
"""

import hashlib
import sys
from collections.abc import Container
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from stepcli.runtime.errors import UsageError


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point of an installed package."""

    group: str
    """e.g. "stepcli.methods"."""
    name: str
    value: str
    """`module:object`."""
    package: str
    """Name and version, e.g. "mypackage 1.2"."""

    def load(self) -> Any:
        """Import the package and return the object.

        Raises:
            UsageError: the package fails to import, or has no such object.
        """
        try:
            return EntryPoint(self.name, self.value, self.group).load()
        except (Exception, SystemExit) as error:
            raise UsageError(
                f"{self.name} of the package {self.package} ({self.value}) cannot be loaded: "
                f"{type(error).__name__}: {error}; update or uninstall that package"
            ) from error

    @property
    def sha256(self) -> str:
        """Digest of the file of the object's module, hexadecimal; "" before it is loaded."""
        file = getattr(sys.modules.get(self.value.partition(":")[0]), "__file__", None)
        return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""


@cache
def plugins(group: str) -> dict[str, tuple[Plugin, ...]]:
    """Entry points of a group by name; several under one name clash, see `find_plugin`."""
    found: dict[str, tuple[Plugin, ...]] = {}
    for entry in entry_points(group=group):
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown package"
        plugin = Plugin(group, entry.name, entry.value, package)
        found[entry.name] = (*found.get(entry.name, ()), plugin)
    return found


def find_plugin(group: str, name: str, built_in: Container[str]) -> Plugin | None:
    """The entry point of that name; None where no package offers one.

    Args:
        group: e.g. "stepcli.methods".
        name: What the user asked for.
        built_in: The names that stepcli itself has.

    Raises:
        UsageError: two packages offer the name, or a package offers a built-in one.
    """
    offered = plugins(group).get(name, ())
    owners = [f"{plugin.package} ({plugin.value})" for plugin in offered]
    if name in built_in:
        owners.insert(0, "stepcli itself")
    if len(owners) > 1:
        raise UsageError(
            f"the name {name!r} in {group} is defined more than once: by {' and by '.join(owners)};"
            " uninstall one of the packages, or rename its entry point"
        )
    return offered[0] if offered else None
