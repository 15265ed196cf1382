"""Folders of videos with their list, and what tests of sources do to them."""

import csv
import shutil
from pathlib import Path

import numpy as np

from stepcli.cache import open_store


def make_project(folder: Path, videos: list[Path], **columns: list[str]) -> Path:
    """A folder with copies of videos as 0.mp4, 1.mp4 ... and a CSV of them; returns the CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, video in enumerate(videos):
        shutil.copy(video, folder / f"{number}.mp4")
    names = [f"{number}.mp4" for number in range(len(videos))]
    return write_list(folder / "clips.csv", names, **columns)


def write_list(table: Path, names: list[str], **columns: list[str]) -> Path:
    with table.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["path", "label", "split", *columns])
        for number, name in enumerate(names):
            cells = [column[number] for column in columns.values()]
            writer.writerow([name, "ab"[number % 2], "train", *cells])
    return table


def tokens_of(store: Path) -> dict[str, np.ndarray]:
    found = open_store(store)
    return dict(zip(found.ids, found.read(found.ids), strict=True))


def write_labels(table: Path, clip: str, label: str) -> Path:
    table.write_text(f"id,label\n{clip},{label}\n")
    return table


def replace_video(path: Path, other: Path, *, same_size: bool) -> None:
    data = other.read_bytes()
    if same_size:  # a box that players skip
        size = path.stat().st_size
        both = max(size, len(data) + 8)
        path.write_bytes(path.read_bytes())
        missing = both - len(data)
        data += missing.to_bytes(4, "big") + b"free" + bytes(missing - 8)
    path.write_bytes(data)
