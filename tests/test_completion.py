"""What a shell offers while somebody types: asked as the shells' own scripts ask."""

import pytest
from typer.testing import CliRunner

from stepcli.cli import app
from stepcli.probe.methods.registry import methods


def offered(typed: str) -> list[str]:
    """What bash is told for a line whose last word is being typed."""
    asked = {
        "_STEPCLI_COMPLETE": "complete_bash",
        "COMP_WORDS": f"stepcli {typed}",
        "COMP_CWORD": str(len(typed.split(" "))),
    }
    done = CliRunner().invoke(app, [], prog_name="stepcli", env=asked)
    assert done.exit_code == 0, done.output
    return done.stdout.split()


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("probe --method lin", ["linear"]),
        ("probe --method st", ["step"]),
        ("sweep --method linear,step,att", ["linear,step,attentive", "linear,step,attentive-deep"]),
        ("sweep --method linear,lin", []),
        ("order --method g", ["gru"]),
        ("extract --dataset ss", ["ssv2"]),
        ("plan --dataset ucf", ["ucf101"]),
        ("datasets show dri", ["driveact"]),
        ("extract --backbone siglip2", ["siglip2-b16", "siglip2-so400m"]),
        (
            "predict runs/x --backbone mobilenet_v2-",
            ["mobilenet_v2-bundled", "mobilenet_v2-bundled-320"],
        ),
        ("probe --task a", ["anticipate", "arrow"]),
    ],
)
def test_names_are_completed(typed: str, names: list[str]) -> None:
    assert offered(typed) == names


def test_every_method_is_offered() -> None:
    assert offered("probe --method ") == methods().names()
