"""Backbones from outside: a function in a file of the user's, or of an installed package.

def build() -> ImageModel:
    return ImageModel(model, size=224)
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from stepcli.extract.backbones.base import (
    Backbone,
    BackboneError,
    BackboneFacts,
    FrameTokens,
    check_facts,
    digest_weights,
)
from stepcli.extract.backbones.names import NamedBackbone
from stepcli.extract.decode.preprocess import PixelPlan, Resample
from stepcli.runtime.code_files import CodeFile, load_object, read_code, read_trusted_code
from stepcli.runtime.errors import StepcliError
from stepcli.runtime.extras import failed_import
from stepcli.runtime.plugins import Plugin

OPTION = "--backbone"
KIND = "function that returns an ImageModel"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class ImageModel:
    """An image model of a user's own, and how frames become its input."""

    model: nn.Module
    """[n, 3, size, size] -> a feature map [n, D, rows, columns], or a sequence [n, P + rows x
    columns, D] of prefix tokens and then patches, row by row; or an object whose
    last_hidden_state is one of these."""
    size: int
    """Rows and columns of the centre crop, pixels."""
    resize_short: int | None = None
    """Shorter side of the frame before the crop; None: size."""
    resample: Resample = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Subtracted from values between 0 and 1: red, green, blue."""
    std: tuple[float, float, float] = IMAGENET_STD
    prefix: tuple[str, ...] = ()
    """Names of the tokens before the patches, e.g. ("cls",)."""
    grid: tuple[int, int] | None = None
    """Rows and columns of the patches; None: as of the feature map, or a square."""


class OutsideBackbone(Backbone):
    """An ImageModel as a backbone."""

    def tokens(self, pixels: Tensor) -> FrameTokens:
        """See `Backbone.tokens`."""
        output = _tensor(self.model(pixels))
        if output.ndim == 4:
            patches = output.permute(0, 2, 3, 1)
            return FrameTokens(patches.new_empty(len(patches), 0, patches.shape[-1]), patches)
        count = len(self.facts.prefix)
        patches = output[:, count:].reshape(len(output), *self.facts.grid, output.shape[-1])
        return FrameTokens(output[:, :count], patches)


def load_own(spec: str) -> Backbone:
    """The backbone of `path/to/file.py:name`. The user named the file, so it is executed.

    Raises:
        UsageError: no such file, or it does not run.
        UnknownName: it has no such function.
        BackboneError: the function does not give a usable model.
    """
    return _of_file(read_code(spec, OPTION))


def load_trusted(spec: str) -> Backbone:
    """The same for a file that a run or a store names: executed only if the user trusts it.

    Raises:
        UsageError: the file is not trusted, or as for `load_own`.
    """
    return _of_file(read_trusted_code(spec, OPTION))


def of_plugin(plugin: Plugin, load_named: Callable[[str, str], Backbone]) -> Backbone:
    """The backbone of an installed package.

    Args:
        plugin: Its entry point: a function, or a NamedBackbone.
        load_named: Loads a name's repository from the hub.

    Raises:
        UsageError: the package fails to load.
        BackboneError: it does not offer a usable model.
    """
    found = plugin.load()
    if isinstance(found, NamedBackbone):
        return load_named(plugin.name, found.repository)
    if not inspect.isfunction(found):
        raise BackboneError(
            f"backbone {plugin.name} of the package {plugin.package}: {plugin.value} is no {KIND}"
        )
    return _built(found, plugin.name, f"{plugin.value} of {plugin.package}", plugin.sha256)


def _of_file(code: CodeFile) -> Backbone:
    build = load_object(code, OPTION, KIND, inspect.isfunction)
    return _built(build, code.short_name, f"{code.path.resolve()}:{code.name}", code.sha256)


def _built(build: Callable[[], Any], name: str, source: str, sha256: str) -> Backbone:
    try:
        # A model that draws its weights draws the same ones in each process.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = build()
    except StepcliError:
        raise
    except Exception as error:
        raise BackboneError(
            f"backbone {name}: {source} failed: {type(error).__name__}: {error}; --debug shows "
            "where"
        ) from error
    if isinstance(made, Backbone):
        made.facts = replace(made.facts, name=name, source=source)
    elif isinstance(made, ImageModel):
        made = _backbone(made, name, source)
    else:
        raise BackboneError(
            f"backbone {name}: {source} returned {type(made).__name__}; expected ImageModel"
        )
    made.code_digest = sha256
    check_facts(made)
    backbone: Backbone = made
    return backbone


@torch.inference_mode()
def _backbone(given: ImageModel, name: str, source: str) -> Backbone:
    """Read dim and grid off the model's output for one black frame."""
    model = given.model.eval()
    parameter = next(model.parameters(), torch.zeros(()))
    try:
        output = _tensor(model(torch.zeros(1, 3, given.size, given.size, dtype=parameter.dtype)))
    except Exception as error:
        if reason := failed_import(error):
            raise BackboneError(f"backbone {name}: {reason}") from error
        raise BackboneError(
            f"backbone {name}: its model fails on [1, 3, {given.size}, {given.size}] pixels: "
            f"{' '.join(str(error).split()):.200}"
        ) from error
    facts = BackboneFacts(
        name=name,
        source=source,
        plan=PixelPlan(
            resize_short=given.resize_short or given.size,
            resize_height=0,
            resize_width=0,
            resample=given.resample,
            crop_height=given.size,
            crop_width=given.size,
            scale=1 / 255,
            mean=given.mean,
            std=given.std,
        ),
        dim=output.shape[1] if output.ndim == 4 else output.shape[-1],
        grid=_grid(given, output, name),
        prefix=given.prefix,
    )
    return OutsideBackbone(facts, model, digest_weights(model))


def _tensor(output: Any) -> Tensor:
    """The tokens in what a model returns."""
    tensor: Tensor = getattr(output, "last_hidden_state", output)
    return tensor


def _grid(given: ImageModel, output: Any, name: str) -> tuple[int, int]:
    if not isinstance(output, Tensor) or output.ndim not in (3, 4):
        found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise BackboneError(
            f"backbone {name}: its model returned {found}; expected a feature map [n, D, rows, "
            "columns] or a sequence [n, tokens, D]"
        )
    shape = tuple(output.shape)
    if output.ndim == 4:
        if given.prefix or given.grid not in (None, shape[2:]):
            raise BackboneError(
                f"backbone {name}: a feature map {shape} has no prefix, and its own grid; leave "
                "prefix and grid out"
            )
        return shape[2], shape[3]
    patches = shape[1] - len(given.prefix)
    side = round(max(patches, 0) ** 0.5)
    rows, columns = given.grid or (side, side)
    if rows * columns != patches:
        raise BackboneError(
            f"backbone {name}: its model returned {shape[1]} tokens, {len(given.prefix)} of them "
            f"prefix ({', '.join(given.prefix) or 'none'}): {patches} patches are no grid of "
            f"{rows} x {columns}; give prefix and grid"
        )
    return rows, columns
