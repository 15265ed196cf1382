"""How long the walks through the product are, and what its source holds: any checkouts, one table.

    python benchmarks/house.py                                 this checkout
    python benchmarks/house.py OLD NEW                         a column each, e.g. git worktrees
    python benchmarks/house.py OLD --python OLD/.venv/bin/python
    python benchmarks/house.py --files                         name the files too

Each checkout runs with its own Python, one in which it is installed: `--python`, once per
checkout, else its .venv. Nothing is imported from the checkouts here, so that one method counts
them all, whatever their modules are called.

Walks are traced: a file counts if one of its functions ran, in any process, other than while
modules were imported. Methods that dataclasses generate count for their file; a file of
constants, enums or pydantic models alone does not count. The walks:

- a clip: `extract` of one bundled clip into a new store, from the command line to the summary;
- a batch: `probe --method step`, one epoch of 4 steps on 48 clips. Its rows are the whole
  command; from the first read of a token file to the first gradient (reading, making the probe,
  logits, loss); from that gradient to the next (one step of training); and from the first read to
  the first file of a run written (with evaluation and metrics);
- a run: `sweep` of two methods and two rates, then `results`. Its rooms are the packages of the
  files that ran; the door, cli.py, is one.

Walks counted by reading the code, from call to call along one path, come out shorter or longer: a
trace takes no part for granted and names no file that a reader would only look up.
"""

import argparse
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from house_counts import LONG, Counts, count
from house_walks import Walk, Walks, trace

HERE = Path(__file__).resolve().parents[1]
OFFERED = """
import typer, stepcli, stepcli.cli
def walk(command):
    inner = getattr(command, "commands", {}).values()
    return sum(map(walk, inner)) if inner else len(command.params)
print(stepcli.cli.__file__, walk(typer.main.get_command(stepcli.cli.app)), sep="\\n")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, help="checkouts; default: this one")
    parser.add_argument("--python", action="append", type=Path, default=[], help="of each, in turn")
    parser.add_argument("--files", action="store_true", help="name the files of each walk too")
    options = parser.parse_args()
    folders = [folder.resolve() for folder in options.folders or [HERE]]
    pythons = [*options.python, *map(own_python, folders[len(options.python) :])]
    columns, walked = [], []
    for folder, python in zip(folders, pythons, strict=True):
        offered = offered_options(folder, python)
        walked.append(trace(folder, python.absolute()))
        columns.append(column(folder, count(folder), walked[-1], offered))
    print(heading(), *table(columns), sep="\n")
    if options.files:
        for each, walks in zip(columns, walked, strict=True):
            print(*named(each["commit"], walks), sep="\n")


def own_python(folder: Path) -> Path:
    inside = folder / ".venv" / "bin" / "python"
    return inside if inside.exists() else Path(sys.executable)


def offered_options(folder: Path, python: Path) -> int:
    """Options and arguments of all commands; SystemExit where this Python runs another checkout."""
    said = subprocess.check_output([python, "-c", OFFERED], text=True, cwd="/")
    door, number = said.split("\n")[:2]
    if Path(door).resolve() != folder / "cli.py":
        raise SystemExit(f"{python} runs {door}, not {folder}: pass --python for each checkout")
    return int(number)


def column(folder: Path, counts: Counts, walks: Walks, offered: int) -> dict[str, str]:
    """The rows of a checkout, by name."""
    return {
        "commit": commit(folder),
        "a clip, `extract` to a stored part: files": many(walks.clip),
        "a batch, whole `probe --method step`: files": many(walks.probe),
        "a batch, first read to first gradient: files": str(len(walks.probe.first)),
        "a batch, one step of training: files": str(len(walks.probe.second)),
        "a batch, first read to first result: files": str(len(walks.probe.evaluated)),
        "a run, `sweep` to `results`: rooms": str(len(walks.sweep.rooms)),
        "a run, `sweep` to `results`: files": many(walks.sweep),
        "product: files": str(counts.product_files),
        "product: lines": f"{counts.product_lines:,}",
        "tests: lines": f"{counts.test_lines:,}",
        "`dict[str, Any]` in the product": str(counts.any_dicts),
        "`isinstance` on kinds of storage: checks in files": in_files(counts.storage_checks),
        "of those outside `storage/` (`remote/`): checks": str(counts.storage_checks_outside),
        "loose modules beside sub-rooms": per_room(counts.loose),
        "circles as modules load": sizes(counts.circles),
        "circles with imports inside functions": sizes(counts.late_circles),
        "circles with TYPE_CHECKING too": sizes(counts.typing_circles),
        f"modules over {LONG} lines": largest(counts.long_files),
        "`typer.Option` and `typer.Argument` written": str(counts.options),
        "options and arguments that commands offer": str(offered),
    }


def commit(folder: Path) -> str:
    head = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=folder, text=True)
    changed = subprocess.check_output(
        ["git", "status", "--porcelain", "--untracked-files=no"], cwd=folder, text=True
    )
    return head.strip() + (" and changes" if changed else "")


def many(walk: Walk) -> str:
    return f"{len(walk.ran)} ({len(walk.imported)} loaded)"


def in_files(found: Mapping[str, int]) -> str:
    return f"{sum(found.values())} in {len(found)}"


def per_room(found: Mapping[str, int]) -> str:
    rooms = ", ".join(f"{room} {number}" for room, number in found.items())
    return f"{sum(found.values())} ({rooms})"


def sizes(found: list[list[str]]) -> str:
    each = ", ".join(str(len(group)) for group in found)
    return f"{len(found)} (files: {each})" if found else "0"


def largest(found: Mapping[str, int]) -> str:
    return f"{len(found)} (at most {max(found.values())})" if found else "0"


def heading() -> str:
    names = ("torch", "typer", "pydantic")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    day = datetime.now(UTC).date()
    return (
        f"{day}; {platform.machine()}, {platform.system()}, Python {platform.python_version()}, "
        f"{versions}\n"
    )


def table(columns: list[dict[str, str]]) -> list[str]:
    """Markdown; the first row of each column is its heading."""
    rows = [[name, *(each[name] for each in columns)] for name in columns[0]]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], f"| --- |{' ---: |' * len(columns)}", *lines[1:]]


def named(name: str, walks: Walks) -> list[str]:
    """Lines of the files that each walk passed."""
    parts = {
        "clip": walks.clip.ran,
        "batch, first read to first gradient": walks.probe.first,
        "batch, one step of training": walks.probe.second,
        "batch, first read to first result": walks.probe.evaluated,
        "sweep to results": walks.sweep.ran,
        "sweep to results, rooms": walks.sweep.rooms,
    }
    return [f"\n{name}, {part}: {' '.join(sorted(files))}" for part, files in parts.items()]


if __name__ == "__main__":
    main()
