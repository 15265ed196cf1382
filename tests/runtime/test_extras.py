"""An extra that is missing, and one that is there and does not load: each with its own advice."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from installed_package import Installer

from stepcli.runtime.errors import UsageError
from stepcli.runtime.extras import failed_import, load_extra

BROKEN = {
    "optuna": 'raise ValueError("numpy.dtype size changed, may indicate binary incompatibility")',
    "wandb": 'raise TypeError("Descriptors cannot be created directly.")',
    "ray": 'raise ImportError("libstdc++.so.6: version `GLIBCXX_3.4.32\' not found")',
    "obstore": 'raise OSError("libssl.so.3: cannot open shared object file")',
    "matplotlib": 'raise AttributeError("_ARRAY_API not found")',
    "onnx": 'raise RuntimeError("operator onnx::x does not exist")',
}
"""What packages say that were built for others than those installed."""
COMMANDS = {
    "optuna": "sweep --search optuna --method step --lr 1e-4..1e-2 --store STORE",
    "wandb": "probe --method linear --track wandb --store STORE",
    "ray": "sweep --engine ray --method linear --store STORE",
    "obstore": "store info s3://bucket/store",
    "matplotlib": "report runs",
    "onnx": "export --onnx run",
}
RUN_ALL = """
import json, sys
from typer.testing import CliRunner
from stepcli.cli import app
for words in json.loads(sys.argv[1]):
    done = CliRunner().invoke(app, words)
    print(json.dumps([done.exit_code, done.output, repr(done.exception)]))
"""


@pytest.mark.parametrize("package", BROKEN)
def test_what_does_not_load_is_told_from_what_is_missing(package: str, install: Installer) -> None:
    name = f"{package}_of_another_time"
    with pytest.raises(UsageError, match=rf"--x needs {name}: pip install 'stepcli\[some\]'"):
        load_extra(name, "some", "--x")
    install(name, BROKEN[package], {})
    said = BROKEN[package].split('"')[1]
    with pytest.raises(UsageError, match="the installed one does not load") as caught:
        load_extra(name, "some", "--x")
    assert said in str(caught.value)
    assert f"pip install --upgrade {name}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_command_says_which_package_does_not_load(
    install: Installer, tmp_path: Path, openclose_store: Path
) -> None:
    """With the exit code of a wrong option, before any work."""
    path = [str(install(name, code, {}).parent) for name, code in BROKEN.items()]
    train = "probe --method first-frame --epochs 1 --seeds 1 --store STORE --runs runs"
    commands = [train, *COMMANDS.values()]
    words = [command.replace("STORE", str(openclose_store)).split() for command in commands]
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, json.dumps(words)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    trained, *refused = done.stdout.splitlines()
    assert json.loads(trained)[0] == 0, trained
    for package, line in zip(COMMANDS, refused, strict=True):
        code, output, exception = json.loads(line)
        assert code == 2, (package, output, exception)
        assert f"needs {package}, and the installed one does not load" in output, package


def test_only_an_import_that_failed_is_one() -> None:
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int("x")
    assert failed_import(caught.value) is None


@pytest.mark.parametrize(
    ("importer", "said"),
    [
        ("stepcli.some.module", " is not installed; install stepcli again, with what it needs"),
        ("transformers.models", ", which transformers imports, is not installed; install it"),
    ],
)
def test_a_package_that_is_missing_is_named(importer: str, said: str) -> None:
    code = compile("def f():\n    import no_such_package.part", "some.py", "exec")
    module: dict[str, Any] = {"__name__": importer}
    exec(code, module)
    with pytest.raises(ModuleNotFoundError) as caught:
        module["f"]()
    assert failed_import(caught.value) == f"no_such_package{said}"


def test_a_broken_copy_leaves_the_package_itself(install: Installer) -> None:
    install("pytest", "raise OSError", {})
    install.forget()
    assert sys.modules["pytest"] is pytest
