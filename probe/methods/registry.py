"""Methods by name; an unknown name lists the close ones. Imports torch with the first method."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, overload

from pydantic import BaseModel, JsonValue, ValidationError

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.methods import catalogue
from stepcli.probe.methods.catalogue import PRESET, Declared
from stepcli.runtime.code_files import is_code
from stepcli.runtime.errors import UnknownName, UsageError
from stepcli.runtime.plugins import find_plugin, plugins
from stepcli.runtime.settings import JsonObject

if TYPE_CHECKING:
    from torch import Generator

    from stepcli.probe.nn.bank import Options, Probe

Build = Callable[[TokenLayout, int, Any, "Generator"], "Probe"]
DEFAULT = "default"
IDENTITY = {
    "sha256": "digest of the file of code, filled in by itself",
    "package": "name and version of the package, filled in by itself",
}
"""Options that say which code a method is: other code is another run."""


@dataclass(frozen=True, slots=True)
class ProbeInfo:
    """One method."""

    name: str
    build: Build
    """(layout, classes, options, generator) -> a probe of one member."""
    options: "type[Options]"
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
    presets: Mapping[str, Mapping[str, JsonValue]] = field(default_factory=dict)
    """Names for options together, given as `preset`; options that are given beside go first. A run
    records the options alone."""

    @property
    def settable(self) -> list[str]:
        """Names that a user may give a value: the options, and `preset` where there are some."""
        return catalogue.settable_names(self.options, self.presets)

    def preset_of(self, options: Mapping[str, JsonValue]) -> str:
        """The preset that gives a run's options, as far as presets set any."""
        usual = self.defaults()
        for name, values in self.presets.items():
            if all(options.get(key) == value for key, value in (usual | dict(values)).items()):
                return name
        return DEFAULT

    def defaults(self) -> JsonObject:
        """Every option with its default."""
        return self.options().model_dump()


class Registry:
    """Methods by name: built-in ones, those of installed packages, and files of code."""

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
        """Names of built-in methods and of those of installed packages, sorted."""
        return catalogue.known_names()

    def built_in(self) -> list[ProbeInfo]:
        """The methods that come with stepcli, sorted by name."""
        return [self.get(name) for name in sorted(catalogue.built_in())]

    def get(self, name: str) -> ProbeInfo:
        """The method of that name, wherever the name comes from: a file is executed only if the
        user trusts it.

        Raises:
            UnknownName: there is none; the message lists close names.
            UsageError: an untrusted file; a package that fails to load; a name defined twice.
        """
        if name not in self._infos:
            if is_code(name):
                self.add(_own().load_trusted(name))
            else:
                self._find(name)
        return self._infos[name]

    def load(self, name: str) -> ProbeInfo:
        """The same for a name that the user gave: the file of `file.py:Name` is executed, as it is
        now.

        Raises:
            UnknownName: there is none; the message lists close names.
            UsageError: the file holds no such method, or as for `get`.
        """
        if is_code(name):
            info = _own().load_own(name)
            self._infos[name] = info
        return self.get(name)

    def is_loaded(self, name: str) -> bool:
        """Whether its module, and torch, are imported already."""
        return name in self._infos

    def usual_options(self, name: str) -> Mapping[str, Any]:
        """A method's options with their defaults; {} where its code is not here."""
        if is_code(name) and name not in self._infos:
            return {}
        try:
            return self.get(name).defaults()
        except UsageError:
            return {}

    def sees_order(self, name: str) -> bool:
        """Whether a method depends on the order of the frames; one that is not here may."""
        if is_code(name):
            return name not in self._infos or self._infos[name].order_aware
        try:
            return self.get(name).order_aware
        except UsageError:
            return True

    def _find(self, name: str) -> None:
        """Import the one module that declares a method."""
        modules = catalogue.built_in()
        plugin = find_plugin(catalogue.GROUP, name, modules)
        if plugin is not None:
            self.add(_own().of_plugin(plugin))
        elif name not in modules:
            raise UnknownName("method", name, self.names())
        else:
            for info in import_module(modules[name]).INFOS:
                self._infos.setdefault(info.name, info)


def _own() -> ModuleType:
    """The module for others' code; it imports this one."""
    return import_module("stepcli.probe.methods.custom_module")


@cache
def methods() -> Registry:
    """The registry of this process."""
    return Registry()


def described(name: str) -> ProbeInfo | Declared:
    """A method that a user named, as far as checks of its settings need it: without torch if it is
    built in.

    Raises:
        UnknownName: there is none; the message lists close names.
        UsageError: as for `Registry.load`.
    """
    known = methods()
    if (
        known.is_loaded(name)
        or name not in catalogue.built_in()
        or name in plugins(catalogue.GROUP)
    ):
        return known.load(name)
    return catalogue.declaration(name)


@overload
def parse_options(info: ProbeInfo, values: Mapping[str, Any]) -> "Options": ...


@overload
def parse_options(info: ProbeInfo | Declared, values: Mapping[str, Any]) -> BaseModel: ...


def parse_options(info: ProbeInfo | Declared, values: Mapping[str, Any]) -> BaseModel:
    """Check a method's settings; values may be the text that the command line gave.

    Raises:
        UnknownName: the method has no such option.
        UsageError: a value does not fit; the message says what would.
    """
    for name in values:
        if name not in info.settable:
            raise UnknownName(f"option of method {info.name}", name, info.settable)
    preset = values.get(PRESET, DEFAULT)
    if preset not in (DEFAULT, *info.presets):
        raise UnknownName(f"preset of method {info.name}", str(preset), (DEFAULT, *info.presets))
    given = {name: value for name, value in values.items() if name != PRESET}
    try:
        return info.options.model_validate({**info.presets.get(preset, {}), **given})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"method {info.name}: option {name}={first['input']!r}: {first['msg']}"
        ) from None
