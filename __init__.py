"""Train STEP and other temporal probes on frozen image-model features of video, extracted once.

The command line is `stepcli`; the API for notebooks and own code is `stepcli.apply`.
"""

import os
import sys
from pathlib import Path

__version__ = "0.1.0"


def _give_way_to_installed() -> None:
    """Import an installed stepcli instead of a clone that is found only because of its place.

    Python puts the script's folder, or the current one, first on the path: beside a clone called
    `stepcli` that would import the clone. PYTHONPATH chooses the clone. Decision 142 says why.
    """
    clone = Path(__file__).resolve().parent
    if __name__ != "stepcli" or not (clone / "pyproject.toml").exists():
        return
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    chosen = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if clone.parent in (Path(place).resolve() for place in chosen if place):
        return
    others = [place for place in sys.path if Path(place).resolve() != clone.parent]
    installed = PathFinder.find_spec("stepcli", others)
    if installed is None or installed.loader is None or installed.origin is None:  # a namespace
        return
    if Path(installed.origin).resolve().parent != clone:  # else a link to this very clone
        sys.modules[__name__] = module = module_from_spec(installed)
        installed.loader.exec_module(module)


_give_way_to_installed()
