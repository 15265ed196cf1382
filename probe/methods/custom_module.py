"""A user's own probe: a plain nn.Module from a Python file, run as a bank like any other.

    class MyProbe(nn.Module):
        def __init__(self, frames: int, tokens: int, dim: int, classes: int): ...
        def forward(self, x):  # [B, frames, tokens, dim] float32 -> [B, classes]

Its parameters get the member dimension here; members are computed one after another, so a bank of
them saves the reading, not the arithmetic.
"""

import copy
import hashlib
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.func import functional_call

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.bank import Options, Probe
from stepcli.runtime.errors import UnknownName, UsageError


class OwnOptions(Options):
    """Identity of the code: another text is another run."""

    sha256: str = Field("", description="digest of the file, filled in by itself")


class OwnProbe(Probe):
    """K copies of a user's module."""

    def __init__(
        self,
        layout: TokenLayout,
        classes: int,
        options: OwnOptions,
        generator: Generator,
        kind: type[nn.Module],
    ) -> None:
        super().__init__(layout, classes, options)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator.initial_seed())
            module = kind(layout.frames, layout.tokens, layout.dim, classes)
        # Hidden in a list, the template's own tensors are no part of the bank's state.
        self._template = [module]
        self._names = [name for name, _ in module.named_parameters()]
        self._buffer_names = [name for name, _ in module.named_buffers()]
        for name, parameter in module.named_parameters():
            self.register_parameter(_flat(name), nn.Parameter(parameter.detach()[None].clone()))
        for name, buffer in module.named_buffers():
            self.register_buffer(_flat(name), buffer.detach()[None].clone())

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
        rows = []
        for member in range(self.members):
            own = {
                name: getattr(self, _flat(name))[member]
                for name in (*self._names, *self._buffer_names)
            }
            # A copy: the tokens are shared by every bank of the pass.
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


VOUCHED_VARIABLE = "STEPCLI_OWN_CODE"
"""SHA-256 digests, separated by commas, of files that may be executed because a run names them."""


def load_vouched(spec: str) -> ProbeInfo:
    """Load a method that a run names: its file is executed only if its digest is vouched for.

    Raises:
        UsageError: the digest of the file is not in STEPCLI_OWN_CODE.
    """
    path = Path(spec.rpartition(":")[0])
    if path.is_file():
        source = path.read_bytes()
        digest = hashlib.sha256(source).hexdigest()
        if digest in os.environ.get(VOUCHED_VARIABLE, "").split(","):
            return _execute(spec, path, source, digest)
        advice = f"read {path}, and if you trust it, set {VOUCHED_VARIABLE}={digest}"
    else:
        advice = f"there is no file {path}"
    raise UsageError(
        f"the method {spec} is a file of code, which is not run because a run names it; {advice}"
    )


def load_own(spec: str) -> ProbeInfo:
    """Load a method from `path/to/file.py:ClassName`. The file is the user's own code: it is run.

    Raises:
        UsageError: no such file, or it does not run.
        UnknownName: it has no such module class.
    """
    path = Path(spec.rpartition(":")[0])
    if not path.is_file():
        raise UsageError(f"--method {spec}: there is no file {path}")
    source = path.read_bytes()
    return _execute(spec, path, source, hashlib.sha256(source).hexdigest())


def _execute(spec: str, path: Path, source: bytes, digest: str) -> ProbeInfo:
    """Execute exactly the bytes of `source`, whose digest was checked.

    Python's own import would read the file again, or a `__pycache__` beside it instead.
    """
    module = ModuleType(f"stepcli_own_{digest[:16]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and the like look their module up
    try:
        code = compile(source, str(path), "exec", dont_inherit=True)
        with _without_folder(path.parent):
            exec(code, module.__dict__)
    except Exception as error:
        del sys.modules[module.__name__]
        raise UsageError(
            f"--method {spec}: {path} does not run ({type(error).__name__}: {error}); it may "
            "import installed packages and stepcli, not files beside it"
        ) from error
    name = spec.rpartition(":")[2]
    found = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, nn.Module)
    }
    if name not in found:
        raise UnknownName(f"nn.Module in {path}", name, found)
    kind = found[name]

    def build(
        layout: TokenLayout, classes: int, options: OwnOptions, generator: Generator
    ) -> Probe:
        if options.sha256 != digest:
            raise UsageError(
                f"{path} has changed since this probe was trained (sha256 {options.sha256:.12}..., "
                f"now {digest:.12}...); put that file back, or train again"
            )
        return OwnProbe(layout, classes, options, generator, kind)

    class Here(OwnOptions):
        """This very file."""

        sha256: str = digest

    return ProbeInfo(spec, build, Here, str(path), order_aware=True, lr=1e-3)


@contextmanager
def _without_folder(folder: Path) -> Iterator[None]:
    """Take a folder off the module search path while its file of code is executed.

    `python -m` and a notebook put the working folder there. A module beside the file is not covered
    by the digest that was vouched for, and not by the run's identity.
    """
    before = list(sys.path)
    sys.path[:] = [place for place in before if Path(place).resolve() != folder.resolve()]
    try:
        yield
    finally:
        sys.path[:] = before
