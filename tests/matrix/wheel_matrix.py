"""Install the wheel into empty environments and try it: Pythons, extras, oldest versions.

    make matrix                                   everything, some 40 minutes and 4 GB
    python tests/matrix/wheel_matrix.py --python 3.12 --cell core --cell report

A cell is an extra alone (`core` is none), an oldest version alone (`zarr-oldest`), or `oldest`: all
lower bounds together. Results go to --out as JSON, cell by cell, so that a stopped run resumes; the
page docs/maintainers/versions.md is made of them by tests/matrix/versions_page.py.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

TREE = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
EXTRAS = tuple(name for name in PROJECT["optional-dependencies"] if name not in ("dev", "docs"))
# Each format's or decoder's own tests, run where its oldest version is installed.
TESTS = {
    "zarr": ("tests/cache/store/test_store_contract.py", "tests/cache/parts/test_compressed.py"),
    "h5py": (
        "tests/cache/store/test_store_contract.py",
        "tests/cache/store/test_interoperability.py",
    ),
    "transformers": (
        "tests/extract/backbones/test_backbones.py",
        "tests/extract/decode/test_preprocess.py",
    ),
    "av": ("tests/extract/decode/test_video.py", "tests/extract/decode/test_clip_bounds.py"),
}
FOR_TESTS = ("pytest", "pytest-xdist", "hypothesis", "filelock", "pandas")
SHOWN = ("torch", "numpy", "zarr", "h5py", "transformers", "av", "pyarrow", "pydantic", "typer")
LIST = """
import importlib.metadata as m, json
def licence(d):
    meta = d.metadata
    kinds = [c.split(' :: ')[-1] for c in meta.get_all('Classifier') or () if c[:7] == 'License']
    named = meta.get('License-Expression') or ' / '.join(kinds) or (meta.get('License') or '')
    return named.strip().split('\\n')[0][:60]
found = {d.name.lower().replace('_', '-'): (d.version, licence(d)) for d in m.distributions()}
print(json.dumps(found))
"""


def lower_bounds() -> dict[str, str]:
    """Package -> the oldest version that pyproject.toml allows, torch left out.

    torch's old wheels bring gigabytes of CUDA; the one of constraints.txt is the one tried.
    """
    pairs = (re.fullmatch(r"([\w-]+)>=([\d.]+)", line) for line in PROJECT["dependencies"])
    return {pair[1]: pair[2] for pair in pairs if pair and pair[1] != "torch"}


def cells() -> list[str]:
    """Every cell of one Python."""
    return ["core", *EXTRAS, *(f"{name}-oldest" for name in TESTS), "oldest"]


def main() -> None:
    """Run the cells asked for that --out does not have yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", action="append", help="3.12; default: 3.11, 3.12, 3.13")
    parser.add_argument("--cell", action="append", choices=cells())
    parser.add_argument("--out", type=Path, default=TREE / "build" / "matrix.json")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "stepcli-matrix")
    parser.add_argument("--wheel", type=Path, help="default: built from the current tree")
    parser.add_argument(
        "--without-torch",
        action="store_true",
        help="where pip has no torch for this Python that fits the machine: try what needs none",
    )
    parser.add_argument("--again", action="store_true", help="also what is done already")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    wheel = asked.wheel or build_wheel(asked.work)
    for version in asked.python or ["3.11", "3.12", "3.13"]:
        interpreter = find_python(version)
        if interpreter is None:
            say(f"Python {version}: not on this machine; left out")
            continue
        core = asked.work / f"core-{version}"
        if (core / "whole").exists():  # of a run that was stopped: its wheel may be older
            pip(core, "--force-reinstall", "--no-deps", str(wheel))
        # Old versions have no wheels for new Pythons: the oldest are tried on the oldest.
        wanted = asked.cell or [c for c in cells() if version == "3.11" or "oldest" not in c]
        if asked.without_torch:
            wanted = [cell for cell in wanted if cell in ("core", "s3")]
        for cell in wanted:
            kept = json.loads(asked.out.read_text()) if asked.out.exists() else {}
            if f"{version} {cell}" in kept and not asked.again:
                continue
            found = try_cell(
                interpreter, core, cell, wheel, asked.work, torch=not asked.without_torch
            )
            kept[f"{version} {cell}"] = found
            asked.out.parent.mkdir(parents=True, exist_ok=True)
            asked.out.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
            say(f"{version} {cell}: {found['result']} ({found['seconds']:.0f} s)")
        if asked.cell is None:
            shutil.rmtree(core, ignore_errors=True)


