"""Options that are read from the signature of a user's own class or function."""

from collections.abc import Callable
from typing import Any, Literal

import pytest
from pydantic import ValidationError

from stepcli.runtime.errors import UsageError
from stepcli.runtime.signature import options_model


def load(
    root: str,
    fold: int = 1,
    *others: int,
    rate: float = 0.5,
    kind: Literal["a", "b"] = "a",
    most: int | None = None,
    plain=3,  # type: ignore[no-untyped-def]
    flag: bool = False,
    **rest: int,
) -> None: ...


class Mine:
    def __init__(self, frames: int, width: int = 8) -> None: ...


def test_parameters_become_options_with_types_and_defaults() -> None:
    model = options_model(load, 1, "x.py:load")
    assert model().model_dump() == {
        "fold": 1,
        "rate": 0.5,
        "kind": "a",
        "most": None,
        "plain": 3,
        "flag": False,
    }
    given = {"fold": "2", "rate": "1e-3", "kind": "b", "most": "5", "plain": "4", "flag": "true"}
    assert model(**given).model_dump() == {
        "fold": 2,
        "rate": 1e-3,
        "kind": "b",
        "most": 5,
        "plain": 4,
        "flag": True,
    }
    for name, value in {
        "fold": "x",
        "kind": "c",
        "rate": "nan",
        "flag": "perhaps",
        "no": "1",
    }.items():
        with pytest.raises(ValidationError):
            model(**{name: value})
    assert options_model(Mine, 1, "x.py:Mine")().model_dump() == {"width": 8}


def none() -> None: ...
def without_default(root: str, fold: int) -> None: ...
def private(root: str, _fold: int = 1) -> None: ...
def taken(root: str, model_dump: int = 1) -> None: ...
def no_type(root: str, fold=None) -> None: ...  # type: ignore[no-untyped-def]
def unusable(root: str, fold: Callable[[], int] = int) -> None: ...
def arbitrary(root: str, fold: Mine | None = None) -> None: ...
def unknown(root: str, fold: "Nowhere" = 1) -> None: ...  # type: ignore[name-defined] # noqa: F821


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (without_default, "its parameter fold needs a default"),
        (private, "its parameter cannot be called _fold"),
        (taken, "its parameter cannot be called model_dump"),
        (no_type, "its parameter fold needs a type"),
        (unusable, "its parameters cannot be options"),
        (arbitrary, "its parameters cannot be options"),
        (unknown, "its type annotations cannot be read"),
    ],
)
def test_what_cannot_be_an_option_is_named(function: Any, message: str) -> None:
    with pytest.raises(UsageError, match=f"x.py:load: {message}"):
        options_model(function, 1, "x.py:load")


def test_a_function_without_parameters_has_no_options() -> None:
    assert options_model(none, 0, "x").model_fields == {}
