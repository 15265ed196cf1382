"""Make docs/maintainers/versions.md of what tests/matrix/wheel_matrix.py found.

python tests/matrix/versions_page.py [MATRIX.JSON]
"""

import json
import sys
from pathlib import Path
from typing import Any

from wheel_matrix import EXTRAS, SHOWN, TESTS, TREE, lower_bounds

HEAD = """\
# Versions that were tried, and licences

Made by `make matrix`: the wheel is installed into empty environments; a smoke test runs there
(`tests/matrix/smoke.py`): `--help`, `doctor`, extraction of bundled clips with a tiny model to Zarr
and HDF5, verify, convert, probes, results, and the extra's own command. Tried on {dates}, on Linux,
with the newest version of every package that pip chose; torch as in `constraints.txt`. "not tried"
means just that: the script left the cell out, or was stopped before it.

## Pythons and extras

| extra alone | {pythons} |
| --- | {dashes} |
"""
NO_TORCH = """
"Without torch": pip offers only torch's CUDA build for that Python (2.13.0, on 3.12 with 19
packages of CUDA and triton, gigabytes), which was not installed. Everything else was, and `--help`,
`datasets` and `backbones` ran.
"""
OLDEST = """
## Oldest versions

Each lower bound of `pyproject.toml` alone, beside the newest of all others, on the oldest Python;
after the smoke test a package's own tests run there. The last row has all lower bounds at once,
torch left out: its old wheels bring gigabytes of CUDA, so its bound is not tried.

transformers 5.4 to 5.16 at least want torchvision for every image processor (5.4 was tried and
fails so; the others have the same code), 5.20 does not; 5.0 passed the smoke test, but this
project's tests need processors that came with 5.4.

| package | oldest | newest tried | with the oldest |
| --- | --- | --- | --- |
"""
LICENCES = """
## Licences

Of everything that is installed with the wheel, and with each extra on top of it, as the packages'
own metadata name them; stepcli itself is MIT.

| package | version | licence | comes with |
| --- | --- | --- | --- |
"""


def main() -> None:
    """Read the matrix, write the page."""
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else TREE / "build" / "matrix.json"
    matrix: dict[str, Any] = json.loads(place.read_text())
    (TREE / "docs" / "maintainers" / "versions.md").write_text(page(matrix))


def page(matrix: dict[str, Any]) -> str:
    """The page's text."""
    pythons = sorted({key.split()[0] for key in matrix}, key=lambda v: int(v.split(".")[1]))
    dates = sorted({cell["date"] for cell in matrix.values()})
    text = HEAD.format(
        dates=" and ".join(dict.fromkeys((dates[0], dates[-1]))),
        pythons=" | ".join(f"Python {version}" for version in pythons),
        dashes=" | ".join("---" for _ in pythons),
    )
    for extra in ("core", *EXTRAS):
        cells = [result(matrix, f"{version} {extra}") for version in pythons]
        text += f"| {'none' if extra == 'core' else f'`{extra}`'} | {' | '.join(cells)} |\n"
    if any("without torch" in cell["result"] for cell in matrix.values()):
        text += NO_TORCH
    oldest = pythons[0]
    newest = matrix[f"{oldest} core"]["packages"]
    text += OLDEST
    for name in TESTS:
        came = result(matrix, f"{oldest} {name}-oldest")
        text += f"| {name} | {lower_bounds()[name]} | {newest[name][0]} | {came} |\n"
    bounds = matrix.get(f"{oldest} oldest", {}).get("packages", {})
    shown = ", ".join(f"{name} {bounds[name][0]}" for name in SHOWN if name in bounds)
    text += f"| all ({shown}) | | | {result(matrix, f'{oldest} oldest')} |\n"
    return text + LICENCES + licences(matrix, oldest)


def result(matrix: dict[str, Any], key: str) -> str:
    """ "works", or the last line of what went wrong."""
    if key not in matrix:
        return "not tried"
    cell = matrix[key]
    return cell["result"] if not cell["problem"] else f"fails: {cell['problem'].splitlines()[-1]}"


def licences(matrix: dict[str, Any], version: str) -> str:
    """A line a package: the wheel's own, then what each extra adds."""
    seen: dict[str, tuple[str, str, str]] = {}
    for extra in ("core", *EXTRAS):
        packages = matrix.get(f"{version} {extra}", {}).get("packages", {})
        for name, (number, licence) in packages.items():
            source = "the wheel" if extra == "core" else f"`{extra}`"
            if name not in seen:
                seen[name] = (number, licence, source)
            elif seen[name][2] != "the wheel" and source not in seen[name][2]:
                seen[name] = (*seen[name][:2], f"{seen[name][2]}, {source}")
    return "".join(
        f"| {name} | {number} | {licence or '(not named)'} | {source} |\n"
        for name, (number, licence, source) in sorted(seen.items())
        if name not in {"stepcli", "pip", "setuptools"} or source != "the wheel"
    )


if __name__ == "__main__":
    main()
