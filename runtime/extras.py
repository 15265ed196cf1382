"""Packages that not every installation has: the extras of pyproject.toml, loaded on first use.

A package can be missing, or be there and not load: built for another NumPy, torch or protobuf, or
without a library of the system. The two need different advice.
"""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from traceback import walk_tb
from typing import Any

from stepcli.runtime.errors import UsageError

LOADING_ERRORS = (ImportError, OSError, RuntimeError, AttributeError, TypeError, ValueError)
"""What packages raise that do not fit the others installed; none of it is a subclass for that."""
LONGEST = 300
"""Characters kept of another library's message."""


def load_extra(module: str, extra: str, needed_by: str, package: str = "") -> Any:
    """Import a module of an extra.

    Args:
        module: Its full name.
        extra: Of stepcli, which installs it.
        needed_by: First words of the message, e.g. "--engine ray".
        package: Whose module does the work, where `module` is another's.

    Raises:
        UsageError: the package is not installed, or does not load.
    """
    package = package or module.partition(".")[0]
    if find_spec(package) is None:
        raise UsageError(f"{needed_by} needs {package}: pip install 'stepcli[{extra}]'")
    try:
        return import_module(module)
    except LOADING_ERRORS as error:
        raise UsageError(
            f"{needed_by} needs {package}, and the installed one does not load "
            f"({first_line(error)}); update it with what it needs: pip install --upgrade {package}"
        ) from error


def failed_import(error: BaseException) -> str | None:
    """Which package did not load, and why, if an error came out of an import; else None.

    The package is often one that nobody here asked for: others import whatever they find.
    """
    chain = list(causes(error))
    modules: list[str] = []
    importer = ""
    for cause in chain:
        for frame, _ in walk_tb(cause.__traceback__):
            package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
            importer = importer if package == "importlib" else package
            if package == "stepcli":
                modules.clear()  # only what its last call imported
            elif frame.f_code.co_name == "<module>":
                modules.append(package)
    root = chain[-1]
    if not isinstance(root, LOADING_ERRORS):
        return None
    if not modules:
        return _missing(root, importer)
    by = "" if modules[-1] == modules[0] else f", which {modules[0]} imports,"
    return (
        f"{modules[-1]}{by} does not load ({first_line(root)}); install a version that fits the "
        "other packages, or uninstall it if nothing needs it"
    )


def raise_failed_import(error: BaseException) -> None:
    """Return unless an error came out of an import: that is no fault of the file being read.

    Raises:
        UsageError: see `failed_import`.
    """
    if reason := failed_import(error):
        raise UsageError(reason) from error


def _missing(error: BaseException, importer: str) -> str | None:
    """The message for a package that is not installed.

    Args:
        error: of the import.
        importer: the package that asked for it.
    """
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    package = error.name.partition(".")[0]
    if importer == "stepcli":
        return f"{package} is not installed; install stepcli again, with what it needs"
    return f"{package}, which {importer} imports, is not installed; install it"


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those behind it, the first one last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def first_line(error: BaseException) -> str:
    """An error's kind and own words, in one line of bounded length."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines[:2]) if lines and lines[0].endswith(":") else (lines or [""])[0]
    return f"{type(error).__name__}: {said}"[:LONGEST].rstrip(": ")
