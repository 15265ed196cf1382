"""Make docs/maintainers/transcript.md: commands of the README and of a guide on a clean machine.

    make transcript            or: python tests/docs/transcript.py --python 3.12

Clones the tree as it is committed and types what the pages print (`chapters.py`): "Try it" of the
README, all of docs/first-hour.md, and the README's block on Something-Something v2, with the
backbone that needs no hub. All output goes into the page, with the time and disk of each command;
nothing is edited.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from chapters import CHAPTERS, TREE, Chapter
from newcomer import Newcomer, amount, disk_of

LARGEST_DEMO = 1_500_000_000
"""Bytes of the environment of `make demo` with a CPU build of torch."""
VERSIONS = """
import platform, torch
from importlib.metadata import version
device = "a GPU" if torch.cuda.is_available() else "no GPU"
names = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "stepcli"))
print(f"{device}; Python {platform.python_version()}, {names}")
"""


def main() -> None:
    """Type the pages, keep what came."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="interpreter of the new venvs")
    parser.add_argument("--out", type=Path, default=TREE / "docs" / "maintainers" / "transcript.md")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="first-hour-") as place:
        home = Path(place).resolve()
        source = home / "stepcli"
        user = Newcomer(home, asked.python, {"PIP_CONSTRAINT": str(source / "constraints.txt")})
        texts, rows = [], []
        for chapter in CHAPTERS:
            text, row = type_chapter(user, chapter)
            texts.append(text)
            rows.append(row)
        environment = disk_of(source / ".venv")
        python = source / ".venv/bin/python"
        page = "\n".join(
            [head(said(python, "-c", VERSIONS), source), table(rows, environment), *texts]
        )
        asked.out.write_text(page)
    if failed := page.count("\n[exit code "):
        sys.exit(f"{asked.out}: {failed} of the commands failed; do not commit the page")
    if environment >= LARGEST_DEMO:
        sys.exit(f"make demo: its environment takes {amount(environment)}, the limit is 1.5 GB")


def type_chapter(user: Newcomer, chapter: Chapter) -> tuple[str, str]:
    """Type all commands of a chapter; its text, and its row of the table."""
    seconds, disk = user.seconds, user.bytes
    typed = chapter.prepare(user)
    user.measure()
    disk = user.bytes if not typed else disk
    for name, block in chapter.blocks():
        if name:
            (user.home / chapter.folder / name).write_text(block)
            typed.append(f"$ cat {name}\n{block}")
        else:
            typed.append(user.type(line := block, chapter.folder))
            if line == "make demo":
                size = amount(disk_of(user.home / chapter.folder / ".venv"))
                typed.append(f"(the environment of make demo, .venv, takes {size})")
    parts = [f"## {chapter.title}", about(chapter), "```text\n" + "\n".join(typed) + "\n```\n"]
    minutes = (user.seconds - seconds) / 60
    row = f"| {chapter.title} | {minutes:.1f} min | {amount(user.bytes - disk)} |"
    return "\n\n".join(parts), row


def about(chapter: Chapter) -> str:
    """Which commands these are, where they are typed, and what was replaced in them."""
    link = os.path.relpath(chapter.page, TREE / "docs" / "maintainers")
    name = f"[{chapter.page.name}]({link})"
    place = f'"{chapter.section.strip("# ")}" of {name}' if chapter.section else name
    folder = "~" if chapter.folder == "." else f"~/{chapter.folder}"
    lines = [f"The commands of {place}, in `{folder}`."]
    changes = [f"`{now}` in place of `{was}`" for was, now in chapter.replaced.items()]
    if changes:
        lines.append(f"Typed: {', '.join(changes)}.")
    return "\n".join([*lines, chapter.about])


def said(*words: str | Path) -> str:
    """What a command prints."""
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def head(versions: str, source: Path) -> str:
    """How the page was made."""
    commit = said("git", "-C", source, "rev-parse", "--short", "HEAD")
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    return (
        "# The first hour, as it looked\n\n"
        f"{machine}, {versions}; {datetime.now(UTC):%Y-%m-%d}, at {commit}; load average "
        f"{os.getloadavg()[2]:.0f}.\n\n"
        "Made by `make transcript`: a clean clone, new environments, no network but pip's, and the "
        "commands as the pages\nprint them. pip is kept quiet and to the CPU build of torch; "
        "nothing is edited but the names of the home folder\nand of the interpreter, and long "
        "outputs are cut in their middle. After each command: its time, the change in disk\n"
        "space, and the folders that changed most.\n"
    )


def table(rows: list[str], environment: int) -> str:
    """Time and disk of the chapters."""
    lines = ["| | time | disk |", "| --- | ---: | ---: |", *rows, ""]
    demo = f"The environment of `make demo` takes {amount(environment)} (limit: 1.5 GB)."
    return "\n".join([*lines, demo, ""])


if __name__ == "__main__":
    main()
