"""Numbers from papers, for hollow markers beside one's own."""

from dataclasses import dataclass
from pathlib import Path

from stepcli.runtime.csv_tables import read_csv
from stepcli.runtime.errors import UsageError

COLUMNS = ("method", "value", "params", "source")
OPTIONAL = ("split", "frames", "views", "backbone", "dataset")
PUBLISHED = "published.csv"
"""In a folder of runs: other people's numbers, shown with its tables."""


@dataclass(frozen=True, slots=True)
class Published:
    """One row of a published.csv."""

    method: str
    value: float
    """Top-1, per cent."""
    params: int
    """Trainable."""
    source: str
    details: str
    """Split, frames x views and backbone, as far as given."""
    dataset: str
    """"" for every data set of the report."""


def read_published(path: Path) -> list[Published]:
    """Published results from a CSV with the columns method, value (top-1 in per cent), params
    (trainable) and source, and as far as known split, frames, views, backbone and dataset.

    Raises:
        UsageError: a column is missing or a number is none.
    """
    found = []
    for line, row in enumerate(read_csv(path, COLUMNS), 2):
        try:
            value, params = float(row["value"]), int(row["params"])
        except ValueError:
            raise UsageError(
                f"{path}: line {line}: expected numbers, got value {row['value']!r} and params "
                f"{row['params']!r}"
            ) from None
        if not 0 <= value <= 100 or params < 0 or not row["source"]:
            raise UsageError(
                f"{path}: line {line}: value is per cent (0 to 100), params a count, and a source "
                f"is needed; got {row['value']}, {row['params']}, {row['source']!r}"
            )
        details = ", ".join(f"{name} {row[name]}" for name in OPTIONAL if row.get(name))
        found.append(
            Published(
                row["method"], value, params, row["source"], details, row.get("dataset") or ""
            )
        )
    return found


def read_imported(runs: Path) -> list[Published]:
    """The published numbers that were imported into a folder of runs."""
    path = runs / PUBLISHED
    if path.is_symlink():
        raise UsageError(f"{path} is a link, which is not followed; import the file itself")
    return read_published(path) if path.is_file() else []
