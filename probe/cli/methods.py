"""`stepcli methods`: every method in a table, or one with its options."""

from typing import TYPE_CHECKING, Annotated

import typer

from stepcli.probe.cli.options import StoreOption
from stepcli.probe.methods.catalogue import complete_methods, require_known
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
    if name is not None:
        require_known([name])
        _show(name, store)
        return
    from stepcli.probe.methods.registry import methods as registry
    from stepcli.probe.sweeps.session import parameter_counts
    from stepcli.runtime.errors import UsageError

    counts = {} if store is None else parameter_counts(store)
    width = max(map(len, registry().names()))
    say(f"{'method':<{width}}  order  {'parameters  ' if counts else ''}source", bold=True)
    reasons = []
    for each in registry().names():
        try:
            info = registry().get(each)
        except UsageError as error:
            say(f"{each:<{width}}  -      {'-           ' if counts else ''}not available")
            reasons.append(str(error))
            continue
        cells = f"{each:<{width}}  {'yes' if info.order_aware else 'no':<5}  "
        if counts:
            count = counts[each]
            cells += f"{count if isinstance(count, str) else f'{count:,}':>10.10}  "
            if isinstance(count, str):
                reasons.append(f"{each}: {count}")
        say(f"{cells}{info.source}{_needs(info)}")
    for reason in reasons:
        say(reason)
    say("order: whether logits depend on the order of the frames, with the default options")
    say("stepcli methods NAME: the options of one method")


def _show(name: str, store: "StoreOption") -> None:
    from stepcli.probe.methods.registry import IDENTITY
    from stepcli.probe.methods.registry import methods as registry
    from stepcli.probe.sweeps.session import parameter_counts

    info = registry().load(name)
    say(f"{name}: {info.source}", bold=True)
    say(f"  order: {'sees the order of frames' if info.order_aware else 'blind to it'}")
    if info.needs:
        say(f"  needs: a store with {', '.join(info.needs)}")
    say(f"  learning rate: {info.lr:g} unless --lr is given")
    if info.recipe:
        settings = ", ".join(f"{field}={value:g}" for field, value in info.recipe.items())
        say(f"  its authors' settings (--recipe-mode own): {settings}")
    if store is not None:
        count = parameter_counts(store, [name])[name]
        say(f"  parameters: {count if isinstance(count, str) else f'{count:,}'}")
    options = {k: v for k, v in info.options.model_fields.items() if k not in IDENTITY}
    say("  options (--set NAME=VALUE):" if options else "  options: none")
    width = max((len(f"{option}={field.default}") for option, field in options.items()), default=0)
    for option, field in options.items():
        said = f"{option}={field.default}"
        say(f"    {said:<{width}}  {field.description or ''}".rstrip())


def _needs(info: "ProbeInfo") -> str:
    return f" (needs {', '.join(info.needs)})" if info.needs else ""
