"""`stepcli methods`: every method in a table, or one with its options."""

from collections.abc import Sequence
from pathlib import Path
from shutil import get_terminal_size
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

import typer

from stepcli.probe.cli.options import StoreOption, require_given
from stepcli.probe.methods.catalogue import (
    GROUP,
    Declared,
    complete_methods,
    declarations,
    known_names,
    require_known,
)
from stepcli.runtime.errors import UsageError
from stepcli.runtime.plugins import plugins
from stepcli.runtime.terminal import say

if TYPE_CHECKING:
    from stepcli.probe.methods.registry import ProbeInfo


def methods(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A method, or file.py:Name: show its options.", autocompletion=complete_methods
        ),
    ] = None,
    store: StoreOption = None,
) -> None:
    """List the methods; one with its options by NAME. With --store: parameters on its tokens.

    Methods of installed packages are listed too (docs/extending.md).
    """
    require_given(store)
    if name is not None:
        require_known([name])
        _show(name, store)
        return
    counts = {} if store is None else _counts(store)
    rows, reasons = [], []
    declared = declarations()
    outside = plugins(GROUP)
    for each in known_names():
        try:
            info = _of_plugin(each) if each in outside else declared[each]
        except UsageError as error:
            rows.append((each, "-", "-", "not available"))
            reasons.append(str(error))
            continue
        count = counts.get(each, "")
        if isinstance(count, str) and count:
            reasons.append(f"{each}: {count}")
            count = "-"
        shown_count = f"{count:,}" if isinstance(count, int) else count
        rows.append((each, "yes" if info.order_aware else "no", shown_count, _source(info)))
    for line in _table(("method", "order", "parameters" if counts else "", "source"), rows):
        say(line)
    for reason in reasons:
        say(reason)
    say()
    say("order: whether logits depend on the order of the frames, with the default options")
    say("stepcli methods NAME: the options of one method")


def _counts(store: Path) -> "dict[str, int | str]":
    from stepcli.probe.sweeps.session import parameter_counts

    return parameter_counts(store)


def _of_plugin(name: str) -> "ProbeInfo":
    """A method of an installed package, which has to be imported."""
    from stepcli.probe.methods.registry import methods as registry

    return registry().get(name)


def _source(info: "Declared | ProbeInfo") -> str:
    needs = f"; needs {', '.join(info.needs)}" if info.needs else ""
    return f"{info.source}{needs}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], indent: int = 0) -> list[str]:
    """Lines as wide as the terminal; a last cell that is wider continues in the lines below it."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)][:-1]
    kept = [place for place, width in enumerate(widths) if width]
    used = indent + sum(widths[place] + 2 for place in kept)
    room = max(24, get_terminal_size().columns - used)
    lines = []
    for number, row in enumerate((header, *rows)):
        first, *others = wrap(row[-1], room) or [""]
        numeric = [row[place].replace(",", "").isdecimal() for place in range(len(widths))]
        cells = "".join(
            f"{row[place]:{'>' if numeric[place] else '<'}{widths[place]}}  " for place in kept
        )
        lines += [f"{cells}{first}", *(f"{'':<{len(cells)}}{other}" for other in others)]
        if number == 0:
            lines.append("  ".join("-" * width for width in (*(widths[p] for p in kept), room)))
    return [f"{'':<{indent}}{line}".rstrip() for line in lines]


def _show(name: str, store: "StoreOption") -> None:
    from stepcli.probe.methods.registry import IDENTITY, described

    info = described(name)
    say(f"{name}: {info.source}", bold=True)
    say(f"  order: {'sees the order of frames' if info.order_aware else 'blind to it'}")
    if info.needs:
        say(f"  needs: a store with {', '.join(info.needs)}")
    say(f"  learning rate: {info.lr:g} unless --lr is given")
    if info.recipe:
        settings = ", ".join(f"{field}={value:g}" for field, value in info.recipe.items())
        say(f"  its authors' settings (--recipe-mode own): {settings}")
    if store is not None:
        from stepcli.probe.sweeps.session import parameter_counts

        count = parameter_counts(store, [name])[name]
        say(f"  parameters: {count if isinstance(count, str) else f'{count:,}'}")
    options = {k: v for k, v in info.options.model_fields.items() if k not in IDENTITY}
    say("  options (--set NAME=VALUE):" if options else "  options: none")
    rows = [(f"{name}={field.default}", field.description or "") for name, field in options.items()]
    rows += [
        (f"preset={preset}", f"the same as {' '.join(f'{k}={v}' for k, v in values.items())}")
        for preset, values in info.presets.items()
    ]
    for line in _table(("option", "meaning"), rows, indent=4) if rows else []:
        say(line)
    example = next((f" --set {row[0]}" for row in rows if not row[0].endswith("=")), "")
    say(f"  example: stepcli probe --method {name}{example}")
