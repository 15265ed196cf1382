"""The methods that there are: a duplicate raises, an unknown name lists the close ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

from pydantic import ValidationError
from torch import Generator

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.methods.names import NAMES
from stepcli.probe.nn.bank import Options, Probe
from stepcli.runtime.errors import UnknownName, UsageError

Build = Callable[[TokenLayout, int, Any, Generator], Probe]


@dataclass(frozen=True, slots=True)
class ProbeInfo:
    """One method."""

    name: str
    build: Build
    """(layout, classes, options, generator) -> a probe of one member."""
    options: type[Options]
    """Its settings and their defaults."""
    source: str
    """Paper, code or reason."""
    order_aware: bool
    """Whether, at its defaults, its logits depend on the order of the frames."""
    lr: float = 5e-4
    """Peak learning rate where the user gives none, found on held-out slices of training clips."""
    recipe: Mapping[str, float] = field(default_factory=dict)
    """Training settings of the method's authors, by field of OptimConfig, where they are known;
    used where a sweep asks for own recipes."""
    needs: tuple[str, ...] = ()
    """What, at its defaults, a store must hold beside tokens of some kind."""

    def defaults(self) -> dict[str, Any]:
        """Every option with its default."""
        return self.options().model_dump()


class Registry:
    """Methods by name."""

    def __init__(self) -> None:
        self._infos: dict[str, ProbeInfo] = {}

    def add(self, info: ProbeInfo) -> None:
        """Make a method known.

        Raises:
            ValueError: the name is taken.
        """
        if info.name in self._infos:
            raise ValueError(f"a method named {info.name!r} is registered already")
        self._infos[info.name] = info

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._infos)

    def get(self, name: str) -> ProbeInfo:
        """The method of that name, wherever the name comes from: no code is run that the user has
        not said to run.

        Raises:
            UnknownName: there is none; the message lists close names.
            UsageError: it is a file's, and nobody here has vouched for that file.
        """
        if ".py:" in name and name not in self._infos:
            self.add(import_module("stepcli.probe.methods.custom_module").load_vouched(name))
        if name not in self._infos:
            raise UnknownName("method", name, self._infos)
        return self._infos[name]

    def load(self, name: str) -> ProbeInfo:
        """The same for a name that the user gave: of `file.py:ClassName` the file is run.

        Raises:
            UnknownName: there is none; the message lists close names.
            UsageError: the user's file does not hold such a probe.
        """
        if ".py:" in name and name not in self._infos:
            self.add(import_module("stepcli.probe.methods.custom_module").load_own(name))
        return self.get(name)

    def sees_order(self, name: str) -> bool:
        """Whether a method depends on the order of the frames; of a file's it is taken to."""
        return name not in self._infos or self._infos[name].order_aware


@cache
def methods() -> Registry:
    """The built-in methods."""
    registry = Registry()
    for module, names in NAMES.items():
        infos = import_module(f"stepcli.probe.methods.{module}").INFOS
        if tuple(info.name for info in infos) != names:
            raise ValueError(f"probe/methods/names.py lists {names} of probe/methods/{module}.py")
        for info in infos:
            registry.add(info)
    return registry


def parse_options(info: ProbeInfo, values: Mapping[str, Any]) -> Options:
    """Check a method's settings; values may be the text that the command line gave.

    Raises:
        UnknownName: the method has no such option.
        UsageError: a value does not fit; the message says what would.
    """
    for name in values:
        if name not in info.options.model_fields:
            raise UnknownName(f"option of method {info.name}", name, info.options.model_fields)
    try:
        return info.options.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"method {info.name}: option {name}={first['input']!r}: {first['msg']}"
        ) from None
