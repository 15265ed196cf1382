"""One style for all commands: what they are about is given with or without its option.

`stepcli store info s2` is `stepcli store info --store s2`, `stepcli results rr` is `stepcli results
--runs rr`, and `stepcli order --runs rr` is `stepcli order rr`. A word that would be ignored is
refused.
"""

from typing import Any

from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import listed

OPTION_OF = {
    **dict.fromkeys(
        (f"store {name}" for name in ("info", "ls", "verify", "repair", "compact", "duplicates")),
        "--store",
    ),
    "store labels": "--store",
    "probe": "--store",
    "results": "--runs",
    "runs": "--runs",
    "runs list": "--runs",
}
"""Commands without arguments -> the option whose value a plain word is."""
ARGUMENT_OF = dict.fromkeys(("analyse", "order", "corruptions", "calibrate", "report"), "--runs")
"""Commands whose argument may also be given by this option."""
LISTS = ("--method", "--split", "--compare", "--seed")
"""Options whose values may be separated by spaces where plain words are no arguments; seeds are
numbers, so a word after them is none."""
REPEATABLE = (*LISTS, "--task", "--backbone")
"""Options that may be given several times: `--method step --method linear` is `--method
step,linear`. Click takes the last one alone."""


def accept_both(command: Any, path: str) -> None:
    """Let a command, and all commands below it, take their subject and lists in all forms.

    Args:
        command: Of Typer.
        path: Its words after `stepcli`.
    """
    parse = command.parse_args

    def parse_args(ctx: Any, args: list[str]) -> list[str]:
        rest: list[str] = parse(ctx, rewritten(command, path, list(args)))
        return rest

    command.parse_args = parse_args
    for name, inner in getattr(command, "commands", {}).items():
        accept_both(inner, f"{path} {name}")


def rewritten(command: Any, path: str, args: list[str]) -> list[str]:
    """Words of a command line in the form that the command declares.

    Args:
        command: Of Typer.
        path: Its words after `stepcli`.
        args: Words after these.

    Raises:
        UsageError: the subject is given twice, or options stand before a subcommand, which would
            not see them.
    """
    options = {
        name: param
        for param in command.params
        if param.param_type_name == "option"
        for name in (*param.opts, *param.secondary_opts)
    }
    subcommands = getattr(command, "commands", {})
    as_option, as_argument = OPTION_OF.get(path), ARGUMENT_OF.get(path)
    # Where the subject is a folder of runs, stores are a filter.
    repeatable = {*REPEATABLE, *(["--store"] if as_option == "--runs" else [])}
    found: list[str] = []
    place_of: dict[str, int] = {}
    subjects: list[str] = []
    rest: list[str] = []
    place = 0
    while place < len(args):
        arg = args[place]
        place += 1
        name, equals, value = arg.partition("=")
        if arg in subcommands and [word for word in found if word != "--help"]:
            raise UsageError(
                f"stepcli {path}: {' '.join(found)} comes before {arg}, which would ignore it; "
                f"give it after {arg}"
            )
        if arg == "--" or arg in subcommands:
            rest = [arg, *args[place:]]
            break
        if not arg.startswith("-") or arg == "-":
            found += [as_option, arg] if as_option else [arg]
            subjects.append(arg)
            continue
        takes_value = name in options and not options[name].is_flag
        if name == as_argument and (equals or place < len(args)):
            found.append(value if equals else args[place])
            place += not equals
            continue
        if not takes_value or not (equals or place < len(args)):
            found.append(arg)
            continue
        if not equals:
            value = args[place]
            place += 1
        # `--method step linear`, `--split 1, 2`: up to the next option.
        while as_option and name in LISTS and place < len(args):
            word = args[place]
            other = word.startswith("-") or word in subcommands
            if other or (name == "--seed" and not word.strip(",").isdigit()):
                break
            value = f"{value.rstrip(',')},{word.lstrip(',')}"
            place += 1
        if name == as_option:
            subjects.append(value)
        if name in repeatable and name in place_of and not options[name].multiple:
            found[place_of[name]] += f",{value}"
            continue
        found += [f"{name}={value}"] if equals and name not in repeatable else [name, value]
        place_of[name] = len(found) - 1
    if as_option and len(subjects) > 1 and not options[as_option].multiple:
        raise UsageError(
            f"stepcli {path} takes one {as_option}, found {len(subjects)}: {listed(subjects)}"
        )
    return [*found, *rest]
