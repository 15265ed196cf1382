"""What `stepcli sweep` reads from a file or from options."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from stepcli.probe.config.task import TaskConfig
from stepcli.probe.config.training import DataConfig
from stepcli.runtime.errors import UsageError
from stepcli.runtime.settings import FrozenConfig, JsonObject, Setting

Scalar = bool | int | float | str
Search = Literal["grid", "random", "zip", "optuna"]
MOST_RUNS = 1_000_000
"""Of a sweep: more are a slip, and would fill the memory before the first is trained."""
SEARCH = "Search and selection"
_PARTS = ("clips", "groups", "classes")


class SliceMinimum(FrozenConfig):
    """The least that clips held out of train must be, to choose by them or to fit a temperature."""

    clips: int = Field(default=30, ge=1)
    """With 30 clips one clip is 3.3 points of top-1."""
    classes: int | None = Field(default=None, ge=1)
    """None: half of the classes that are trained on."""
    groups: int = Field(default=5, ge=1)


def slice_minimum(value: Any) -> Any:
    """The parts of "clips=30,groups=5,classes=8" that are given, by name; other values unchanged.

    Raises:
        UsageError: a part is none of these, or not a whole number above 0.
    """
    if not isinstance(value, str):
        return value
    found = {}
    for part in value.split(","):
        name, _, number = part.partition("=")
        if name not in _PARTS or not number.isdecimal() or int(number) < 1:
            raise UsageError(
                f"--slice-min {part!r}: expected clips=N, groups=N or classes=N, N above 0, "
                "e.g. --slice-min clips=30,groups=5"
            )
        found[name] = int(number)
    return found


class SweepConfig(FrozenConfig):
    """What `stepcli sweep FILE` reads; options make the same."""

    methods: dict[str, dict[str, Scalar | list[Scalar]]] = Field(min_length=1)
    """Method -> training settings and options of the method; a list is searched."""
    task: TaskConfig = TaskConfig()
    variants: list[JsonObject] = Field(default=[{}], min_length=1)
    """Fields of the task that differ; every method is swept on each variant."""
    shared: DataConfig = DataConfig()
    """What all runs share: epochs, batch_size ..."""
    recipe: dict[str, Scalar] = Field(default={})
    """Training settings that all methods share."""
    seeds: Annotated[
        int, Field(ge=1, le=MOST_RUNS, description="Seeds per point: 0, 1, ..."), Setting()
    ] = 5
    search: Annotated[
        Search,
        Field(description="optuna: adaptive, on held-out slices; --lr 1e-5..1e-2 is a range."),
        Setting(SEARCH),
    ] = "grid"
    trials: Annotated[
        int,
        Field(ge=1, description="Points to try per method with --search random or optuna."),
        Setting(SEARCH),
    ] = 20
    recipe_mode: Annotated[
        Literal["same", "own"],
        Field(description="own: each method's authors' settings, where the sweep gives no value."),
        Setting(SEARCH),
    ] = "same"
    search_seed: int = Field(default=0, ge=0)
    select: Annotated[
        bool,
        Field(
            description="Choose on held-out slices of train, refit the chosen on all of it, test "
            "once; otherwise every point is tested."
        ),
        Setting(SEARCH),
    ] = False
    slice_min: Annotated[
        SliceMinimum,
        BeforeValidator(slice_minimum),
        Field(
            description="Minimum that --select chooses by; a smaller slice gives way to folds. "
            "Half of the classes if they are not given."
        ),
        Setting(SEARCH, unit="clips=n,groups=n,classes=n", shown_default="clips=30,groups=5"),
    ] = SliceMinimum()
    folds: Annotated[
        int,
        Field(
            ge=2,
            description="Maximum number of folds over groups where a slice is too small.",
        ),
        Setting(SEARCH),
    ] = 5

    @property
    def own_recipes(self) -> bool:
        """Whether methods' authors' settings fill in what is not given."""
        return self.recipe_mode == "own"
