"""Tiny roots of data sets, written as their official releases are, and what is read of them."""

from pathlib import Path

from stepcli.cache.schema.clips import ClassRow
from stepcli.extract.datasets.clip import Dataset
from stepcli.extract.datasets.registry import load_dataset


def load(name: str, root: Path, **options: str) -> Dataset:
    return load_dataset(name, root, options)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def splits(dataset: Dataset) -> dict[str, str]:
    return {clip.id: clip.split for clip in dataset.clips}


def partners(rows: tuple[ClassRow, ...]) -> dict[str, str]:
    return {row.name: row.partner for row in rows if row.partner}
