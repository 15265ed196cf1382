"""Methods from outside: from a file of the user's, or from an installed package.

Either is a plain nn.Module, which becomes a bank like any other:

    class MyProbe(nn.Module):
        def __init__(self, frames, tokens, dim, classes, width: int = 8): ...
        def forward(self, x):  # [B, frames, tokens, dim] float32 -> [B, classes]

whose further parameters are options; or a ProbeInfo, for a probe with banks of its own. Parameters
of a module get the member dimension here; members are computed one after another, so a bank of them
saves the reading, not the arithmetic.
"""

import copy
import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from pydantic import Field, create_model
from torch import Generator, Tensor, nn
from torch.func import functional_call

from stepcli.probe.config import OptimConfig
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import IDENTITY, Build, ProbeInfo
from stepcli.probe.nn.bank import Options, Probe
from stepcli.probe.nn.dropout import GlobalDraws, seeded
from stepcli.runtime.code_files import CodeFile, load_object, read_code, read_trusted_code
from stepcli.runtime.errors import UsageError
from stepcli.runtime.plugins import Plugin
from stepcli.runtime.signature import Fields, options_model

OPTION = "--method"
KIND = "nn.Module or ProbeInfo"
GIVEN = 4
"""Parameters of a module that stepcli gives: frames, tokens, dim, classes."""


class OwnProbe(Probe):
    """K copies of a user's module."""

    def __init__(
        self,
        layout: TokenLayout,
        classes: int,
        options: Options,
        generator: Generator,
        kind: type[nn.Module],
    ) -> None:
        super().__init__(layout, classes, options)
        settings = {name: value for name, value in options if name not in IDENTITY}
        # Probes are built side by side, and the module draws from torch's one generator.
        with seeded(generator.initial_seed(), torch.device("cpu")):
            module = kind(layout.frames, layout.tokens, layout.dim, classes, **settings)
        self.draws: GlobalDraws | None = None
        """Set by who trains: what the members' modules draw in a forward pass."""
        # Hidden in a list, the template's own tensors are no part of the bank's state.
        self._template = [module]
        self._names = [name for name, _ in module.named_parameters()]
        self._buffer_names = [name for name, _ in module.named_buffers()]
        for name, parameter in module.named_parameters():
            self.register_parameter(_flat(name), nn.Parameter(parameter.detach()[None].clone()))
        for name, buffer in module.named_buffers():
            self.register_buffer(_flat(name), buffer.detach()[None].clone())
        self.running = tuple(map(_flat, self._buffer_names))
        """Buffers that a forward pass in training may change; put back where it is done again."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "OwnProbe":
        # torch.nn.Module has no __deepcopy__ of its own: the default one, by its state.
        other = self.__class__.__new__(self.__class__)
        memo[id(self)] = other
        other.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return other

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C].

        Raises:
            UsageError: the module's logits have another shape, or frames are missing.
        """
        if batch.frame_mask is not None:
            raise UsageError("a probe from a file cannot know of missing frames; store whole clips")
        (template,) = self._template
        template.train(self.training)
        draws = self.draws if self.training else None
        if draws is not None:
            draws.begin_pass()
        rows = []
        for member in range(self.members):
            own = {
                name: getattr(self, _flat(name))[member]
                for name in (*self._names, *self._buffer_names)
            }
            # A copy: the tokens are shared by every bank of the pass.
            with nullcontext() if draws is None else draws.of(member, batch.device):
                rows.append(functional_call(template, own, (batch.raw.clone(),)))
        want = (len(batch.raw), self.classes)
        if rows[0].shape != want:
            raise UsageError(
                f"{type(template).__name__}.forward returned {tuple(rows[0].shape)} for "
                f"{tuple(batch.raw.shape)} tokens; expected [clips, classes] = {want}"
            )
        return torch.stack(rows)


def _flat(name: str) -> str:
    """A parameter's name without dots, which torch does not allow in a registered name."""
    return name.replace(".", "__")


def load_own(spec: str) -> ProbeInfo:
    """Load a method from `path/to/file.py:Name`. The user named the file, so it is executed.

    Raises:
        UsageError: no such file, or it does not run, or holds no usable method.
        UnknownName: it has no such module class.
    """
    return _of_file(read_code(spec, OPTION))


def load_trusted(spec: str) -> ProbeInfo:
    """Load a method that a run names: its file is executed only if the user trusts it.

    Raises:
        UsageError: the file is not trusted, or as for `load_own`.
    """
    return _of_file(read_trusted_code(spec, OPTION))


def of_plugin(plugin: Plugin) -> ProbeInfo:
    """The method of an installed package.

    Raises:
        UsageError: the package fails to load, or offers no usable method.
    """
    found = plugin.load()
    if not _is_method(found):
        raise UsageError(
            f"method {plugin.name} of the package {plugin.package}: {plugin.value} is no {KIND}"
        )
    identity = {"sha256": plugin.sha256, "package": plugin.package}
    return _identified(_info(found, plugin.name, plugin.value), plugin.package, identity)


def _of_file(code: CodeFile) -> ProbeInfo:
    found = load_object(code, OPTION, KIND, _is_method)
    return _identified(_info(found, code.spec, code.spec), str(code.path), {"sha256": code.sha256})


def _is_method(value: object) -> bool:
    return isinstance(value, ProbeInfo) or (inspect.isclass(value) and issubclass(value, nn.Module))


def _info(found: Any, name: str, where: str) -> ProbeInfo:
    """What an outsider's object says of itself."""
    if isinstance(found, ProbeInfo):
        return replace(found, name=name)
    if issubclass(found, Probe):
        raise UsageError(f"{where} is a bank of probes; name a ProbeInfo that describes it instead")
    options = cast("type[Options]", options_model(found, GIVEN, where, Options))
    for option in options.model_fields:
        if option in OptimConfig.model_fields:
            raise UsageError(
                f"{where}: its parameter {option} has the name of a training setting; rename it"
            )
    return ProbeInfo(name, partial(OwnProbe, kind=found), options, "", order_aware=True, lr=1e-3)


def _identified(info: ProbeInfo, origin: str, identity: Mapping[str, str]) -> ProbeInfo:
    """The method with its code's identity among its options.

    Raises:
        UsageError: it has an option of such a name itself.
    """
    if taken := IDENTITY.keys() & info.options.model_fields.keys():
        raise UsageError(f"method {info.name}: its option cannot be called {min(taken)}; rename it")
    fields: Fields = {
        name: (str, Field(value, description=IDENTITY[name])) for name, value in identity.items()
    }
    options = create_model("Options", __base__=info.options, **fields)
    return replace(
        info,
        build=_checked(info.build, origin, identity),
        options=options,
        source=info.source or origin,
    )


def _checked(build: Build, origin: str, identity: Mapping[str, str]) -> Build:
    """A builder that refuses the options of a run of other code."""

    def checked(layout: TokenLayout, classes: int, options: Any, generator: Generator) -> Probe:
        for name, now in identity.items():
            if (before := getattr(options, name)) != now:
                raise UsageError(
                    f"{origin} has changed since this probe was trained ({name} {before:.12}, now "
                    f"{now:.12}); restore that version, or train again"
                )
        return build(layout, classes, options, generator)

    return checked
