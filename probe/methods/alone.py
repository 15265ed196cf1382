"""Definitions of a module, executed without the rest of it: options of methods without torch.

A method's options are a class beside its probe, in a file that imports torch. Only the class
statement is executed here, and before it what its fields, bases and validators name: from files
of these folders in the same way, from other modules by an import. Methods of the class that are
not decorated are left out, so what they name is not needed.
"""

import ast
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any

APART = ("stepcli.probe.methods.", "stepcli.probe.nn.")
"""Beginnings of the modules that import torch; what is taken of them is executed alone."""


@cache
def definition(module: str, name: str) -> Any:
    """What a module calls by a name.

    Raises:
        ValueError: the module does not define it.
    """
    if not module.startswith(APART):
        return getattr(import_module(module), name)
    found = _top_level(module).get(name)
    if found is None:
        raise ValueError(f"{module} defines no {name}")
    if isinstance(found, ast.ImportFrom):
        asked = next(each.name for each in found.names if name in (each.asname, each.name))
        return definition(str(found.module), asked)
    if isinstance(found, ast.Import):
        return import_module(name)
    if isinstance(found, ast.ClassDef):
        found = _without_methods(found)
    space: dict[str, Any] = {"__name__": module}
    defined = _top_level(module)
    for used in sorted({each.id for each in ast.walk(found) if isinstance(each, ast.Name)}):
        if used != name and used in defined:
            space[used] = definition(module, used)
    exec(compile(ast.Module([found], []), module, "exec"), space)  # a file of this package
    return space[name]


@cache
def syntax(module: str) -> ast.Module:
    """The parsed file of a module of this package."""
    package, _, name = module.rpartition(".")
    return ast.parse((files(package) / f"{name}.py").read_text("utf-8"))


@cache
def _top_level(module: str) -> dict[str, ast.stmt]:
    """Name -> the statement of a module that defines it."""
    return {name: line for line in syntax(module).body for name in _names(line)}


def _names(line: ast.stmt) -> Iterator[str]:
    if isinstance(line, ast.Import | ast.ImportFrom):
        yield from (each.asname or each.name for each in line.names)
    elif isinstance(line, ast.ClassDef | ast.FunctionDef):
        yield line.name
    elif isinstance(line, ast.Assign):
        yield from (each.id for each in line.targets if isinstance(each, ast.Name))


def _without_methods(found: ast.ClassDef) -> ast.ClassDef:
    kept = [line for line in found.body if getattr(line, "decorator_list", [True])]
    return ast.ClassDef(
        **{field: getattr(found, field) for field in found._fields if field != "body"},
        body=kept,
        lineno=found.lineno,
        col_offset=found.col_offset,
    )
