"""The door: one Typer app that mounts each room's light commands.

Nothing heavy is imported here, so that `stepcli --help` answers at once: torch, transformers, zarr,
h5py and av load inside the command that needs them.
"""

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from stepcli.apply.cli import picture as apply_commands
from stepcli.apply.cli import predict as predict_commands
from stepcli.apply.cli import share as share_commands
from stepcli.cache.cli import store as cache_commands
from stepcli.examples import demo
from stepcli.examples.command_lines import add_command_lines
from stepcli.extract.cli import extract as extract_commands
from stepcli.extract.cli import listing as listing_commands
from stepcli.extract.cli import preview as preview_commands
from stepcli.probe.cli import analysis as analyse_commands
from stepcli.probe.cli import export as export_commands
from stepcli.probe.cli import probe as probe_commands
from stepcli.probe.cli import results as results_commands
from stepcli.probe.cli import sweep as sweep_commands
from stepcli.runtime.errors import StepcliError
from stepcli.runtime.preemption import exit_code
from stepcli.runtime.terminal import say, say_lines, shown

# What the operating system says no to and the user can mend; any other OSError is a defect of ours.
_MENDABLE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT),
}


# Of Click, whether Typer brings its own copy or imports it.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]


@contextmanager
def _shown_usage_errors() -> Iterator[None]:
    """What Typer says of a command line repeats its words, which a script may have put together."""
    try:
        yield
    except _USAGE_ERROR as error:
        said: Any = error
        said.message = shown(said.message)
        raise


class _ErrorsAsLines(TyperGroup):
    """Prints what a user can mend as one line, and ends with the error's exit code."""

    debug = False

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        add_command_lines(self)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take --debug wherever it stands: it is wanted after a failure, at the end of the line."""
        if os.environ.get("NO_COLOR"):
            ctx.color = False  # no-color.org; rich's boxes heed it by themselves
        self.debug = "--debug" in args
        with _shown_usage_errors():
            return super().parse_args(ctx, [arg for arg in args if arg != "--debug"])

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a mendable error becomes a line on stderr unless --debug was given."""
        try:
            with _shown_usage_errors():
                return super().invoke(ctx)
        except StepcliError as error:
            if self.debug:
                raise
            tell = say_lines if error.has_lines else say
            tell(f"error: {error}", err=True, colour=typer.colors.RED)
            raise typer.Exit(error.exit_code) from error
        except OSError as error:
            if self.debug or error.errno not in _MENDABLE:
                raise
            place = f": {error.filename}" if error.filename else ""
            say(f"error: {error.strerror}{place}", err=True, colour=typer.colors.RED)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as interrupt:  # what a command does not catch itself
            if self.debug:
                raise
            raise _interrupted(interrupt) from interrupt
        except (ImportError, SystemError) as error:
            # Ctrl-C while a compiled library is being loaded comes out as one of these.
            behind = _interrupt_behind(error)
            if self.debug or behind is None:
                raise
            raise _interrupted(behind) from error


def _interrupted(interrupt: KeyboardInterrupt) -> typer.Exit:
    say("interrupted; what was finished is kept", err=True)
    return typer.Exit(exit_code(interrupt))


def _interrupt_behind(error: BaseException | None) -> KeyboardInterrupt | None:
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


class _Door(typer.Typer):
    """Typer, whose tracebacks (--debug, defects of ours) steer no terminal either."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line."""
        try:
            return super().__call__(*args, **kwargs)
        except Exception:
            sys.excepthook = _print_traceback  # Typer has set its own by now
            raise


def _print_traceback(
    kind: type[BaseException], error: BaseException, where: TracebackType | None
) -> None:
    for text in traceback.format_exception(kind, error, where):
        sys.stderr.write(shown(text, keep="\t\n"))


app = _Door(
    cls=_ErrorsAsLines,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Extract a frozen image model's features once, then train video probes from them.",
    epilog="First look: stepcli demo. Any command: --help; --debug shows an error's traceback.",
)
BEGIN, EXTRACT, TRAIN = "Begin", "Extract: videos to tokens", "Train: tokens to probes"
UNDERSTAND, USE = "Understand what came out", "Use and share"
app.command("demo", rich_help_panel=BEGIN)(demo.demo)
app.command("doctor", rich_help_panel=BEGIN)(preview_commands.doctor)
app.command("backbones", rich_help_panel=BEGIN)(listing_commands.backbones)
app.command("methods", rich_help_panel=BEGIN)(probe_commands.methods)
app.add_typer(
    listing_commands.datasets_app,
    name="datasets",
    help="Known data sets: list them, show the files that each expects.",
    rich_help_panel=BEGIN,
)
app.command("plan", rich_help_panel=EXTRACT)(preview_commands.plan)
app.command("extract", rich_help_panel=EXTRACT)(extract_commands.extract)
app.add_typer(
    cache_commands.app, name="store", help="Look after feature stores.", rich_help_panel=EXTRACT
)
app.command("probe", rich_help_panel=TRAIN)(probe_commands.probe)
app.command("sweep", rich_help_panel=TRAIN)(sweep_commands.sweep)
app.add_typer(results_commands.results_app, name="results", rich_help_panel=TRAIN)
app.command("analyse", rich_help_panel=UNDERSTAND)(analyse_commands.analyse)
app.command("order", rich_help_panel=UNDERSTAND)(analyse_commands.order)
app.command("calibrate", rich_help_panel=UNDERSTAND)(analyse_commands.calibrate)
app.command("chirality", rich_help_panel=UNDERSTAND)(analyse_commands.chirality)
app.command("picture", rich_help_panel=UNDERSTAND)(apply_commands.picture)
app.command("report", rich_help_panel=UNDERSTAND)(apply_commands.report)
app.command("predict", rich_help_panel=USE)(predict_commands.predict)
app.command("export", rich_help_panel=USE)(export_commands.export)
app.command("push", rich_help_panel=USE)(share_commands.push)
app.command("pull", rich_help_panel=USE)(share_commands.pull)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"stepcli {version('stepcli')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Extract a frozen image model's features once, then train video probes from them."""


if __name__ == "__main__":
    app()
