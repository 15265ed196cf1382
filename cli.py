"""The door: one Typer app that names each room's commands.

A command's module is imported when the command is asked for, and what is heavy (torch,
transformers, zarr, h5py, av) inside its function, so that --help and a typo answer at once.
"""

import errno
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from types import TracebackType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from stepcli.runtime.command_lines import EXIT_CODES, add_command_lines
from stepcli.runtime.errors import StepcliError
from stepcli.runtime.extras import LOADING_ERRORS, failed_import
from stepcli.runtime.lazy_commands import LazyCommand, LazyGroup, show_as_written
from stepcli.runtime.preemption import exit_code
from stepcli.runtime.terminal import say, say_lines, shown
from stepcli.runtime.two_forms import accept_both

MENDABLE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT),
}
"""Errors of the operating system that the user can fix; any other OSError is a defect of ours."""


# Of Click, whether Typer brings its own copy or imports it.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]


@contextmanager
def _shown_usage_errors() -> Iterator[None]:
    """What Typer says of a command line repeats its words, which a script may have put together."""
    try:
        yield
    except _USAGE_ERROR as error:
        said: Any = error
        said.message = shown(_with_nearest(said.message.removeprefix("Value error, ")))
        raise


def _with_nearest(message: str) -> str:
    """A message about a value that is none of several, with those that it resembles."""
    match = re.fullmatch(r"'(.*)' is not one of ('.*')\.", message)
    if match is None:
        return message
    near = get_close_matches(match[1], re.findall(r"'([^']*)'", match[2]))
    return f"{message} Did you mean {' or '.join(map(repr, near))}?" if near else message


def _refuse_blank(words: list[str]) -> None:
    """Refuse an empty word, "" or --method="": a variable of a script that is not set would mean
    all methods, or the folder that one is in."""
    for before, word in zip(("", *words), words, strict=False):
        value = word if not word.startswith("--") else word.partition("=")[2] or "-"
        if word.endswith("=") and word.startswith("--") and word.count("=") == 1:
            before, value = word[:-1], ""
        if not value.strip():
            of = (
                f"{before} has an empty value" if before.startswith("-") else "an argument is empty"
            )
            raise _USAGE_ERROR(f"{of}; is a variable of the shell not set?")


class _ErrorsAsLines(TyperGroup):
    """Prints errors that a user can fix as one line, and ends with the error's exit code."""

    debug = False

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take --debug at any place: it is wanted after a failure, at the end of the line."""
        if os.environ.get("NO_COLOR"):
            ctx.color = False  # no-color.org; rich's boxes heed it by themselves
        self.debug = "--debug" in args
        with _shown_usage_errors():
            if not ctx.resilient_parsing:  # completion passes what is not typed yet
                _refuse_blank(args)
            return super().parse_args(ctx, [arg for arg in args if arg != "--debug"])

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a mendable error becomes a line on stderr unless --debug was given."""
        try:
            with _shown_usage_errors():
                return super().invoke(ctx)
        except (typer.Exit, typer.Abort):  # RuntimeErrors
            raise
        except StepcliError as error:
            if self.debug:
                raise
            tell = say_lines if error.has_lines else say
            tell(f"error: {error}", err=True, colour=typer.colors.RED)
            raise typer.Exit(error.exit_code) from error
        except OSError as error:
            if self.debug:
                raise
            if error.errno not in MENDABLE:
                _tell_failed_import(error)
                raise
            place = f": {error.filename}" if error.filename else ""
            say(f"error: {error.strerror}{place}", err=True, colour=typer.colors.RED)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as interrupt:  # what a command does not catch itself
            if self.debug:
                raise
            raise _interrupted(interrupt) from interrupt
        except (*LOADING_ERRORS, SystemError) as error:
            # Ctrl-C while a compiled library is being loaded comes out as one of these.
            behind = _interrupt_behind(error)
            if self.debug:
                raise
            if behind is None:
                _tell_failed_import(error)
                raise
            raise _interrupted(behind) from error


def _tell_failed_import(error: Exception) -> None:
    """End with one line if a package of the installation does not load; else return."""
    if reason := failed_import(error):
        say(f"error: {reason}; --debug shows where", err=True, colour=typer.colors.RED)
        raise typer.Exit(1) from error


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


