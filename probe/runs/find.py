"""Runs by what a user calls them: a folder, a name, or the beginning of a name."""

from collections.abc import Sequence
from pathlib import Path

from stepcli.probe.runs.record import FILE, read_run
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted


def find_run(word: str, runs: Path) -> Path | None:
    """The folder of a run; None if the word names none.

    A beginning means the runs that were tested on a test split; those on held-out slices of train,
    which `calibrate` and `sweep --select` leave beside them, only where there are no others.

    Args:
        word: Path of the run's folder, its name below `runs`, or the beginning of one name there.
        runs: Folder of the runs.

    Raises:
        UsageError: several runs' names begin so.
    """
    for folder in (Path(word), runs / word):
        if (folder / FILE).is_file():
            return folder
    if not word or "/" in word or Path(word).exists():
        return None
    found = sorted(path.parent for path in runs.glob(f"[!.]*/{FILE}"))
    found = [folder for folder in found if folder.name.startswith(word)]
    if len(found) > 1:
        found, _ = without_slices(found)
    if len(found) > 1:
        names = ", ".join(folder.name for folder in found[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise UsageError(f"several runs begin with {word!r}: {names}{more}; give one name")
    return found[0] if found else None


def require_run(word: str, runs: Path) -> Path:
    """The same; a word that names no run is an error.

    Raises:
        UsageError: it names no run, or several.
    """
    found = find_run(word, runs)
    if found is None:
        raise UsageError(
            f"{word} is not a run's folder, nor a run's name in {runs}; list them with stepcli runs"
        )
    return found


def without_slices(folders: Sequence[Path]) -> tuple[list[Path], str]:
    """Runs without those on held-out slices of train, which runs/step-* names too, where there are
    others; and a note on what was left out, "" where nothing was.

    Raises:
        UsageError: a run.json cannot be read.
    """
    if len(folders) < 2:
        return list(folders), ""
    final = [folder for folder in folders if not read_run(folder / FILE).on_slice]
    if not final or len(final) == len(folders):
        return list(folders), ""
    return final, (
        f"note: left out {counted(len(folders) - len(final), 'run')} on held-out slices of "
        "train, which only choose settings; give one alone to use it"
    )


def runs_in(folder: Path) -> list[Path]:
    """Folders of the finished runs in a folder: itself, or those directly below it.

    Of the latter, runs that were tested on a held-out slice of train are left out: they only
    choose hyper-parameters.
    """
    if (folder / FILE).is_file():
        return [folder]
    if not folder.is_dir():
        return []
    below = sorted(folder.glob(f"[!.]*/{FILE}"))
    return [path.parent for path in below if not read_run(path).on_slice]
