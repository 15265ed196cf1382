"""Names of methods without importing any: for the shell's completion, and to answer typos at once.

The one place that a built-in method is named in is its own file: a `ProbeInfo("name", ...)` there
is found by searching the file's text, which needs no torch. Installed packages name theirs by
entry point.
"""

import ast
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any, TypeGuard

from pydantic import BaseModel, JsonValue

from stepcli.probe.methods.alone import definition, syntax
from stepcli.runtime.code_files import is_code
from stepcli.runtime.errors import UnknownName
from stepcli.runtime.plugins import plugins

GROUP = "stepcli.methods"
"""Entry points of methods."""
PRESET = "preset"
"""Stands for several options of a method that has presets."""
# Parsing 27 files would take a fifth of a second at each start.
_DECLARED = re.compile(r'^[\s\w=(\[,]*\bProbeInfo\(\s*"([^"]+)"', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Declared:
    """What a method's declaration says of it: the fields of `ProbeInfo` but the probe itself."""

    name: str
    options: type[BaseModel]
    """As read alone; a probe is built with those of its module."""
    source: str
    order_aware: bool
    lr: float = 5e-4
    recipe: Mapping[str, float] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    presets: Mapping[str, Mapping[str, JsonValue]] = field(default_factory=dict)

    @property
    def settable(self) -> list[str]:
        """Names that a user may give a value; see `ProbeInfo`."""
        return settable_names(self.options, self.presets)


def settable_names(options: type[BaseModel], presets: Collection[str]) -> list[str]:
    """The options of a method, and `preset` where it has presets."""
    return [*options.model_fields, *([PRESET] if presets else ())]


@cache
def built_in() -> dict[str, str]:
    """Name of each built-in method -> the module that declares it.

    Raises:
        ValueError: two files declare one name.
    """
    found: dict[str, str] = {}
    for file in sorted(files(__package__).iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".py"):
            continue
        for name in _DECLARED.findall(file.read_text("utf-8")):
            if name in found:
                raise ValueError(f"{found[name]} and {file.name} both declare the method {name!r}")
            found[name] = f"{__package__}.{file.name.removesuffix('.py')}"
    return found


@cache
def declarations() -> dict[str, Declared]:
    """What the built-in methods' files declare, by name: read, not imported.

    Raises:
        ValueError: a declaration is not made of literals and of the module's own constants.
    """
    return {name: each for module in built_in().values() for name, each in _of(module).items()}


def declaration(name: str) -> Declared:
    """What is declared of one built-in method; only its file is read.

    Raises:
        KeyError: there is no such method.
        ValueError: as for `declarations`.
    """
    return _of(built_in()[name])[name]


@cache
def _of(module: str) -> dict[str, Declared]:
    tree = syntax(module)
    constants = {
        target.id: line.value
        for line in tree.body
        if isinstance(line, ast.Assign)
        for target in line.targets
        if isinstance(target, ast.Name)
    }

    def value(node: ast.expr) -> Any:
        return ast.literal_eval(constants[node.id] if isinstance(node, ast.Name) else node)

    found = {}
    for call in ast.walk(tree):
        if _is_declaration(call):
            name, _, options, source = call.args
            given = {str(word.arg): value(word.value) for word in call.keywords}
            found[value(name)] = Declared(
                value(name), definition(module, ast.unparse(options)), value(source), **given
            )
    return found


def _is_declaration(node: ast.AST) -> TypeGuard[ast.Call]:
    """Whether it is a call `ProbeInfo("name", ...)`."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return False
    return node.func.id == "ProbeInfo" and isinstance(node.args[0], ast.Constant)


def sees_order(name: str) -> bool:
    """Whether a method depends on the order of the frames; one that is not here may.

    Only a method of an installed package is imported for it.
    """
    if name in plugins(GROUP):
        registry = import_module("stepcli.probe.methods.registry").methods()
        return bool(registry.sees_order(name))
    return name not in built_in() or declaration(name).order_aware


def known_names() -> list[str]:
    """Built-in methods and those of installed packages, sorted."""
    return sorted({*built_in(), *plugins(GROUP)})


def require_known(names: Iterable[str]) -> None:
    """Refuse names that are no method's, before anything heavy is imported.

    Raises:
        UnknownName: the message lists close names.
    """
    known = known_names()
    for name in names:
        if not is_code(name) and name not in known:
            raise UnknownName("method", name, known)


def complete_methods(incomplete: str) -> list[str]:
    """Continuations of a comma-separated list of methods: the last name completed."""
    before, comma, begun = incomplete.rpartition(",")
    given = before.split(",")
    names = [name for name in known_names() if name.startswith(begun)]
    return [before + comma + name for name in names if name not in given]
