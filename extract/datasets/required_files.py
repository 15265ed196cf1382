"""Look for every piece of a data set before any work starts, and say what is missing."""

from collections.abc import Callable, Sized
from pathlib import Path

from stepcli.extract.datasets.walking import is_hidden
from stepcli.runtime.errors import UsageError
from stepcli.runtime.terminal import shown


class MissingData(UsageError):
    """Pieces of a data set are not where they should be; lists those found and those missing."""

    has_lines = True


class Checklist:
    """Collects found and missing files, so that one error names all of them."""

    def __init__(self, dataset: str, root: Path) -> None:
        self.dataset = dataset
        self.root = root
        self._lines: list[tuple[bool, str]] = []

    def file(self, *candidates: str, purpose: str) -> Path:
        """The first of several places (below the root) that holds a file.

        Where none does, notes it as missing and returns the first place, so that the caller can
        go on looking; `require()` then raises.
        """
        return self._look(candidates, purpose, Path.is_file)

    def folder(self, *candidates: str, purpose: str) -> Path:
        """The first of several places (below the root) that is a folder; see `file`."""
        return self._look(candidates, purpose, Path.is_dir)

    def files(self, folder: Path, pattern: str, purpose: str) -> list[Path]:
        """Every file in `folder` that matches a glob pattern, sorted; none counts as missing."""
        found = sorted(path for path in folder.glob(pattern) if not is_hidden(path.name))
        self.note(found, folder / pattern, purpose)
        return found

    def note(self, found: Sized, place: Path, purpose: str) -> None:
        """Note files that were looked for elsewhere; none counts as missing."""
        self._lines.append((bool(found), f"{place} ({purpose}; {len(found)} found)"))

    def require(self) -> None:
        """Stop here unless everything was found.

        Raises:
            MissingData: with one line for each piece, found or missing.
        """
        if all(found for found, _ in self._lines):
            return
        missing = sum(not found for found, _ in self._lines)
        lines = [
            f"  {'found  ' if found else 'MISSING'}  {shown(text)}" for found, text in self._lines
        ]
        raise MissingData(
            f"{self.dataset}: {missing} of {len(lines)} pieces are missing below {self.root}; "
            f"`stepcli datasets show {self.dataset}` prints the expected layout\n"
            + "\n".join(lines)
        )

    def _look(
        self, candidates: tuple[str, ...], purpose: str, check: Callable[[Path], bool]
    ) -> Path:
        places = [self.root / candidate for candidate in candidates]
        for place in places:
            if check(place):
                self._lines.append((True, f"{place} ({purpose})"))
                return place
        also = f"; also looked for {', '.join(candidates[1:])}" if candidates[1:] else ""
        self._lines.append((False, f"{places[0]} ({purpose}{also})"))
        return places[0]
