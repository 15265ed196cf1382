"""Data sets from outside: a function in a file of the user's, or of an installed package.

    def load(root: Path, fold: int = 1) -> Iterable[Clip] | Dataset:
        '''What --root must hold.'''

Its parameters after the root are the options of the data set. A DatasetInfo is taken as it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip, Dataset, DatasetInfo
from stepcli.runtime.code_files import load_object, plain_name, read_code
from stepcli.runtime.errors import StepcliError, UsageError
from stepcli.runtime.plugins import Plugin

OPTION = "--dataset"
KIND = "function or DatasetInfo"
GIVEN = 1
"""Parameters that stepcli gives: the root."""


def load_own(spec: str) -> DatasetInfo:
    """The data set of `path/to/file.py:name`. The user named the file, so it is executed.

    Raises:
        UsageError: no such file, or it does not run, or its parameters cannot be options.
        UnknownName: it has no such function.
    """
    code = read_code(spec, OPTION)
    found = load_object(code, OPTION, KIND, _is_dataset)
    info = _info(found, plain_name(spec), spec, str(code.path))
    return replace(info, code=(code.short_name, f"sha256 {code.sha256}"))


def of_plugin(plugin: Plugin) -> DatasetInfo:
    """The data set of an installed package.

    Raises:
        UsageError: the package fails to load, or offers no usable data set.
    """
    found = plugin.load()
    if not _is_dataset(found):
        raise UsageError(
            f"data set {plugin.name} of the package {plugin.package}: {plugin.value} is no {KIND}"
        )
    info = _info(found, plugin.name, plugin.value, plugin.package)
    return replace(info, code=(plugin.value, f"{plugin.package}, sha256 {plugin.sha256}"))


def _is_dataset(value: Any) -> bool:
    return isinstance(value, DatasetInfo) or (callable(value) and not isinstance(value, type))


def _info(found: Any, name: str, where: str, source: str) -> DatasetInfo:
    if isinstance(found, DatasetInfo):
        return replace(found, name=name)
    from stepcli.runtime.signature import options_model  # pydantic: not while a shell completes

    model = options_model(found, GIVEN, where)
    options = {option: f"default {field.default}" for option, field in model.model_fields.items()}

    def load(root: Path, given: Mapping[str, str]) -> Dataset:
        try:
            values = dict(model(**given))
        except ValueError as error:
            raise UsageError(f"{where}: {_first_line(error)}") from None
        return _dataset(name, where, found, root, values)

    layout = (found.__doc__ or "described by its code").strip()
    return DatasetInfo(name, load, layout, source, options)


def _first_line(error: ValueError) -> str:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"option {first['loc'][0]}={first['input']!r}: {first['msg']}"


def _dataset(
    name: str, where: str, function: Callable[..., Any], root: Path, values: Mapping[str, Any]
) -> Dataset:
    """What the function gives, checked; classes in the order of their names unless it says."""
    try:
        made = function(root, **values)
        if isinstance(made, Dataset):
            return made
        clips = tuple(made)
    except StepcliError:
        raise
    except Exception as error:
        raise UsageError(
            f"{where} failed on --root {root}: {type(error).__name__}: {error}; --debug shows where"
        ) from error
    for clip in clips:
        if not isinstance(clip, Clip):
            raise UsageError(f"{where} gave {type(clip).__name__} {clip!r:.60}; expected Clip")
    return Dataset(name, clips, class_rows(sorted({clip.label for clip in clips})))
