"""Options that are made from the fields of a config, and the file that gives them."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import BeforeValidator, Field
from typer.testing import CliRunner

from stepcli.runtime.config_options import Given, Only, with_config_options
from stepcli.runtime.errors import StepcliError, UnknownName, UsageError
from stepcli.runtime.settings import FrozenConfig, Setting


def numbers(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return tuple(int(word) for word in value.split(","))
    except ValueError:
        raise ValueError("expected numbers such as 1,2") from None


class Sample(FrozenConfig):
    dataset: Annotated[str, Field(description="Data set."), Setting()]
    frames: Annotated[int, Field(ge=1, le=9, description="Frames per clip."), Setting("Views")] = 4
    rate: Annotated[float, Field(gt=0, description="Learning rate."), Setting()] = 0.1
    layers: Annotated[
        tuple[int, ...], BeforeValidator(numbers), Field(description="Layers."), Setting()
    ] = (-1,)
    kind: Annotated[
        Literal["zarr", "hdf5"] | None, Field(description="."), Setting(flag="--format")
    ] = None
    prune: Annotated[bool, Field(description="Prune."), Setting()] = False
    cache: Annotated[bool, Field(description="Cache."), Setting()] = True
    limit: Annotated[int | None, Field(ge=1, description="."), Setting(unit="clips")] = None
    names: Annotated[
        tuple[str, ...], Field(description="."), Setting(repeat=True, flag="--set")
    ] = ()
    place: Annotated[Path | None, Field(description="."), Setting()] = None
    inner: int = 7


Run = Callable[..., Sample]


@pytest.fixture
def run() -> Run:
    def ask(*words: str) -> Any:
        seen: list[Any] = []

        @with_config_options(config_file=True)
        def command(
            config: Sample,
            as_json: Annotated[bool, typer.Option("--json")] = False,
            method: str = "step",
        ) -> None:
            seen.extend([config, as_json, method])

        app = typer.Typer()
        app.command()(command)
        found = CliRunner().invoke(app, words)
        if isinstance(found.exception, StepcliError):
            raise found.exception
        if not seen:
            raise AssertionError(found.output)
        return seen

    return ask


def test_options_build_the_config(run: Run) -> None:
    words = "--dataset a --frames 9 --layers -2,-1 --format hdf5 --prune --no-cache --limit 3"
    config, *_ = run(*words.split(), "--set", "x=1", "--set", "y=2", "--place", "p")
    assert config == Sample(
        dataset="a",
        frames=9,
        layers=(-2, -1),
        kind="hdf5",
        prune=True,
        cache=False,
        limit=3,
        names=("x=1", "y=2"),
        place=Path("p"),
    )


def test_a_config_knows_which_options_were_given(run: Run) -> None:
    config, as_json, method = run("--dataset", "a", "--frames", "4", "--json")
    assert config.model_fields_set == {"dataset", "frames"}
    assert (config.layers, as_json, method) == ((-1,), True, "step")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataset", "a", "--rate", "0"], "--rate 0.0: expected a value greater than 0"),
        (["--dataset", "a", "--rate", "inf"], "--rate inf: expected a finite number"),
        (["--dataset", "a", "--layers", "b"], "--layers b: expected numbers such as 1,2"),
    ],
)
def test_a_value_that_does_not_fit_is_one_line(run: Run, words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        run(*words)
    assert str(caught.value) == message


def test_typer_checks_limits_choices_and_required_options(run: Run) -> None:
    for words, part in (
        (["--dataset", "a", "--frames", "10"], "--frames"),
        (["--dataset", "a", "--format", "csv"], "--format"),
        ([], "Missing option '--dataset'"),
    ):
        with pytest.raises(AssertionError, match=part):
            run(*words)


def test_a_file_gives_defaults_that_flags_override(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "dataset: a\nframes: 3\nlayers: [-3, -2]\nformat: zarr\nprune: true\nset: [x=1]\n"
        "json: true\nmethod: linear\n"
    )
    config, as_json, method = run("--config", str(file), "--frames", "5")
    assert (config.dataset, config.frames, config.layers) == ("a", 5, (-3, -2))
    assert (config.kind, config.prune, config.names) == ("zarr", True, ("x=1",))
    assert (as_json, method) == (True, "linear")
    config, _, method = run("--config", str(file), "--dataset", "b", "--method", "step")
    assert (config.dataset, method) == ("b", "step")


def test_keys_of_a_file_may_be_spelt_with_dashes(tmp_path: Path) -> None:
    class Long(FrozenConfig):
        part_clips: Annotated[int, Field(description="."), Setting()] = 1

    seen: list[Long] = []

    @with_config_options(config_file=True)
    def command(config: Long) -> None:
        seen.append(config)

    app = typer.Typer()
    app.command()(command)
    for text in ("part-clips: 7", "part_clips: 7"):
        (tmp_path / "run.yaml").write_text(text)
        CliRunner().invoke(app, ["--config", str(tmp_path / "run.yaml")])
    CliRunner().invoke(app, ["--part-clips", "7"])
    assert [each.part_clips for each in seen] == [7, 7, 7]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frams: 3", "unknown option of {file} 'frams'; did you mean frames"),
        ("inner: 3", "unknown option of {file} 'inner'; "),
        ("frames: 0", "{file}: frames 0: expected a value greater than or equal to 1"),
        ("frames: many", "{file}: frames many: expected a valid integer, unable to parse"),
        ("format: csv", "{file}: format csv: expected 'zarr' or 'hdf5'"),
        ("- a", "{file}: expected fields such as dataset:, got ['a']"),
        ("a: &x 1\nb: *x", "{file}: expected a YAML file, got: an alias"),
    ],
)
def test_a_file_that_does_not_fit_is_named(
    run: Run, tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        run("--config", str(file), "--dataset", "a")
    assert str(caught.value).startswith(message.format(file=file))


def test_a_missing_file_is_named(run: Run, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"nowhere\.yaml: expected a YAML file, got: No such file or directory$"
    ):
        run("--config", str(tmp_path / "nowhere.yaml"))


def test_a_command_may_take_some_options_or_values_unchecked(tmp_path: Path) -> None:
    class Task(FrozenConfig):
        name: Annotated[str, Field(description="."), Setting(flag="--task")] = "classify"
        jitter: Annotated[bool, Field(description="."), Setting()] = False

    seen: list[Any] = []

    @with_config_options(config_file=True)
    def command(
        config: Annotated[Sample, Only("dataset", "frames")],
        task: Annotated[dict[str, Any], Given(Task)],
        tokens: Annotated[list[str] | None, typer.Option()] = None,
    ) -> None:
        seen.extend([config, task, tokens])

    app = typer.Typer()
    app.command()(command)
    runner = CliRunner()
    assert not runner.invoke(app, ["--dataset", "a", "--jitter", "--task", "arrow"]).exception
    assert seen == [Sample(dataset="a"), {"jitter": True, "name": "arrow"}, None]
    seen.clear()
    # A file may be that of a command which takes all options; one text is a list of one.
    file = tmp_path / "run.yaml"
    file.write_text("dataset: b\nlayers: [-2]\ntokens: cls,grid4\n")
    assert not runner.invoke(app, ["--config", str(file)]).exception
    assert seen == [Sample(dataset="b"), {}, ["cls,grid4"]]
    file.write_text("dataset: b\nlayer: [-2]\n")
    assert isinstance(runner.invoke(app, ["--config", str(file)]).exception, UnknownName)
    assert "--layers" not in runner.invoke(app, ["--help"]).output


def test_help_shows_panel_unit_limits_and_default(run: Run) -> None:
    with pytest.raises(AssertionError) as caught:
        run("--help")
    shown = " ".join(str(caught.value).split())
    assert "─ Views ─" in shown
    for part in ("CLIPS", "1<=x<=9", "[default: -1]", "Frames per clip.", "--no-cache"):
        assert part in shown


def test_a_name_of_two_settings_is_a_defect() -> None:
    class Other(FrozenConfig):
        frames: Annotated[int, Field(description="."), Setting()] = 1

    def command(first: Sample, second: Other) -> None: ...

    with pytest.raises(AssertionError, match="two settings of one name"):
        with_config_options()(command)


def test_unknown_names_are_usage_errors() -> None:
    assert issubclass(UnknownName, UsageError)
