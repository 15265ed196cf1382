"""The storage of docs/storages.md, as an installed package: contract, commands, messages."""

import importlib.util
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from command_line import call, invoke
from installed_package import Installer
from test_commands import FENCE, commands_of
from test_guides import run

from stepcli.cache import open_store
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.storage.places import place_of

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "storages.md").read_text()


def blocks(language: str) -> list[str]:
    return [code for found, code in FENCE.findall(TEXT) if found == language]


def storage_contract() -> Any:
    path = ROOT / "tests" / "cache" / "storage_contract.py"
    spec = importlib.util.spec_from_file_location("storage_contract", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sqlite(install: Installer, monkeypatch: pytest.MonkeyPatch) -> Installer:
    """The example as a package, as its pyproject.toml names it."""
    ((group, entries),) = tomllib.loads(blocks("toml")[0])["project"]["entry-points"].items()
    ((scheme, value),) = entries.items()
    install(value.partition(":")[0], blocks("python")[0], {f"{group}: {scheme}": value})
    monkeypatch.setattr("stepcli.cache.storage.objects._CLIENTS", {})
    return install


class TestSqlite(storage_contract().StorageContract):  # type: ignore[misc]
    @pytest.fixture
    def root(
        self, sqlite: Installer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> StoragePath:
        monkeypatch.chdir(tmp_path)
        return place_of("sqlite://tokens.db")


def test_the_commands_of_the_page(workplace: Path, sqlite: Installer) -> None:
    """A store is copied there, checked and trained from."""
    words = "--dataset openclose --backbone hf:models/tiny --frames 2 --tokens grid1 --device cpu"
    call("extract", *words.split(), "--store", "stores/mine")
    for line in commands_of(blocks("sh")[0]):
        run(line)
    assert open_store("sqlite://tokens.db").fingerprint == open_store("stores/mine").fingerprint
    assert Path("tokens.db").read_bytes().startswith(b"SQLite format 3")
    (record,) = Path("runs").glob("*/run.json")
    assert json.loads(record.read_text())["store"] == "sqlite://tokens.db"


def test_a_broken_package_and_an_unknown_scheme_are_one_line(install: Installer) -> None:
    install("broken_storage", "1 / 0\n", {"stepcli.storages: broken": "broken_storage:Client"})
    install("wrong_storage", "def make(url, address): return 7\n", {
        "stepcli.storages: wrong": "wrong_storage:make",
        "stepcli.storages: s3": "wrong_storage:make",
    })  # fmt: skip
    for url, said in (
        ("broken://x", r"broken of the package broken_storage 1\.0 .* cannot be loaded: ZeroDiv"),
        ("wrong://x", r"wrong_storage:make of the package wrong_storage 1\.0 returned int, expect"),
        ("s3://b/x", "the name 's3' in stepcli.storages is defined more than once: by stepcli its"),
        ("sftp://h/x", "unsupported URL scheme 'sftp', expected one of s3, .*, broken, s3, wrong;"),
    ):
        done = invoke("store", "info", "--store", url)
        assert done.exit_code == 2, done.stderr
        assert re.search(said, " ".join(done.stderr.split())), done.stderr
        assert "Traceback" not in done.stderr
