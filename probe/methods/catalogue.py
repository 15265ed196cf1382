"""Names of methods without importing any: for the shell's completion, and to answer typos at once.

The one place that a built-in method is named in is its own file: a `ProbeInfo("name", ...)` there
is found by searching the file's text, which needs no torch. Installed packages name theirs by
entry point.
"""

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from stepcli.runtime.code_files import is_code
from stepcli.runtime.errors import UnknownName
from stepcli.runtime.plugins import plugins

GROUP = "stepcli.methods"
"""Entry points of methods."""
# Parsing 27 files would take a fifth of a second at each start.
_DECLARED = re.compile(r'^[\s\w=(\[,]*\bProbeInfo\(\s*"([^"]+)"', re.MULTILINE)


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
