"""What a command is about is given with or without its option; lists have commas or spaces."""

from typing import Any

import pytest
import typer
from typer.main import get_command

from stepcli.cli import app
from stepcli.runtime.two_forms import ARGUMENT_OF, OPTION_OF, rewritten

DOOR: Any = get_command(app)


def command(path: str) -> Any:
    found = DOOR
    for word in path.split():
        found = found.commands[word]
        found = found.load() if hasattr(found, "load") else found
    return found


@pytest.mark.parametrize(
    ("path", "given", "read"),
    [
        ("store info", "s2", "--store s2"),
        ("store info", "s2 --json", "--store s2 --json"),
        ("store info", "--json s2", "--json --store s2"),
        ("store info", "--store s2", "--store s2"),
        ("store info", "--store=s2", "--store=s2"),
        ("store ls", "--state left s2", "--state left --store s2"),
        ("store labels", "s2 --test-share 0.25", "--store s2 --test-share 0.25"),
        ("results", "rr", "--runs rr"),
        ("results", "rr --format csv", "--runs rr --format csv"),
        ("results", "--format csv rr", "--format csv --runs rr"),
        ("results", "import logits.csv --runs rr", "import logits.csv --runs rr"),
        ("results", "--runs rr import x", "--runs rr import x"),
        ("results", "--method step linear --slices", "--method step,linear --slices"),
        ("results", "--method step, linear", "--method step,linear"),
        ("results", "--method step ,linear", "--method step,linear"),
        ("results", "--method step,linear", "--method step,linear"),
        (
            "results",
            "rr --compare step linear --slices",
            "--runs rr --compare step,linear --slices",
        ),
        ("results", "--compare step linear", "--compare step,linear"),
        ("runs", "rr", "--runs rr"),
        ("runs", "rm step-a --yes", "rm step-a --yes"),
        ("probe", "s2 --method step linear", "--store s2 --method step,linear"),
        ("probe", "--method step --split 1 2 3 --strict", "--method step --split 1,2,3 --strict"),
        ("order", "rr", "rr"),
        ("order", "--runs rr", "rr"),
        ("order", "--runs=rr --json", "rr --json"),
        ("calibrate", "--method step --runs rr/x", "--method step rr/x"),
        ("report", "--out here --runs rr", "--out here rr"),
        ("order", "--runs", "--runs"),
        ("order", "-- --runs", "-- --runs"),
    ],
)
def test_both_forms_are_one(path: str, given: str, read: str) -> None:
    assert rewritten(command(path), path, given.split()) == read.split()


@pytest.mark.parametrize("path", [*OPTION_OF, *ARGUMENT_OF])
def test_every_command_named_has_what_a_word_stands_for(path: str) -> None:
    params = {opt: param for param in command(path).params for opt in param.opts}
    if path in OPTION_OF:
        assert OPTION_OF[path] in params
        assert not [
            param for param in params.values() if isinstance(param, typer.core.TyperArgument)
        ]
    else:
        assert ARGUMENT_OF[path] not in params
        assert "runs" in params


def test_two_words_are_an_error_not_a_choice() -> None:
    assert rewritten(command("store info"), "store info", ["a", "b"]) == [
        *("--store", "a"),
        *("--store", "b"),
    ]
