"""Code of a user's own, named as `path/to/file.py:Name`: a method, a data set or a backbone.

A file is read once, and those bytes are hashed, compiled and executed. Python's import would read
the file a second time, or take a `__pycache__` beside it instead.
"""

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from types import ModuleType
from typing import Any

from stepcli.runtime.errors import UnknownName, UsageError
from stepcli.runtime.trust import is_trusted

_MARK = ".py:"


@dataclass(frozen=True, slots=True)
class CodeFile:
    """One Python file as it was read, and the name wanted from it."""

    spec: str
    """As the user wrote it, `path/to/file.py:Name`."""
    path: Path
    name: str
    source: bytes
    sha256: str
    """Of `source`, hexadecimal."""

    @property
    def short_name(self) -> str:
        """`file.py:Name`: the spec without its folder, since a file may move."""
        return f"{self.path.name}:{self.name}"


def is_code(name: str) -> bool:
    """Whether a name of a method, data set or backbone names a file of code."""
    return _MARK in name


def short_name(spec: str) -> str:
    """`file.py:Name` of `path/to/file.py:Name`; other names are returned unchanged."""
    path, _, name = spec.rpartition(":")
    return f"{Path(path).name}:{name}" if is_code(spec) else spec


def plain_name(spec: str) -> str:
    """`file-Name` of `path/to/file.py:Name`, for names of folders; other names unchanged."""
    path, _, name = spec.rpartition(":")
    return f"{Path(path).stem}-{name}" if is_code(spec) else spec


def read_code(spec: str, option: str) -> CodeFile:
    """Read the file that a spec names; nothing is executed.

    Args:
        spec: `path/to/file.py:Name`.
        option: The command-line option that it belongs to, for messages.

    Raises:
        UsageError: there is no such file.
    """
    path, _, name = spec.rpartition(":")
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"{option} {spec}: there is no file {file}")
    source = file.read_bytes()
    return CodeFile(spec, file, name, source, hashlib.sha256(source).hexdigest())


def read_trusted_code(spec: str, option: str) -> CodeFile:
    """Read a file that a run or a store names, rather than the user: it must be trusted.

    Raises:
        UsageError: there is no such file, or the user does not trust it; the message says how to.
    """
    wanted = f"a run or a store needs {spec} ({option})"
    path = Path(spec.rpartition(":")[0])
    if not path.is_file():
        raise UsageError(f"{wanted}; there is no file {path}")
    code = read_code(spec, option)
    if not is_trusted(code.sha256):
        raise UsageError(
            f"{wanted}; stepcli does not execute this file of code without your consent; read it, "
            f"and if you trust it: stepcli trust {quote(str(path))}"
        )
    return code


def load_object(code: CodeFile, option: str, kind: str, fits: Callable[[Any], bool]) -> Any:
    """Execute the file and return the object of that name.

    Args:
        code: As it was read.
        option: For messages.
        kind: What the object must be, for messages, e.g. "nn.Module".
        fits: Whether an object is of that kind.

    Raises:
        UsageError: the file does not run.
        UnknownName: it has no object of that name and kind; the message lists close names.
    """
    module = _execute(code, option)
    found = {key: value for key, value in vars(module).items() if fits(value)}
    if code.name not in found:
        raise UnknownName(f"{kind} in {code.path}", code.name, found)
    return found[code.name]


def _execute(code: CodeFile, option: str) -> ModuleType:
    """Execute exactly the bytes that were hashed, once per process."""
    identity = hashlib.sha256(f"{code.path.resolve()} {code.sha256}".encode()).hexdigest()
    name = f"stepcli_own_{identity[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(code.path)
    sys.modules[name] = module  # dataclasses and the like look their module up
    try:
        compiled = compile(code.source, str(code.path), "exec", dont_inherit=True)
        with _without_folder(code.path.parent):
            exec(compiled, module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UsageError(
            f"{option} {code.spec}: {code.path} does not run ({type(error).__name__}: {error}); it "
            "may import installed packages and stepcli, not files beside it"
        ) from error
    return module


@contextmanager
def _without_folder(folder: Path) -> Iterator[None]:
    """Take a folder off the module search path while its file of code is executed.

    `python -m` and a notebook put the working folder there. A module beside the file is covered
    neither by the trusted digest nor by the identity of a run or store.
    """
    before = list(sys.path)
    sys.path[:] = [place for place in before if Path(place).resolve() != folder.resolve()]
    try:
        yield
    finally:
        sys.path[:] = before
