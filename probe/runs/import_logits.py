"""Other people's models: per-clip logits from a file become a run like any other."""

import csv
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stepcli.probe.runs.leakage import without_copies
from stepcli.probe.runs.metrics import summary
from stepcli.probe.runs.predictions import FILE, encode_predictions, read_predictions
from stepcli.probe.runs.published import PUBLISHED, read_published
from stepcli.probe.runs.record import FILE as RUN
from stepcli.probe.runs.record import RunRecord, read_run
from stepcli.probe.runs.record_parts import Imported
from stepcli.probe.runs.staging import write_folder
from stepcli.runtime.csv_tables import read_csv
from stepcli.runtime.errors import UnknownName, UsageError
from stepcli.runtime.files import disk_errors, replace_synced
from stepcli.runtime.words import listed


def import_logits(
    path: Path, runs: Path, like: str, *, name: str, seed: int, params: int
) -> RunRecord:
    """Write a run from a CSV of logits.

    Columns: clip, one column per class with its logit (or probability: only order and differences
    count), and on tests of crops or directions also start_frame and backward (0 or 1). Labels,
    groups and pairs come from the run `like`, which was tested on the same samples.

    Raises:
        UsageError: a column, sample or number is missing or one too many; or the name is no name of
            a folder, or of a method in a list.
        UnknownName: there is no run of that name.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            f"--name {name!r}: expected a name without blanks, commas and slashes that begins with "
            "a letter or a digit, e.g. videomae-lora"
        )
    known = [folder.name for folder in runs.glob("[!.]*/") if (folder / RUN).is_file()]
    if like not in known:
        raise UnknownName(f"run in {runs}", like, known)
    model = read_run(runs / like / RUN)
    samples = read_predictions(runs / like)
    given = _read(path, model.classes)
    # Cells of a CSV are stripped; an id of a clip may come from a folder's name with white space.
    keys = [(clip.strip(), start, backward) for clip, start, backward in samples.samples]
    wanted = set(keys)
    missing = [key for key in keys if key not in given]
    excess = [key for key in given if key not in wanted]
    if missing or excess:
        raise UsageError(
            f"{path}: expected the {len(keys)} samples of {like}, found {len(given)}"
            + _named("; missing", missing)
            + _named("; not tested by that run", excess)
        )
    logits = np.stack([given[key] for key in keys])
    place = {name: index for index, name in enumerate(model.classes)}
    pairs = [(place[a], place[b]) for a, b in model.pairs]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    identity = hashlib.sha256(f"{digest} {name} {seed} {like}".encode()).hexdigest()
    said = replace(samples, logits=logits)
    imported = Imported(file=path.name, sha256=digest, like=like)
    changed = {
        "run": f"{name}-{identity[:16]}",
        "method": name,
        "config": {"imported": imported.model_dump(), "seed": seed},
        "seed": seed,
        **summary(logits, samples.labels, pairs),
        "params": params,
        "seconds": 0.0,
        "warnings": [],
    }
    if model.leakage is not None:
        clean = without_copies(said, pairs)
        changed["leakage"] = model.leakage.model_copy(update={"without_copies": clean})
    kept = {name: getattr(model, name) for name in OF_SAMPLES if name in model.model_fields_set}
    record = RunRecord.model_validate({**kept, **changed})
    write_folder(runs, record, {FILE: encode_predictions(said)})
    return record


NAME = re.compile(r"[^\W_][^\s,/\\\x00-\x1f]*")
"""Of an imported model: a part of a folder's name, and an item of --method and --compare."""
OF_SAMPLES = (
    *("task", "split", "fingerprint", "tables", "dataset", "backbone", "store"),
    *("classes", "pairs", "test_samples"),
)
"""What an imported run has in common with the one that was tested on the same samples."""


def _named(what: str, keys: Sequence[tuple[str, int, bool]]) -> str:
    """ "; missing 12: clip a start_frame 0 backward 0, ..." or nothing."""
    if not keys:
        return ""
    each = (f"clip {clip} start_frame {start} backward {int(back)}" for clip, start, back in keys)
    return f"{what} {len(keys):,}: {listed(each)}"


BOOLEANS = {"false": "0", "true": "1"}
"""As Python and pandas write them."""


def is_published(path: Path) -> bool:
    """Whether a CSV holds published numbers: it names no clips, but sources.

    Raises:
        UsageError: there is no such file, or it is no text.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: expected a CSV file, got: {error}") from None
    return "clip" not in header and "source" in header


def import_published(path: Path, runs: Path) -> int:
    """Check published numbers and keep them beside the runs; returns how many there are.

    A later import takes the place of an earlier one.

    Raises:
        UsageError: a column is missing, or a number is none.
    """
    found = read_published(path)
    with disk_errors(runs):
        runs.mkdir(parents=True, exist_ok=True)
        replace_synced(runs / PUBLISHED, path.read_bytes())
    return len(found)


def _read(path: Path, classes: list[str]) -> dict[tuple[str, int, bool], NDArray[np.float32]]:
    rows = read_csv(path, ("clip", *classes))
    found: dict[tuple[str, int, bool], NDArray[np.float32]] = {}
    for line, row in enumerate(rows, 2):
        try:
            start = int(row.get("start_frame") or 0)
            given = (row.get("backward") or "0").lower()
            backward = bool(int(BOOLEANS.get(given, given)))
            logits = np.array([float(row[name]) for name in classes], np.float32)
        except ValueError as error:
            raise UsageError(f"{path}: line {line}: expected numbers, {error}") from None
        key = (row["clip"], start, backward)
        if key in found:
            raise UsageError(
                f"{path}: line {line}: clip {key[0]} start_frame {start} backward {int(backward)} "
                "appears twice; keep one of the two lines"
            )
        if not np.isfinite(logits).all():
            raise UsageError(
                f"{path}: line {line}: expected finite logits of clip {key[0]}, got nan or inf"
            )
        found[key] = logits
    return found
