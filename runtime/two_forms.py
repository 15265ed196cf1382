"""One style for all commands: what they are about is given with or without its option.

`stepcli store info s2` is `stepcli store info --store s2`, `stepcli results rr` is `stepcli results
--runs rr`, and `stepcli order --runs rr` is `stepcli order rr`.
"""

from typing import Any

OPTION_OF = {
    **dict.fromkeys(
        (f"store {name}" for name in ("info", "ls", "verify", "repair", "compact", "duplicates")),
        "--store",
    ),
    "store labels": "--store",
    "probe": "--store",
    "results": "--runs",
    "runs": "--runs",
}
"""Commands without arguments -> the option whose value a plain word is."""
ARGUMENT_OF = dict.fromkeys(("analyse", "order", "corruptions", "calibrate", "report"), "--runs")
"""Commands whose argument may also be given by this option."""
LISTS = ("--method", "--split", "--compare")
"""Options whose values may be separated by spaces where plain words are no arguments."""


def accept_both(command: Any, path: str) -> None:
    """Let a command, and all commands below it, take their subject in both forms.

    Args:
        command: Of Typer.
        path: Its words after `stepcli`.
    """
    if path in OPTION_OF or path in ARGUMENT_OF:
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
    """
    options = {
        name: param
        for param in command.params
        if param.param_type_name == "option"
        for name in (*param.opts, *param.secondary_opts)
    }
    subcommands = getattr(command, "commands", {})
    as_option, as_argument = OPTION_OF.get(path), ARGUMENT_OF.get(path)
    found: list[str] = []
    place = 0
    while place < len(args):
        arg = args[place]
        place += 1
        name, equals, value = arg.partition("=")
        if arg == "--" or arg in subcommands:
            return [*found, arg, *args[place:]]
        if not arg.startswith("-") or arg == "-":
            found += [as_option, arg] if as_option else [arg]
            continue
        takes_value = name in options and not options[name].is_flag and not equals
        if name == as_argument and (equals or place < len(args)):
            found.append(value if equals else args[place])
            place += not equals
            continue
        found.append(arg)
        if not takes_value or place == len(args):
            continue
        found.append(args[place])
        place += 1
        # `--method step linear`, `--split 1, 2`: up to the next option.
        while as_option and name in LISTS and place < len(args) and args[place][:1] != "-":
            found[-1] = f"{found[-1].rstrip(',')},{args[place].lstrip(',')}"
            place += 1
    return found
