"""Stores are listed and deleted; what is not a store is never deleted."""

import json
import shutil
from pathlib import Path

import pytest
from command_line import call
from sample_clips import SPEC

from stepcli.cache.store.store import create_store


@pytest.fixture
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "stores"
    for name in ("a", "b"):
        create_store(folder / name, SPEC, dataset=f"set-{name}")
    monkeypatch.setenv("STEPCLI_STORES", str(folder))
    return folder


def test_stores_are_listed_with_their_sizes(stores: Path) -> None:
    (stores / "notes").mkdir()
    shutil.copytree(stores / "a", stores / "broken")
    (stores / "broken" / "manifest.json").write_text("{")
    lines = call("store", "list").splitlines()
    assert [line.split()[0] for line in lines] == ["a", "b", "broken", "3"]
    assert "set-a" in lines[0]
    assert "cannot be opened" in lines[2]
    found = json.loads(call("store", "list", stores, "--json"))
    size = sum(path.stat().st_size for path in (stores / "a").rglob("*") if path.is_file())
    assert found[0]["bytes"] == size > 0
    assert "no folder" in call("store", "list", stores / "nowhere", code=2)


def test_a_store_is_deleted_by_name_or_path_once_confirmed(stores: Path) -> None:
    assert "nothing was deleted" in call("store", "rm", "a", "--dry-run")
    assert "confirm with --yes" in call("store", "rm", "a", code=2)
    assert (stores / "a" / "manifest.json").exists()
    assert "Deleted 1 store" in call("store", "rm", "a", "--yes")
    assert [path.name for path in stores.iterdir()] == ["b"]
    assert "Deleted 1 store" in call("store", "rm", stores / "b", "--yes")


def test_what_is_not_a_store_is_not_deleted(stores: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "manifest.json").write_text('{"name": "an app"}')
    (photos / "me.jpg").write_text("dear to me")
    (stores / "a" / "thesis.tex").write_text("years of work")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    link, inner = tmp_path / "link", stores / "b" / "text"
    link.symlink_to(stores / "b")
    for place in (photos, stores, tmp_path, tmp_path / "nothing", stores / "a", link):
        assert call("store", "rm", place, "--yes", code=4 if place == photos else 2)
    assert "holds more than a store: thesis.tex" in call("store", "rm", "a", "--yes", code=2)
    inner.symlink_to(outside)
    assert "holds more than a store: text" in call("store", "rm", "b", "--yes", code=2)
    inner.unlink()
    # With one that may not be deleted, none of those named is.
    assert call("store", "rm", "b", "a", "--yes", code=2)
    assert (stores / "b" / "manifest.json").exists()
    assert (outside / "kept").exists()
    assert (photos / "me.jpg").exists()


def test_a_store_that_is_written_is_not_deleted(stores: Path) -> None:
    from stepcli.cache.storage.writer_identity import STAGING, new_owner

    staging = stores / "a" / STAGING / new_owner().name
    staging.mkdir(parents=True)
    assert "is being written by" in call("store", "rm", "a", "--yes", code=2)
    assert staging.exists()
    staging.rmdir()
    assert "Deleted" in call("store", "rm", "a", "--yes")
