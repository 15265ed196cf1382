"""The door: one Typer app that mounts each room's light commands.

Nothing heavy is imported here, so that `stepcli --help` answers at once: torch, transformers, zarr,
h5py and av load inside the command that needs them.
"""

import errno
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from stepcli.apply import commands as apply_commands
from stepcli.apply import predict_commands, share_commands
from stepcli.cache import commands as cache_commands
from stepcli.cache.errors import StepcliError
from stepcli.examples import demo
from stepcli.extract import commands as extract_commands
from stepcli.extract import listing_commands, preview_commands
from stepcli.probe import commands as probe_commands
from stepcli.probe import export_commands, results_commands, sweep_commands
from stepcli.probe.analysis import commands as analyse_commands

# What the operating system says no to and the user can mend; any other OSError is a defect of ours.
_MENDABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EMFILE}


class _ErrorsAsLines(TyperGroup):
    """Prints what a user can mend as one line, and ends with the error's exit code."""

    debug = False

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take --debug wherever it stands: it is wanted after a failure, at the end of the line."""
        self.debug = "--debug" in args
        return super().parse_args(ctx, [arg for arg in args if arg != "--debug"])

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a mendable error becomes a line on stderr unless --debug was given."""
        try:
            return super().invoke(ctx)
        except StepcliError as error:
            if self.debug:
                raise
            typer.secho(f"error: {error}", err=True, fg=typer.colors.RED)
            raise typer.Exit(error.exit_code) from error
        except OSError as error:
            if self.debug or error.errno not in _MENDABLE:
                raise
            place = f": {error.filename}" if error.filename else ""
            typer.secho(f"error: {error.strerror}{place}", err=True, fg=typer.colors.RED)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=_ErrorsAsLines,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Extract a frozen image model's features once, then train video probes from them.",
    epilog="First look: stepcli demo. Any command: --help; --debug shows an error's traceback.",
)
app.command("extract")(extract_commands.extract)
app.command("plan")(preview_commands.plan)
app.command("doctor")(preview_commands.doctor)
app.command("probe")(probe_commands.probe)
app.command("sweep")(sweep_commands.sweep)
app.add_typer(results_commands.results_app, name="results")
app.command("analyse")(analyse_commands.analyse)
app.command("chirality")(analyse_commands.chirality)
app.command("order")(analyse_commands.order)
app.command("calibrate")(analyse_commands.calibrate)
app.command("predict")(predict_commands.predict)
app.command("picture")(apply_commands.picture)
app.command("report")(apply_commands.report)
app.command("export")(export_commands.export)
app.command("push")(share_commands.push)
app.command("pull")(share_commands.pull)
app.command("methods")(probe_commands.methods)
app.command("backbones")(listing_commands.backbones)
app.add_typer(listing_commands.datasets_app, name="datasets", help="Known data sets.")
app.add_typer(cache_commands.app, name="store", help="Look after feature stores.")
app.command("demo")(demo.demo)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"stepcli {version('stepcli')}")
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
