"""`openclose`: the demo's 384 clips of eight opposite pairs of robot actions (Meta-World, MIT)."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Dataset, DatasetInfo
from stepcli.extract.datasets.csv_file import read_clips
from stepcli.extract.datasets.required_files import Checklist
from stepcli.runtime.csv_tables import read_csv


def load(root: Path, options: Mapping[str, str]) -> Dataset:
    """Read openclose.csv (or the windowed table) and pairs.csv below the root."""
    table_name = INFO.option(options, "table", "openclose", "openclose", "openclose-windows")
    checklist = Checklist("openclose", root)
    table = checklist.file(f"{table_name}.csv", purpose="the clips")
    pairs_file = checklist.file("pairs.csv", purpose="the opposite pairs")
    checklist.folder("clips", purpose="the videos")
    checklist.require()
    clips, notes = read_clips(table)
    pairs = [(row["label"], row["partner"]) for row in read_csv(pairs_file, ("label", "partner"))]
    names = sorted({clip.label for clip in clips})
    return Dataset("openclose", clips, class_rows(names, partners=pairs), notes)


def bundled_root() -> Path:
    """Where the clips lie that ship with stepcli."""
    return Path(str(resources.files("stepcli.examples"))) / "openclose"


INFO = DatasetInfo(
    name="openclose",
    load=load,
    layout="""\
Nothing to lay out: the clips ship with stepcli (384 clips, 224x224 H.264, 40 frames per second).
With a --root of your own, in the same shape:
  <root>/openclose.csv, <root>/pairs.csv, <root>/clips/<class>/<number>.mp4""",
    source="bundled; examples/ holds the script that renders such clips anew",
    options={"table": "openclose (default), or openclose-windows: a random 40 % of each clip"},
    bundled_root=bundled_root,
)
