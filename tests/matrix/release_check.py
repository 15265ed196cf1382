"""Build a release and try it, up to the upload: versions, files, metadata, a new environment.

    make release-check
    python tests/matrix/release_check.py --python 3.13

On a commit with a tag `v...`, the tag must name the version and the changelog must have a date.
The files to upload are left in build/release/dist/.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from wheel_matrix import TREE, build_wheel, find_python, pip, run, say

from stepcli import __version__


def main() -> None:
    """Run every step; end at the first problem with one line that names it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", help="3.13; default: the one that runs this")
    asked = parser.parse_args()
    python = find_python(asked.python) if asked.python else sys.executable
    if python is None:
        sys.exit(f"Python {asked.python} is not on this machine")
    tags = run("git", "-C", str(TREE), "tag", "--points-at", "HEAD").split()
    problems = version_problems(TREE, __version__, tags)
    if problems:
        sys.exit("\n".join(problems))
    say(f"version {__version__}; tags on this commit: {', '.join(tags) or 'none'}")
    work = TREE / "build" / "release"
    try:
        check_files(work, python)
    except subprocess.CalledProcessError as error:
        words = " ".join(map(str, error.cmd))
        sys.exit(f"failed ({error.returncode}): {words}\n{error.stdout}{error.stderr}")


def version_problems(tree: Path, version: str, tags: list[str]) -> list[str]:
    """What does not agree with the version: CITATION.cff, CHANGELOG.md, tags of releases."""
    problems = []
    cited = re.findall(r"^version: (\S+)$", (tree / "CITATION.cff").read_text(), re.MULTILINE)
    if cited != [version]:
        problems.append(f"CITATION.cff: expected version {version}, found {cited}")
    head = rf"^## {re.escape(version)} \((unreleased|\d{{4}}-\d\d-\d\d)\)\n(.*?)(?=^## |\Z)"
    section = re.search(head, (tree / "CHANGELOG.md").read_text(), re.MULTILINE | re.DOTALL)
    if section is None:
        problems.append(f"CHANGELOG.md: no section '## {version} (YYYY-MM-DD)' or '(unreleased)'")
    elif not section[2].strip():
        problems.append(f"CHANGELOG.md: the section of {version} is empty")
    for tag in (tag for tag in tags if re.match(r"v\d", tag)):
        if tag != f"v{version}":
            problems.append(f"tag {tag}: expected v{version}, as in __init__.py")
        elif section is not None and section[1] == "unreleased":
            problems.append(f"CHANGELOG.md: tag {tag} is set but {version} has no date yet")
    return problems


def check_files(work: Path, python: str) -> None:
    """Build, check the metadata, install the wheel with the bundled backbone, and try it."""
    started = time.monotonic()

    def done(what: str) -> None:
        nonlocal started
        say(f"ok  {what} ({time.monotonic() - started:.0f} s)")
        started = time.monotonic()

    work.mkdir(parents=True, exist_ok=True)
    wheel = build_wheel(work)
    files = sorted(map(str, wheel.parent.iterdir()))
    done(f"built {', '.join(Path(file).name for file in files)}")
    run(sys.executable, "-m", "twine", "check", "--strict", *files)
    done("metadata (twine check --strict)")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "venv"
        run(python, "-m", "venv", str(place))
        pip(place, f"stepcli[demo] @ {wheel.as_uri()}")
        done("installed the wheel into a new environment")
        command = str(place / "bin" / "stepcli")
        said = run(command, "--version", cwd=folder).strip()
        if said != f"stepcli {__version__}":
            sys.exit(f"stepcli --version: expected {__version__}, found {said!r}")
        run(command, "--help", cwd=folder)
        done(said)
        for extra in ((), ("demo",)):
            empty = Path(folder) / "-".join(("smoke", *extra))
            empty.mkdir()
            smoke = str(TREE / "tests" / "matrix" / "smoke.py")
            say(run(str(place / "bin" / "python"), smoke, *extra, cwd=str(empty)).rstrip())
        done("commands on the bundled clips")


if __name__ == "__main__":
    main()
