"""Typer options made from the fields of a command's config, and `--config FILE` for them.

    @with_config_options(config_file=True)
    def extract(config: ExtractConfig, as_json: Annotated[bool, typer.Option("--json")] = False):
        ...

Every field that is marked by a `Setting` becomes an option; Typer parses, completes and explains
it. The function is called with the config, checked. Only values that were given are passed to the
config, so `config.model_fields_set` says which they were.
"""

import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from stepcli.runtime.errors import UnknownName
from stepcli.runtime.settings import Setting, flag_of, keys_of, setting_of, validated
from stepcli.runtime.yaml_files import read_yaml_fields

CONFIG = "config_file"
CONTEXT = "typer_context"
_FROM_FILE = "stepcli.config_file"
_GIVEN = {"COMMANDLINE", "ENVIRONMENT"}
Complete = Callable[[str], list[str]]
_SIMPLE = (bool, int, float, str, Path)


@dataclass(frozen=True)
class Only:
    """Beside a config in `Annotated`: the command takes these options of it and no others."""

    keys: tuple[str, ...]

    def __init__(self, *keys: str) -> None:
        object.__setattr__(self, "keys", keys)


GivenValues = dict[str, object]
"""Values of some options by field of their config, as the command line gave them."""


@dataclass(frozen=True)
class Given:
    """Beside `GivenValues` in `Annotated`: the values given for a config, by field, unchecked.

    For a command whose values override those of another source before the whole is checked.
    """

    model: type[BaseModel]
    keys: tuple[str, ...] = ()
    """Options to take; none: all."""
    lists: bool = False
    """Each option takes several values with commas, as text, for a search over them."""


@dataclass(frozen=True)
class _Part:
    """One parameter of the command's function that is made of several options."""

    model: type[BaseModel]
    fields: Mapping[str, str]
    """Option's name -> field."""
    checked: bool
    lists: bool = False

    def value(self, given: Mapping[str, Any], places: Mapping[str, str]) -> Any:
        values = {field: given[key] for key, field in self.fields.items() if key in given}
        if not self.checked:
            return values
        named = {field: places[key] for key, field in self.fields.items() if key in places}
        return validated(self.model, values, named)


def with_config_options(
    *, config_file: bool = False, complete: Mapping[str, Complete] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for each setting of the configs that its function takes.

    Args:
        config_file: also take --config FILE, whose values flags override.
        complete: option's name -> its values that a shell may complete, from the characters typed.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(function, include_extras=True)
        parts, parameters, own = {}, [], {}
        for parameter in inspect.signature(function).parameters.values():
            part = _part_of(hints[parameter.name])
            if part is None:
                own[_own_key(hints[parameter.name], parameter.name)] = parameter.name
                hint = hints[parameter.name]
                parameters.append(_parameter(parameter.name, hint, parameter.default))
                continue
            parts[parameter.name] = part
            parameters += _options(part, complete or {})
        configured = [key for part in parts.values() for key in part.fields]
        if config_file:
            required = {p.name for p in parameters if p.default is p.empty}
            others = {key for part in parts.values() if part.checked for key in keys_of(part.model)}
            lists = {name for name in own.values() if _is_list(hints[name])}
            parameters.append(_config_option(configured, own, others, required, lists))
        parameters.append(_parameter(CONTEXT, typer.Context))
        names = [parameter.name for parameter in parameters]
        assert len(set(names)) == len(names), f"two settings of one name among {names}"

        @wraps(function)
        def command(**values: Any) -> None:
            context = values.pop(CONTEXT)
            values.pop(CONFIG, None)
            file, from_file = context.meta.get(_FROM_FILE, (None, {}))
            given = dict(from_file)
            places = {key: f"{file}: {key}" for key in from_file}
            for key in configured:
                source = context.get_parameter_source(key)
                value = values.pop(key)
                if source is not None and source.name in _GIVEN:
                    given[key] = value
                    places.pop(key, None)
            function(**values, **{name: part.value(given, places) for name, part in parts.items()})

        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return decorate


def _part_of(hint: Any) -> _Part | None:
    """What a parameter of the function takes; None if it is an option of its own."""
    plain, *extras = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    for extra in extras:
        if isinstance(extra, Given):
            return _Part(extra.model, _chosen(extra.model, extra.keys), False, extra.lists)
    if isinstance(plain, type) and issubclass(plain, BaseModel):
        only = next((extra.keys for extra in extras if isinstance(extra, Only)), ())
        return _Part(plain, _chosen(plain, only), checked=True)
    return None


def _chosen(model: type[BaseModel], only: tuple[str, ...]) -> dict[str, str]:
    keys = keys_of(model)
    return {key: keys[key] for key in only} if only else keys


def _options(part: _Part, complete: Mapping[str, Complete]) -> Iterator[inspect.Parameter]:
    for key, name in part.fields.items():
        field = part.model.model_fields[name]
        setting = setting_of(field)
        assert setting is not None
        kind, default = _type_of(field, setting)
        settings: dict[str, Any] = {"help": field.description, "rich_help_panel": setting.panel}
        if setting.shown_default:
            settings["show_default"] = setting.shown_default
        if part.lists:
            kind, default = str | None, None
            settings["metavar"] = "VALUE,..."
        if kind in (int, float, int | None, float | None):
            settings |= {"min": _limit(field, "ge"), "max": _limit(field, "le")}
        if setting.unit:
            settings["metavar"] = setting.unit.upper()
        if key in complete:
            settings["autocompletion"] = complete[key]
        if setting.envvar is not None:
            settings["envvar"] = setting.envvar
        flag = flag_of(part.model, name)
        if default is True:
            flag += f"/--no-{flag.removeprefix('--')}"
        option = typer.Option(flag, **settings)
        yield _parameter(key, Annotated[kind, option], default)


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> Any:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default
    )


