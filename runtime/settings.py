"""Settings of a command: one declaration each, from which options, files and checks are made."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, GetPydanticSchema, JsonValue, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core.core_schema import any_schema

from stepcli.runtime.errors import UsageError

Model = TypeVar("Model", bound=BaseModel)
JsonObject = dict[str, Annotated[JsonValue, GetPydanticSchema(lambda *_: any_schema())]]
"""Free-form JSON: settings and specs of whatever version, checked where they are used. Pydantic's
own check of JsonValue calls Python for each value, which would double the time of `results`."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Marks a field of a config as an option of the command line.

    It is in the field's `Annotated`, beside pydantic's own `Field(description=...)`, which is
    the option's help; type, limits and default are the field's. A field without it is no option.

        frames: Annotated[
            int, Field(ge=1, description="Frames stored per clip."), Setting("Frames and views")
        ] = 16
    """

    panel: str | None = None
    """Heading in --help; None: the first panel, for the options that most users need."""
    flag: str = ""
    """Of the command line; empty: the field's name, e.g. --part-clips for part_clips."""
    unit: str = ""
    """Of the value, in place of its type in --help, e.g. "seconds"."""
    shown_default: str = ""
    """Of --help, where the field's own default is not what counts in the end."""
    repeat: bool = False
    """The option may be given several times; the field's validator receives a list of texts."""
    envvar: str | None = None
    """Environment variable that sets the option."""

    def key_of(self, field: str) -> str:
        """Name of the option in a file, from the field's name: part_clips, format."""
        return self.flag.removeprefix("--").replace("-", "_") or field


class FrozenConfig(BaseModel):
    """Base of configs: immutable, without unknown fields, without infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def setting_of(field: FieldInfo) -> Setting | None:
    """The mark of a field; None if it is no option."""
    return next((each for each in field.metadata if isinstance(each, Setting)), None)


def keys_of(model: type[BaseModel]) -> dict[str, str]:
    """The options that a config declares: name of the option -> name of the field."""
    return {
        setting.key_of(name): name
        for name, field in model.model_fields.items()
        if (setting := setting_of(field)) is not None
    }


def options_of(config: BaseModel) -> JsonObject:
    """The resolved settings by option's name, as JSON has them: a `--config` file gives them."""
    content = config.model_dump(mode="json")
    return {key: content[field] for key, field in keys_of(type(config)).items()}


def validated(
    model: type[Model], values: Mapping[str, Any], places: Mapping[str, str] | None = None
) -> Model:
    """Build a config from values by field name.

    Args:
        model: class of the config.
        values: those that were given; the others keep their defaults.
        places: field -> what an error calls it, e.g. "--frames" or "run.yaml: frames"; a field
            that is not named here is called by its flag.

    Raises:
        UsageError: one line that names the option, the value and what was expected.
    """
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        place = (places or {}).get(field) or flag_of(model, field)
        if first["type"] == "missing":
            raise UsageError(f"missing option {place}") from None
        raise UsageError(f"{place} {_brief(first['input'])}: {_expected(first['msg'])}") from None


def flag_of(model: type[BaseModel], field: str) -> str:
    """The flag of a field, whether or not it is marked as an option."""
    info = model.model_fields.get(field)
    setting = (info and setting_of(info)) or Setting()
    return "--" + setting.key_of(field).replace("_", "-")


def _brief(value: object) -> str:
    """A value as it was given: of an option that may be repeated, all of its texts."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = " ".join(value)
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _expected(message: str) -> str:
    message = message.removeprefix("Value error, ")
    for limit in ("greater", "less"):
        message = message.replace(f"Input should be {limit}", f"expected a value {limit}")
    return message.replace("Input should be", "expected")
