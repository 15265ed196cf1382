"""The wheel: what it holds, and that it works from an empty place."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def wheel(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as `python -m build` makes it: from the sdist, so that the sdist is tried too."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(project)],
        check=True,
        capture_output=True,
        text=True,
    )
    (path,) = out.glob("*.whl")
    return path


def test_the_wheel_holds_the_package_and_the_demo_clips_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"stepcli"}
    assert sum(name.endswith(".mp4") for name in names) == 384
    assert "stepcli/examples/openclose/openclose.csv" in names
    assert not [name for name in names if "/tests/" in name or "/benchmarks/" in name]


def test_the_installed_wheel_imports_every_module_and_starts(wheel: Path, tmp_path: Path) -> None:
    """In a venv of its own that borrows this one's dependencies but not its editable stepcli."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    site = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    ).strip()
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, str(wheel)],
        check=True,
    )
    borrowed = Path(pytest.__file__).parents[1]
    code = (
        f"import sys; sys.path.append({str(borrowed)!r})\n"
        "import importlib, pkgutil, stepcli.cli\n"
        f"assert stepcli.cli.__file__.startswith({site!r}), stepcli.cli.__file__\n"
        "import stepcli.cache, stepcli.extract, stepcli.probe, stepcli.examples\n"
        "for room in (stepcli.cache, stepcli.extract, stepcli.probe, stepcli.examples):\n"
        "    for module in pkgutil.walk_packages(room.__path__, room.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "        print(module.name)\n"
    )
    imported = subprocess.check_output([python, "-c", code], text=True, cwd=tmp_path).split()
    assert {
        "stepcli.cache.store.store",
        "stepcli.extract.pipeline.stages",
        "stepcli.probe.training.train",
    } <= set(imported)
