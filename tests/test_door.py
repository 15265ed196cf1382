"""What the door makes of an interrupt that a library has turned into another error."""

import pytest
import typer
from typer.testing import CliRunner

from stepcli.cli import _ErrorsAsLines


@pytest.mark.parametrize("kind", [SystemError, ImportError])
@pytest.mark.parametrize("interrupted", [True, False])
def test_an_interrupt_while_a_library_loads_is_an_interrupt(
    kind: type[Exception], interrupted: bool
) -> None:
    app = typer.Typer(cls=_ErrorsAsLines)

    @app.callback()
    def several() -> None:
        """A group, as the real one."""

    @app.command()
    def load() -> None:
        try:
            raise KeyboardInterrupt if interrupted else ValueError
        except BaseException as error:
            raise kind("returned a result with an exception set") from error

    done = CliRunner().invoke(app, ["load"])
    if interrupted:
        assert done.exit_code == 130
        assert done.stderr == "interrupted; what was finished is kept\n"
    else:
        assert isinstance(done.exception, kind)  # a defect: its traceback is wanted