BEGIN, EXTRACT, TRAIN = "Begin", "Extract: videos to tokens", "Train: tokens to probes"
UNDERSTAND, USE = "Understand what came out", "Use and share"
COMMANDS = (
    # Heading, name, module:attribute, summary; a group of commands where the name ends with "...".
    (BEGIN, "demo", "examples.demo:demo",
     "Extract the bundled clips, train seven methods on them, and say what the table shows."),
    (BEGIN, "doctor", "extract.cli.preview:doctor",
     "What this machine can do: versions, GPU, codecs, disk, limits, hub."),
    (BEGIN, "backbones", "extract.cli.listing:backbones",
     "Short names of backbones; any other by its folder, or OWNER/NAME on the hub."),
    (BEGIN, "methods", "probe.cli.methods:methods",
     "List the methods; one with its options by NAME. With --store: parameters on its tokens."),
    (BEGIN, "datasets ...", "extract.cli.listing:datasets_app",
     "Known data sets: list them, show the files that each expects."),
    (EXTRACT, "plan", "extract.cli.preview:plan",
     "Bytes, hours and break-even read speed of each choice of tokens, before a byte is written."),
    (EXTRACT, "extract", "extract.cli.extract:extract",
     "Run a frozen image model over every video once, and store its tokens frame by frame."),
    (EXTRACT, "store ...", "apply.cli.store:app", "Inspect, check, repair, copy feature stores."),
    (TRAIN, "probe", "probe.cli.probe:probe",
     "Train probes on a store's tokens and write one run per probe and seed."),
    (TRAIN, "sweep", "probe.cli.sweep:sweep",
     "Train a grid of settings of many methods in as few passes over the store as possible."),
    (TRAIN, "reproduce", "apply.cli.reproduce:reproduce",
     "Repeat a published experiment on your copy of its data, and compare the numbers."),
    (TRAIN, "results ...", "probe.cli.results:results_app",
     "Show the finished runs, compare them, add other people's."),
    (TRAIN, "runs ...", "probe.cli.runs:app",
     "List the finished runs, show one, delete some."),
    (UNDERSTAND, "analyse", "probe.cli.analysis:analyse",
     "How well opposite actions are told apart, and how well probabilities are calibrated."),
    (UNDERSTAND, "order", "probe.cli.analysis:order",
     "Show the test clips to trained probes backward, shuffled, in part: do the answers change?"),
    (UNDERSTAND, "corruptions", "probe.cli.corruptions:corruptions",
     "Ask trained probes about corrupted views of their test clips: how far does each fall?"),
    (UNDERSTAND, "calibrate", "probe.cli.analysis:calibrate",
     "Fit each probe's temperature on a slice of train, which a twin of it has not seen."),
    (UNDERSTAND, "dense", "probe.cli.dense:dense",
     "Label every frame of the test recordings of --task dense, and score it."),
    (UNDERSTAND, "chirality", "probe.cli.chirality:chirality",
     "The chirality protocol: one probe for each group of mirror-image actions, then the mean."),
    (UNDERSTAND, "picture", "apply.cli.picture:picture",
     "A clip's frames with its stored tokens as colours beneath: is the extraction sane?"),
    (UNDERSTAND, "report", "apply.cli.picture:report",
     "One HTML page that opens offline, and LaTeX, CSV, SVG and PDF of its tables and figures."),
    (USE, "predict", "apply.cli.predict:predict",
     "Recognise new videos with trained probes: frames, pixels and backbone as in training."),
    (USE, "export", "probe.cli.export:export",
     "Write trained probes to folders: weights, settings, calibration, a card with the numbers."),
    (USE, "trust", "apply.cli.trust:trust",
     "Allow your own code (my_probe.py) to be executed when a run or a store needs it."),
    (USE, "push", "apply.cli.share:push",
     "Upload a trained probe or a store, with a card that describes it."),
    (USE, "pull", "apply.cli.share:pull",
     "Fetch a trained probe or a store, check all of it, and only then put it in place."),
)  # fmt: skip
"""Every command. The summary is the first line of what its --help says."""


def _complete(command: Any, path: str) -> None:
    add_command_lines(command, path)
    show_as_written(command)
    accept_both(command, path)


class _Commands(_ErrorsAsLines):
    """All commands, by name and summary; a module is imported when its command is asked for."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for panel, words, place, summary in COMMANDS:
            kind = LazyGroup if words.endswith(" ...") else LazyCommand
            name = words.removesuffix(" ...")
            command: Any = kind(name, f"stepcli.{place}", summary, panel=panel, prepare=_complete)
            self.add_command(command)


app = _Door(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Extract a frozen image model's features once, then train video probes from them.",
    epilog="First look: stepcli demo. Any command: --help; --debug shows an error's traceback."
    f"\n\n{EXIT_CODES}",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from stepcli import __version__

        say(f"stepcli {__version__}")
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
