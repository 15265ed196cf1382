"""A package that is installed for one test: a real dist-info folder on the search path."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from stepcli.runtime.plugins import plugins


class Installer:
    """Installs packages of one module below a folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch
        self._names: list[str] = []

    def __call__(
        self, name: str, code: str, entry_points: Mapping[str, str], version: str = "1.0"
    ) -> Path:
        """Install a module.

        Args:
            name: Of the package and of its module.
            code: Of the module.
            entry_points: "group: name" -> "module:object".
            version: Of the package.

        Returns:
            The module's file.
        """
        place = self._folder / f"site-{name}-{version}"
        info = place / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        module = place / f"{name}.py"
        module.write_text(code)
        head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (info / "METADATA").write_text(head)
        groups: dict[str, list[str]] = {}
        for key, value in entry_points.items():
            group, _, entry = key.partition(": ")
            groups.setdefault(group, []).append(f"{entry} = {value}\n")
        text = "".join(f"[{group}]\n{''.join(lines)}" for group, lines in groups.items())
        (info / "entry_points.txt").write_text(text)
        self._monkeypatch.syspath_prepend(str(place))
        self._names.append(name)
        self.forget()
        return module

    def forget(self) -> None:
        """Empty what the process remembers of packages and of their methods."""
        plugins.cache_clear()
        for name in self._names:
            # Not another of that name: a test that broke a copy of ray removed ray itself.
            file = getattr(sys.modules.get(name), "__file__", None)
            if file is not None and Path(file).is_relative_to(self._folder):
                del sys.modules[name]
        if registry := sys.modules.get("stepcli.probe.methods.registry"):
            registry.methods.cache_clear()
