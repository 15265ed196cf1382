"""Make docs/maintainers/transcript.md: the commands of docs/first-hour.md on a clean machine.

    make transcript            or: python tests/docs/transcript.py --python 3.12

Clones the tree as it is committed, makes a new environment, and types the guide's commands, with
the backbone that needs no hub. The videos are bundled clips of doors and drawers, sorted into two
folders, as a user would have them. Everything printed goes into the page; nothing is edited.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
GUIDE = TREE / "docs" / "first-hour.md"
KEPT_BACK = 23
"""Of the door clips one is new to the probes: they are asked about it at the end."""
FENCE = re.compile(r"^```(console|csv)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SHOWN_LINES = 40
OF_THE_GUIDE = "dinov2-base --tokens cls,grid4"
WITHOUT_HUB = "mobilenet_v2-bundled-320 --tokens grid4"


def main() -> None:
    """Type the guide, keep what came."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="interpreter of the new venv")
    parser.add_argument("--out", type=Path, default=TREE / "docs" / "maintainers" / "transcript.md")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="first-hour-") as place:
        home = Path(place)
        source = home / "stepcli"
        command = ["git", "clone", "--quiet", "--depth", "1", TREE.as_uri(), str(source)]
        subprocess.run(command, check=True)
        lay_out_videos(source, home)
        page = type_guide(home, source, asked.python)
        asked.out.write_text(page)
    if failed := page.count("\n[exit code "):
        sys.exit(f"{asked.out}: {failed} of the guide's commands failed; do not commit the page")


def lay_out_videos(source: Path, home: Path) -> None:
    """`videos/open`, `videos/close`, and one video that nobody has seen."""
    clips = source / "examples" / "openclose" / "clips"
    for thing in ("door", "drawer"):
        for what in ("open", "close"):
            folder = home / "videos" / what
            folder.mkdir(parents=True, exist_ok=True)
            for clip in sorted((clips / f"{thing}-{what}").iterdir()):
                shutil.copy(clip, folder / f"{thing}-{clip.name}")
    (home / f"videos/open/door-{KEPT_BACK:03}.mp4").rename(home / "new.mp4")


def type_guide(home: Path, source: Path, python: str) -> str:
    """Run every command of the guide; the page as text."""
    text = GUIDE.read_text()
    ours = ("STEPCLI", "PYTHON", "VIRTUAL_ENV", "HF_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)} | {
        "PATH": f"{home}/venv/bin:{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "100",
        "PIP_CONSTRAINT": str(source / "constraints.txt"),
        "PIP_QUIET": "2",
        "XDG_STATE_HOME": f"{home}/state",  # as a new user: no folder or file is trusted yet
    }
    blocks = []
    started = time.monotonic()
    for match in FENCE.finditer(text):
        kind, block = match.groups()
        if kind == "csv":
            name = re.findall(r"`([\w.-]+\.csv)`", text[: match.start()])[-1]
            (home / name).write_text(block)
            blocks.append(f"$ cat {name}\n{block}")
            continue
        for line in block.splitlines():
            typed = line.replace(OF_THE_GUIDE, WITHOUT_HUB)
            blocks.append(typed_and_said(typed, home, python, environment))
    minutes = (time.monotonic() - started) / 60
    ask = ["git", "-C", str(source), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    said = "\n".join(blocks).replace(str(home), "~").rstrip()
    return f"{head(count_videos(home), commit, minutes)}\n```text\n{said}\n```\n"


def count_videos(home: Path) -> int:
    """Videos of the folders that the guide extracts."""
    return sum(path.is_file() for path in (home / "videos").rglob("*.mp4"))


def head(videos: int, commit: str, minutes: float) -> str:
    """How the page was made."""
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, no GPU"
    return (
        "# The first hour, as it looked\n\n"
        "Made by `make transcript`: a clean clone, a new environment, no network but pip's, the "
        "commands of\n[first-hour.md](../first-hour.md) with the bundled backbone, and "
        f"{videos} of the bundled clips as `videos/`. pip is kept\nquiet and to the CPU build of "
        "torch; nothing is edited but the name of the folder, and long outputs are cut in\ntheir "
        f"middle. {machine}, load average {os.getloadavg()[2]:.0f}; "
        f"{datetime.now(UTC):%Y-%m-%d}, at {commit}; {minutes:.0f} minutes in all.\n"
    )


def typed_and_said(line: str, home: Path, python: str, environment: dict[str, str]) -> str:
    """One command at a prompt, what it printed, its time and its exit code if that is not 0."""
    run = line.replace("python3 -m venv", f"{python} -m venv")
    # A new shell each time: what `activate` would do is in the environment already.
    run = "true" if line.startswith(". ") else run
    started = time.monotonic()
    done = subprocess.run(
        ["bash", "-c", run],
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - started
    lines = done.stdout.rstrip().splitlines()
    if len(lines) > SHOWN_LINES:
        left = len(lines) - SHOWN_LINES
        lines = [*lines[: SHOWN_LINES // 2], f"... {left} lines ...", *lines[-SHOWN_LINES // 2 :]]
    took = [f"[{seconds:.0f} s]"] if seconds >= 1 else []
    failed = [f"[exit code {done.returncode}]"] if done.returncode else []
    return "\n".join([f"$ {line}", *lines, *took, *failed])


if __name__ == "__main__":
    main()
