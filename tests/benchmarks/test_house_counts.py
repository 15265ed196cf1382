"""The counts of benchmarks/house.py on a small project whose numbers are known."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILES = {
    "pyproject.toml": (
        '[tool.setuptools]\npackages = ["stepcli", "stepcli.cache", "stepcli.cache.storage",'
        ' "stepcli.cache.parts"]\npackage-dir = { stepcli = "." }\n'
    ),
    "cli.py": "import typer\n\nA = typer.Option(1)\n\n\ndef f(x=typer.Argument(2)):\n    pass\n",
    "cache/__init__.py": "from stepcli.cache.store import open_store\n",
    "cache/config.py": "",
    "cache/store.py": (
        "from typing import TYPE_CHECKING, Any\n\nif TYPE_CHECKING:\n"
        "    from stepcli.cache.parts.late import C\n\n\n"
        "def open_store(x) -> dict[str, Any]:\n"
        "    assert isinstance(x, ObjectPath) or isinstance(x, Path | ObjectPath)\n"
        "    return isinstance(x, str | Path)\n"
    ),
    "cache/storage/__init__.py": "",
    "cache/storage/objects.py": (
        "class ObjectPath:\n    def f(self, x):\n        return isinstance(x, ObjectPath)\n"
    ),
    "cache/parts/__init__.py": "",
    "cache/parts/one.py": "import stepcli.cache.parts.two\n",
    "cache/parts/two.py": "def f():\n    from stepcli.cache.parts import one\n",
    "cache/parts/late.py": "from stepcli.cache.store import open_store\n" + "\n" * 300,
    "tests/test_x.py": "A = 1\nB: dict[str, Any] = {}\n",
    "benchmarks/y.py": "B: dict[str, Any] = {}\n",
}


@pytest.fixture(scope="module")
def house_counts(project: Path) -> ModuleType:
    sys.path.insert(0, str(project / "benchmarks"))
    try:
        import house_counts
    finally:
        sys.path.pop(0)
    return house_counts


def test_each_number_is_that_of_a_project_made_for_it(
    house_counts: ModuleType, tmp_path: Path
) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "cache" / "untracked.py").write_text("A = 1\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", *FILES], cwd=tmp_path, check=True)

    counts = house_counts.count(tmp_path)

    assert counts.product_files == 10
    assert counts.test_lines == 2
    assert counts.any_dicts == 1
    assert counts.storage_checks == {"cache/store.py": 2, "cache/storage/objects.py": 1}
    assert counts.storage_checks_outside == 2
    assert counts.loose == {"cache": 1}
    assert counts.circles == []
    pair = ["cache/parts/one.py", "cache/parts/two.py"]
    assert counts.late_circles == [pair]
    assert counts.typing_circles == [["cache/parts/late.py", "cache/store.py"], pair]
    assert counts.long_files == {"cache/parts/late.py": 301}
    assert counts.options == 2