def _type_of(field: FieldInfo, setting: Setting) -> tuple[Any, Any]:
    """Type and default of the option: the field's where Typer knows it, else a text."""
    plain, optional = _without_none(field.annotation)
    required = field.is_required()
    default = inspect.Parameter.empty if required else field.get_default(call_default_factory=True)
    if setting.repeat:
        return list[str] | None, None
    if plain in _SIMPLE or get_origin(plain) is Literal:
        return (plain | None if optional else plain), default
    if not required:
        default = _text(default)
    return (str if required or default is not None else str | None), default


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in (Union, types.UnionType):
        others = [each for each in get_args(annotation) if each is not type(None)]
        plain = others[0] if len(others) == 1 else annotation
        return _bare(plain), len(others) < len(get_args(annotation))
    return _bare(annotation), False


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _text(default: Any) -> str | None:
    """A default as a user would give it."""
    if default is None or default in ((), {}):
        return None
    return ",".join(map(str, default)) if isinstance(default, tuple | list) else str(default)


def _limit(field: FieldInfo, name: str) -> Any:
    return next((getattr(each, name) for each in field.metadata if hasattr(each, name)), None)


def _own_key(hint: Any, name: str) -> str:
    """Name in a file of an option that is no config's."""
    for extra in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
        flags = [extra.default, *(extra.param_decls or ())]
        long = [flag for flag in flags if isinstance(flag, str) and flag.startswith("--")]
        if long:
            return long[0].partition("/")[0].removeprefix("--").replace("-", "_")
    return name


def _is_list(hint: Any) -> bool:
    return get_origin(_without_none(_bare(hint))[0]) is list


def _own_value(value: Any, repeated: bool) -> Any:
    """A value of a file as the command line has it: `method: [step, linear]` is step,linear."""
    if repeated:
        return value if isinstance(value, list) else [value]
    plain = isinstance(value, list) and all(isinstance(each, str | int | float) for each in value)
    return ",".join(map(str, value)) if plain else value


def _config_option(
    configured: list[str],
    own: Mapping[str, str],
    others: set[str],
    required: set[str],
    lists: set[str],
) -> Any:
    """--config FILE, read before the other options.

    Args:
        configured: options that configs declare.
        own: other options of the command, in a file -> name of the function's parameter.
        others: options of the configs, those that this command does not take included.
        required: those without a default.
        lists: parameters of own options that may be repeated.
    """
    known = {*configured, *own}

    def read(context: typer.Context, path: Path | None) -> Path | None:
        if path is None or context.resilient_parsing:
            return path
        values = {}
        for name, value in read_yaml_fields(path, f"{configured[0]}:").items():
            key = str(name).replace("-", "_")
            if key in known:
                values[key] = value
            elif key not in others:
                raise UnknownName(f"option of {path}", str(name), known)
        # Typer asks for required options, and for those that are no config's, here.
        context.default_map = {
            **{
                own[key]: _own_value(value, own[key] in lists)
                for key, value in values.items()
                if key in own
            },
            **{
                key: str(_own_value(value, False))
                for key, value in values.items()
                if key in required
            },
        }
        context.meta[_FROM_FILE] = path, {k: v for k, v in values.items() if k not in own}
        return path

    option = typer.Option(
        "--config",
        is_eager=True,
        callback=read,
        help="YAML file of these options, name: value. Options given here override it.",
    )
    return _parameter(CONFIG, Annotated[Path | None, option], None)
