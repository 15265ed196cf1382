"""Recipes of published experiments: one YAML file each, with the commands as data.

A recipe says what its source states, what was chosen here because the source does not state it,
and how far its result is comparable with the published one.
"""

import shlex
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from stepcli.runtime.errors import UnknownName, UsageError
from stepcli.runtime.settings import FrozenConfig, JsonObject
from stepcli.runtime.yaml_files import read_yaml_fields

FOLDER = Path(__file__).parent / "recipes"
Measure = Literal["top-1", "mean class", "nearly symmetric"]
"""nearly symmetric: top-1 on the test clips of the classes that are in pairs."""


class Margin(FrozenConfig):
    """A published lead of one method over others, as a range over data sets, in points."""

    method: str
    over: tuple[str, ...] = Field(min_length=1)
    measure: Measure
    low: float
    high: float
    tolerance: float = Field(gt=0)
    """Points outside the range that count as within: what seeds and draws alone may change."""
    source: str


class PublishedFigure(FrozenConfig):
    """A published number, by its row in probe/published/<data set>.csv."""

    method: str
    """Ours, which is shown beside it."""
    measure: Measure
    published: str
    """`method` of the published row."""
    published_measure: str = "top-1"
    tolerance: float | None = Field(default=None, gt=0)
    """Points; None: another protocol, so that the difference is shown and not judged."""
    why: str
    """Why it may be compared, or why not."""


class Recipe(FrozenConfig):
    """One published experiment."""

    name: str
    title: str
    source: str
    certainty: str
    """How sure it is that this is the paper's protocol."""
    stated: tuple[str, ...] = Field(min_length=1)
    """Of the protocol what the source states."""
    chosen: tuple[str, ...] = Field(min_length=1)
    """What the source does not state, or what could not be read, with the choice made here."""
    backbone: str
    channels: int
    """Of the backbone's tokens: others are another experiment."""
    train_split: str = "train"
    test_split: str = "test"
    without_test: str = ""
    """What to do where the data set is here without test clips."""
    extract: str
    """Words of `stepcli extract`, with {backbone} for --backbone and --text."""
    sweep: JsonObject
    """The file of `stepcli sweep`."""
    margins: tuple[Margin, ...] = ()
    figures: tuple[PublishedFigure, ...] = ()

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self._values("--dataset")[0]

    @property
    def options(self) -> dict[str, str]:
        """Options of the data set."""
        return dict(pair.split("=", 1) for pair in self._values("--set"))

    @property
    def frames(self) -> str:
        """Frames per clip and which, as a store's spec has them."""
        (count,), sampling = self._values("--frames"), self._values("--sampling") or ["uniform"]
        return f"{count} frames, {sampling[0]}"

    def _values(self, flag: str) -> list[str]:
        return [value for word, value in pairwise(shlex.split(self.extract)) if word == flag]


def recipe_names() -> list[str]:
    """Names of the recipes, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UnknownName: there is none; the message lists the close names.
    """
    if name not in recipe_names():
        raise UnknownName("recipe", name, recipe_names())
    path = FOLDER / f"{name}.yaml"
    content: Mapping[str, object] = read_yaml_fields(path, "title:")
    try:
        return Recipe.model_validate({"name": name, **content})
    except ValidationError as error:
        raise UsageError(f"{path}: {error}") from None
