"""Numbers from papers, for tables of their own and hollow markers beside one's own.

Shipped with stepcli are probe/published/<data set>.csv. A number is comparable only with numbers of
its protocol: data set, split, training clips, measure, frames and views. So each protocol has its
own table, and none of them is in a column of one's own runs.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from stepcli.runtime.csv_tables import read_csv
from stepcli.runtime.errors import UsageError

COLUMNS = ("method", "value", "params", "source")
PUBLISHED = "published.csv"
"""In a folder of runs: other people's numbers, shown with its tables."""
PROTOCOL = ("dataset", "training", "split", "frames", "views")
"""Optional columns that say what a number is comparable with, beside `measure`."""
TOP1, EVERYTHING = "top-1", "all of train"
"""What `measure` and `training` are if not given."""
CERTAINTY = {
    "read": "read in the source",
    "noted": "noted from the source, not checked again when it was shipped",
}


@dataclass(frozen=True, slots=True)
class Published:
    """One row of a published.csv."""

    method: str
    value: float
    """Per cent, of `measure`."""
    params: int | None
    """Trainable; None where the source does not say."""
    source: str
    dataset: str
    """"" for every data set of the report."""
    measure: str
    protocol: str
    """Data set, training clips, split, frames and views, as far as given."""
    backbone: str
    certainty: str
    """"" if not given."""
    full_training: bool
    """Trained on all of train, or not said to be otherwise."""

    def is_beside(self, task: str) -> bool:
        """Whether it may be a marker in a figure of top-1 on a task: the clips as they are, and
        probes that were trained on all of train."""
        return self.measure == TOP1 and self.full_training and task == "classify"


def read_published(path: Path) -> list[Published]:
    """Published results from a CSV with the columns method, value (per cent), params (trainable;
    empty if unknown) and source, and as far as known dataset, training, split, measure, frames,
    views, backbone and certainty.

    Raises:
        UsageError: a column is missing or a number is none.
    """
    found = []
    for line, row in enumerate(read_csv(path, COLUMNS), 2):
        try:
            value, params = float(row["value"]), int(row["params"]) if row["params"] else None
        except ValueError:
            raise UsageError(
                f"{path}: line {line}: expected numbers, got value {row['value']!r} and params "
                f"{row['params']!r}"
            ) from None
        if not 0 <= value <= 100 or (params or 0) < 0 or not row["source"]:
            raise UsageError(
                f"{path}: line {line}: value is per cent (0 to 100), params a count, and a source "
                f"is needed; got {row['value']}, {row['params']}, {row['source']!r}"
            )
        training = row.get("training") or ""
        named = [(name, row.get(name) or "") for name in PROTOCOL]
        plain = ("dataset", "training")
        found.append(
            Published(
                row["method"],
                value,
                params,
                row["source"],
                row.get("dataset") or "",
                row.get("measure") or TOP1,
                ", ".join(v if name in plain else f"{name} {v}" for name, v in named if v),
                row.get("backbone") or "",
                row.get("certainty") or "",
                training in ("", EVERYTHING),
            )
        )
    return found


def read_imported(runs: Path) -> list[Published]:
    """The published numbers that were imported into a folder of runs."""
    path = runs / PUBLISHED
    if path.is_symlink():
        raise UsageError(f"{path} is a link, which is not followed; import the file itself")
    return read_published(path) if path.is_file() else []


def shipped_files() -> dict[str, Path]:
    """Data set -> its file of published numbers that comes with stepcli."""
    folder = Path(__file__).parents[1] / "published"
    return {path.stem: path for path in sorted(folder.glob("*.csv"))}


def shipped(datasets: Collection[str]) -> list[Published]:
    """The numbers that come with stepcli for some data sets, by their names."""
    files = shipped_files()
    return [
        each for name in sorted(set(datasets) & set(files)) for each in read_published(files[name])
    ]


def by_protocol(published: Sequence[Published]) -> dict[str, list[Published]]:
    """Numbers that may share a column, under what they have in common; the largest first."""
    tables: dict[str, list[Published]] = {}
    for each in published:
        tables.setdefault(f"{each.protocol or 'protocol not given'}: {each.measure}", []).append(
            each
        )
    return {
        protocol: sorted(rows, key=lambda each: -each.value) for protocol, rows in tables.items()
    }


def rows_of(published: Sequence[Published]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of numbers of one protocol."""
    header = ["published method", published[0].measure, "backbone", "params", "source", "certainty"]
    rows = [
        [
            each.method,
            f"{each.value:.1f}",
            each.backbone or "-",
            "-" if each.params is None else f"{each.params:,}",
            each.source,
            each.certainty or "-",
        ]
        for each in published
    ]
    return header, rows
