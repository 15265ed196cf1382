"""The bundled clips are all distinct: a copy of a training clip in the test split is a leak."""

import csv
import hashlib
from collections import defaultdict
from pathlib import Path

import pytest

from stepcli.cache import open_store

# Every folder of the package that ships clips: a table beside a folder of videos.
EXAMPLES = Path(__file__).parents[1] / "examples"
BUNDLED = sorted(t.parent for t in EXAMPLES.glob("*/*.csv") if t.stem == t.parent.name)


def copies(digests: dict[str, str]) -> list[list[str]]:
    """Names that share a digest, in groups of two and more."""
    sharing = defaultdict(list)
    for name, digest in digests.items():
        sharing[digest].append(name)
    return [names for names in sharing.values() if len(names) > 1]


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_bundled_sets_are_found() -> None:
    assert [folder.name for folder in BUNDLED] == ["openclose"]


@pytest.mark.parametrize("folder", BUNDLED, ids=lambda folder: folder.name)
def test_no_two_bundled_clips_have_equal_bytes(folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.suffix in {".mp4", ".webm"})
    listed = {folder / row["path"] for row in rows(folder / f"{folder.name}.csv")}
    assert set(files) == listed
    digests = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
    assert not copies(digests)


@pytest.mark.parametrize("folder", BUNDLED, ids=lambda folder: folder.name)
def test_a_bundled_clip_is_a_group_of_its_own_and_in_one_split(folder: Path) -> None:
    for table in folder.glob(f"{folder.name}*.csv"):
        listed = rows(table)
        assert {row["group"] for row in listed} == {row["id"] for row in listed}
        assert len({row["group"] for row in listed}) == len(listed)
        assert {row["split"] for row in listed} == {"train", "test"}


def test_no_two_bundled_clips_have_equal_tokens(openclose_store: Path) -> None:
    store = open_store(openclose_store)
    digests = {clip: hashlib.sha256(store.read([clip]).tobytes()).hexdigest() for clip in store.ids}
    assert len(digests) == 384
    assert not copies(digests)


def test_copies_are_found() -> None:
    assert copies({"a": "1", "b": "2", "c": "1"}) == [["a", "c"]]