def build_wheel(work: Path) -> Path:
    """The wheel of the current tree, made once per run."""
    out = work / "dist"
    shutil.rmtree(out, ignore_errors=True)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(TREE))
    (wheel,) = out.glob("*.whl")
    return wheel


def find_python(version: str) -> str | None:
    """An interpreter of that version: on the PATH, or pyenv's."""
    homes = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    known = [shutil.which(f"python{version}"), *map(str, homes.glob(f"{version}.*/bin/python"))]
    for place in filter(None, known):
        done = subprocess.run([place, "--version"], capture_output=True, text=True, check=False)
        if done.stdout.startswith(f"Python {version}."):
            return place
    return None


def try_cell(
    interpreter: str, core: Path, cell: str, wheel: Path, work: Path, *, torch: bool
) -> dict[str, Any]:
    """Install, run the smoke test (and a package's own tests), say what came."""
    started = time.monotonic()
    place = work / "venv"
    shutil.rmtree(place, ignore_errors=True)
    problem = ""
    packages: dict[str, Any] = {}
    try:
        if not (core / "whole").exists():
            shutil.rmtree(core, ignore_errors=True)
            run(interpreter, "-m", "venv", str(core))
            if torch:
                pip(core, str(wheel))
            else:
                pip(core, *(line for line in PROJECT["dependencies"] if "torch" not in line))
                pip(core, "--no-deps", str(wheel))
            (core / "whole").touch()
        # Hard links of the environment that holds the wheel alone: as empty, and there at once.
        run("cp", "-al", str(core), str(place))
        if torch:
            install(place, cell, wheel)
        elif cell in EXTRAS:
            pip(place, *PROJECT["optional-dependencies"][cell])
        packages = json.loads(run(str(place / "bin/python"), "-c", LIST))
        with tempfile.TemporaryDirectory(dir=work) as folder:
            extras = [cell] if cell in EXTRAS else []
            extras = extras if torch else ["--without-torch"]
            run(str(place / "bin/python"), str(TREE / "tests/matrix/smoke.py"), *extras, cwd=folder)
        name = cell.removesuffix("-oldest")
        if cell != name:
            pip(place, *FOR_TESTS)
            run_tests(place, *TESTS[name])
    except subprocess.CalledProcessError as error:
        lines = (error.stdout + error.stderr).strip().splitlines()[-25:]
        problem = "\n".join(lines)
        say(problem)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return {
        "result": "failed" if problem else "works" if torch else "works (tried without torch)",
        "problem": problem,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "seconds": round(time.monotonic() - started),
        "packages": packages,
    }


def install(place: Path, cell: str, wheel: Path) -> None:
    """What the cell adds to the wheel alone."""
    bounds = lower_bounds()
    if cell in EXTRAS:
        pip(place, f"stepcli[{cell}] @ {wheel.as_uri()}")
    elif cell == "oldest":
        pip(place, *(f"{name}=={version}" for name, version in bounds.items()))
    elif cell != "core":
        name = cell.removesuffix("-oldest")
        pip(place, f"{name}=={bounds[name]}")


def run_tests(place: Path, *files: str) -> None:
    """Some of the project's tests, on the installed wheel; old packages may warn.

    Those on an S3 server are left out: they would need the server and the extra s3 as well.
    """
    options = ("-q", "-x", "-p", "no:xdist", "-o", "filterwarnings=", "-k", "not InS3")
    run(str(place / "bin/python"), "-m", "pytest", *options, *files, cwd=str(TREE))


def pip(place: Path, *what: str) -> None:
    """Install into an environment, with the project's constraints."""
    constraints = ("-c", str(TREE / "constraints.txt"))
    run(str(place / "bin/python"), "-m", "pip", "install", "-q", *constraints, *what)


def say(text: str) -> None:
    """A line for the person who watches."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run(*words: str, cwd: str | None = None) -> str:
    """A command's output; fails loudly, with what it said."""
    clean = {
        key: text for key, text in os.environ.items() if not key.startswith(("PYTHON", "STEPCLI"))
    }
    environment = clean | {"HF_HUB_OFFLINE": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, cwd=cwd, env=environment
    )
    return done.stdout


if __name__ == "__main__":
    main()
