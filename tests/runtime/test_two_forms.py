"""What a command is about is given with or without its option; lists have commas or spaces."""

from typing import Any

import pytest
import typer
from typer.main import get_command

from stepcli.cli import app
from stepcli.runtime.errors import UsageError
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
        ("results", "--method step --method=linear", "--method step,linear"),
        ("results", "--store s1 --store s2 --seed 0 1 rr", "--store s1,s2 --seed 0,1 --runs rr"),
        ("results", "--seed 0 --seed 1 --task arrow --task twins", "--seed 0,1 --task arrow,twins"),
        ("extract", "--backbone a --backbone b --root v", "--backbone a,b --root v"),
        ("sweep", "--method step --method linear", "--method step,linear"),
        ("runs", "rr", "--runs rr"),
        ("runs list", "rr --method step", "--runs rr --method step"),
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


@pytest.mark.parametrize(
    ("path", "given", "found"),
    [
        ("store info", "a b", "a, b"),
        ("store info", "a --store b", "a, b"),
        ("store labels", "--store a --store=b", "a, b"),
        ("probe", "a --method step --store b", "a, b"),
        ("probe", "--seeds 1 2 --store b", "2, b"),
        ("runs list", "a b", "a, b"),
    ],
)
def test_a_subject_given_twice_is_an_error_not_a_choice(path: str, given: str, found: str) -> None:
    with pytest.raises(UsageError, match=f"found 2: {found}"):
        rewritten(command(path), path, given.split())


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("results", "--runs rr import x"),
        ("runs", "rr rm step-a"),
        ("runs", "--method step list"),
    ],
)
def test_options_that_a_subcommand_would_not_see_are_an_error(path: str, given: str) -> None:
    with pytest.raises(UsageError, match="comes before"):
        rewritten(command(path), path, given.split())


def test_help_of_a_group_goes_before_its_subcommands() -> None:
    assert rewritten(command("runs"), "runs", ["--help", "rm"]) == ["--help", "rm"]
