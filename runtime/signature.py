"""Options of a user's own class or function, read from its signature.

    class MyProbe(nn.Module):
        def __init__(self, frames, tokens, dim, classes, width: int = 8): ...

gives the option `width`, an int with the default 8.
"""

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, create_model

from stepcli.runtime.errors import UsageError

Fields = dict[str, Any]
"""Name of an option -> its type and pydantic field, as `create_model` takes them."""


class SignatureOptions(BaseModel):
    """Base of options that have no other."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def options_model(
    function: Callable[..., Any], given: int, where: str, base: type[BaseModel] = SignatureOptions
) -> type[BaseModel]:
    """A model with a field for each parameter that stepcli does not give itself.

    Args:
        function: A function or a class.
        given: How many of the first parameters stepcli gives by position.
        where: First words of messages, e.g. "my_probe.py:Mine".
        base: What the model extends.

    Raises:
        UsageError: a parameter has no default, no usable type, or a name that is taken.
    """
    code = function.__init__ if inspect.isclass(function) else function
    try:
        hints = get_type_hints(code)
    except Exception as error:
        raise UsageError(f"{where}: its type annotations cannot be read ({error})") from error
    fields: Fields = {}
    for parameter in list(inspect.signature(function).parameters.values())[given:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        name, default = parameter.name, parameter.default
        if default is parameter.empty:
            raise UsageError(f"{where}: its parameter {name} needs a default, e.g. {name}: int = 8")
        if name.startswith("_") or hasattr(base, name) or name in base.model_fields:
            raise UsageError(f"{where}: its parameter cannot be called {name}; rename it")
        if name not in hints and default is None:
            raise UsageError(f"{where}: its parameter {name} needs a type, e.g. {name}: int | None")
        fields[name] = (hints.get(name, type(default)), Field(default, description=""))
    try:
        made: type[BaseModel] = create_model("Options", __base__=base, **fields)
        made(**made().model_dump(mode="json"))
    except (PydanticUserError, ValueError) as error:
        text = " ".join(str(error).split())
        raise UsageError(
            f"{where}: its parameters cannot be options ({text:.200}); use int, float, bool, "
            "str or Literal"
        ) from None
    return made
