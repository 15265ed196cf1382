"""The wheel: what it holds, and that it works from an empty place; what make installs for whom."""

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import stepcli


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


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a venv that holds the wheel and borrows this one's dependencies."""
    place = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    site = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    ).strip()
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, str(wheel)],
        check=True,
    )
    (Path(site) / "borrowed.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    return python


def test_the_wheel_holds_the_package_and_the_demo_clips_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"stepcli"}
    assert sum(name.endswith(".mp4") for name in names) == 384
    assert "stepcli/examples/openclose/openclose.csv" in names
    assert not [name for name in names if "/tests/" in name or "/benchmarks/" in name]


def test_the_installed_wheel_imports_every_module_and_starts(
    installed: Path, tmp_path: Path
) -> None:
    code = (
        "import importlib, pkgutil, stepcli.cli\n"
        f"assert stepcli.cli.__file__.startswith({str(installed.parents[1])!r})\n"
        "import stepcli.cache, stepcli.extract, stepcli.probe, stepcli.examples\n"
        "for room in (stepcli.cache, stepcli.extract, stepcli.probe, stepcli.examples):\n"
        "    for module in pkgutil.walk_packages(room.__path__, room.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "        print(module.name)\n"
    )
    imported = subprocess.check_output([installed, "-c", code], text=True, cwd=tmp_path).split()
    assert {
        "stepcli.cache.store.store",
        "stepcli.extract.pipeline.stages",
        "stepcli.probe.training.train",
    } <= set(imported)


def test_package_wheel_and_citation_have_one_version(
    project: Path, wheel: Path, installed: Path, tmp_path: Path
) -> None:
    said = subprocess.check_output(
        [installed, "-m", "stepcli.cli", "--version"], text=True, cwd=tmp_path
    )
    cited = re.findall(r"^version: (\S+)$", (project / "CITATION.cff").read_text(), re.MULTILINE)
    assert said == f"stepcli {stepcli.__version__}\n"
    assert wheel.name == f"stepcli-{stepcli.__version__}-py3-none-any.whl"
    assert cited == [stepcli.__version__]


PLACE = "import stepcli, stepcli.cli; print(stepcli.__file__); print(stepcli.cli.__file__)"


def test_a_link_to_a_clone_is_the_clone(project: Path, tmp_path: Path) -> None:
    """On PYTHONPATH, or found beside it: it is not imported again and again."""
    clone = tmp_path / "clones" / "stepcli"
    clone.mkdir(parents=True)
    for name in ("__init__.py", "pyproject.toml"):
        shutil.copy(project / name, clone)
    site = tmp_path / "site"
    site.mkdir()
    (site / "stepcli").symlink_to(clone)
    clean = {key: text for key, text in os.environ.items() if key != "PYTHONPATH"}
    words = [sys.executable, "-S", "-c", "import stepcli; print(stepcli.__version__)"]
    for cwd, environment in ((site, {}), (tmp_path, {"PYTHONPATH": str(site)})):
        said = subprocess.run(
            words, cwd=cwd, env=clean | environment, text=True, capture_output=True, check=True
        )
        assert said.stdout.strip() == stepcli.__version__


def test_a_clone_beside_does_not_shadow_the_installed_wheel(
    project: Path, installed: Path, tmp_path: Path
) -> None:
    """Python puts the current folder or the script's first on the path, the clone with it."""
    clone = tmp_path / "stepcli"
    clone.mkdir()
    for name in ("__init__.py", "cli.py", "pyproject.toml"):
        shutil.copy(project / name, clone)
    script = tmp_path / "script.py"
    script.write_text(PLACE)
    clean = {key: text for key, text in os.environ.items() if key != "PYTHONPATH"}

    def places(*words: str | Path, cwd: Path = tmp_path, **environment: str) -> set[Path]:
        said = subprocess.check_output(
            [installed, *words], text=True, cwd=cwd, env=clean | environment
        )
        return {Path(line).parent for line in said.splitlines()}

    (wheels,) = places("-P", "-c", PLACE)
    assert wheels.is_relative_to(installed.parents[1])
    assert places("-c", PLACE) == {wheels}
    assert places(script, cwd=project) == {wheels}
    assert places("-c", PLACE, cwd=clone) == {wheels}
    said = subprocess.run(
        [installed, "-m", "stepcli.cli", "--version"], cwd=tmp_path, env=clean, check=False
    )
    assert said.returncode == 0
    # Who names the clone's folder gets the clone; the rooms are left out of this one.
    version = [installed, "-c", "import stepcli; print(stepcli.__file__)"]
    chosen = subprocess.check_output(
        version, text=True, cwd=project, env=clean | {"PYTHONPATH": str(tmp_path)}
    )
    assert Path(chosen.strip()).parent == clone


def dry_run(project: Path, target: str, place: Path) -> str:
    """What `make TARGET` would do in this venv."""
    return subprocess.check_output(
        ["make", "--no-print-directory", "-n", target, f"VENV={place}"], text=True, cwd=project
    )


def test_the_demo_installs_only_what_it_needs(project: Path, tmp_path: Path) -> None:
    for target in ("demo", "test"):
        printed = dry_run(project, target, tmp_path / "new")
        assert ("dev]" in printed) == (target == "test")
        assert "-m venv" in printed


@pytest.mark.parametrize("first", ["demo", "test"])
def test_the_demo_and_the_tests_share_a_venv_in_either_order(
    project: Path, tmp_path: Path, first: str
) -> None:
    """The stamps that one target leaves are laid down here; then the other is asked for."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    (stamping,) = re.findall(r"^touch (.*)", dry_run(project, first, tmp_path), re.MULTILINE)
    for stamp in stamping.split():
        Path(stamp).touch()
    for target in ("demo", "test"):
        printed = dry_run(project, target, tmp_path)
        assert "-m venv" not in printed
        installs = "pip install" in printed
        assert installs == (first == "demo" and target == "test")
