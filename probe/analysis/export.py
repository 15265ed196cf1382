"""A trained probe to take away: a folder with its card, and ONNX that any runtime reads."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from stepcli.cache.storage.local import LocalPath
from stepcli.cache.tables.texts import FACTS, read_text
from stepcli.probe.analysis.clip_length import training_seconds
from stepcli.probe.analysis.dense_scores import FILE as DENSE
from stepcli.probe.analysis.dense_scores import read_scores, write_scores
from stepcli.probe.analysis.load_run import (
    WEIGHTS,
    spec_of_run,
    texts_of_run,
)
from stepcli.probe.analysis.temperature import kept_calibration
from stepcli.probe.runs.metrics import METRICS
from stepcli.probe.runs.record import FILE as RUN
from stepcli.probe.runs.record import RunRecord, read_run, tells_top5
from stepcli.probe.runs.staging import staging_folder, sweep_staging
from stepcli.runtime.credentials import without_credentials
from stepcli.runtime.errors import DamagedStore, UsageError
from stepcli.runtime.files import (
    copy_beneath,
    disk_errors,
    fsync_folder,
    is_present,
    write_synced,
)
from stepcli.runtime.terminal import shown
from stepcli.runtime.words import counted

KEPT = (WEIGHTS, "calibration.json", "order.json", DENSE)
"""What of a run travels beside its record; predictions of the test clips stay, also those of test
recordings in dense.json."""
CARD = "README.md"
ONNX = "probe.onnx"


def export_folder(folder: Path, out: Path) -> Path:
    """Copy what makes a trained probe, with a card, to <out>/<name of the run>.

    Files of an earlier export are replaced one by one, each whole; those that the run no longer has
    are removed. Links in the run's folder are not followed.

    Raises:
        UsageError: the folder is no run with a probe, or holds a link.
    """
    record = read_run(require_probe(folder) / RUN)
    if record.store:
        # Runs of earlier versions wrote down what the URL was given with.
        record = record.model_copy(update={"store": without_credentials(record.store)})
    target = out / record.run
    if target.is_symlink():
        raise UsageError(f"{target} is a link; remove it, or give another --out")
    with disk_errors(target):
        sweep_staging(out)
        target.mkdir(parents=True, exist_ok=True)
    in_place = folder.resolve() == target.resolve()
    # Where the probe goes there is no store to measure the clips of.
    with suppress(UsageError):
        record = record.model_copy(update={"clip_seconds": training_seconds(record)})
    with disk_errors(target), staging_folder(out) as staging:
        names = [name for name in KEPT if is_present(folder / name)]
        for name in names:
            _copy(folder, name, staging / name)
        if not in_place and (dense := read_scores(staging)):
            write_scores(staging, replace(dense, recordings={}))
        for text in texts_of_run(record, folder):
            for name in (text.file, FACTS):  # what is named before the name of it
                names.append(f"text/{text.folder.name}/{name}")
                (staging / names[-1]).parent.mkdir(parents=True, exist_ok=True)
                source = text.folder.local
                assert source is not None  # `texts_of_run` gives no others
                _copy(source, name, staging / names[-1])
            if read_text(LocalPath(staging), text.folder.name).file != text.file:
                raise UsageError(f"{text.folder}: replaced meanwhile; export the run again")
        write_synced(staging / RUN, record.encode())
        write_synced(staging / CARD, card(folder, record).encode())
        for name in (*names, RUN, CARD):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).replace(target / name)
        for name in KEPT if not in_place else ():
            if name not in names:
                (target / name).unlink(missing_ok=True)
        fsync_folder(target)
    return target


def _copy(folder: Path, name: str, target: Path) -> None:
    try:
        copy_beneath(folder.resolve(), name, target)
    except DamagedStore as error:
        raise UsageError(f"{error}; links are not followed, copy the file itself there") from None


def require_probe(folder: Path) -> Path:
    """The folder, which holds a trained probe.

    Raises:
        UsageError: it does not.
    """
    for name in (RUN, WEIGHTS):
        if not (folder / name).is_file():
            raise UsageError(f"{folder} is not the folder of a trained probe: it has no {name}")
    return folder


def card(folder: Path, record: RunRecord, onnx: Sequence[str] = ()) -> str:
    """What somebody who is given the probe must know, from its own record alone.

    Args:
        folder: Of the run.
        record: Of the run.
        onnx: Lines about the ONNX file beside the card, if there is one.
    """
    kept = kept_calibration(folder)
    scores = {name: getattr(record, name) for name in METRICS}
    numbers = [
        f"| {name.replace('_', ' ')} | {100 * value:.1f} % |"
        for name, value in scores.items()
        if value is not None and (name != "top5" or tells_top5(record))
    ]
    if dense := read_scores(folder):
        of_recordings = {
            "frames of recordings": dense.frame_accuracy,
            "edit score": dense.edit,
            **{f"F1@{overlap}": value for overlap, value in dense.f1.items()},
            "mAP": dense.mean_map,
        }
        numbers += [f"| {name} | {100 * value:.1f} % |" for name, value in of_recordings.items()]
    classes = ", ".join(f"`{shown(name).replace('`', chr(39))}`" for name in record.classes)
    scaled = (
        "Probabilities are as trained; `stepcli calibrate` fits a temperature."
        if kept is None
        else f"Temperature {kept.temperature:.3f}, fitted on {kept.samples} held-out samples."
    )
    return "\n".join(
        [
            "---",
            "library_name: stepcli",
            "pipeline_tag: video-classification",
            "---",
            "",
            f"# {record.run}",
            "",
            f"A `{record.method}` probe ({record.params:,} trainable parameters) on frozen "
            f"features of `{record.backbone or 'unknown'}`, trained on {record.dataset} "
            f"(task {record.task}, seed {record.seed}).",
            "",
            f"| on split {record.split} ({counted(record.test_samples, 'sample')}) | |",
            "| --- | ---: |",
            *numbers,
            "",
            scaled,
            "",
            "## What it reads",
            "",
            _tokens_read(record),
            "",
            *_code_needed(record),
            "## Use",
            "",
            "```sh",
            f"stepcli predict {record.run} --video clip.mp4",
            "```",
            "",
            *onnx,
            "## Classes",
            "",
            classes,
            "",
            "The numbers hold for clips like those it was tested on. Nobody has looked at how it "
            "treats people or places that its data does not show.",
            "",
        ]
    )


def _code_needed(record: RunRecord) -> list[str]:
    """What a probe or backbone from outside stepcli needs beside the folder."""
    needed = []
    options, code = record.config.get("options"), record.spec.get("code_digest")
    if isinstance(options, dict) and options.get("sha256"):
        what = options.get("package") or "a file of code"
        needed.append((record.method, what, options["sha256"]))
    if code:
        needed.append((record.backbone, "code of the backbone", code))
    lines = [
        shown(f"- `{name}`: {what}, sha256 `{digest}`").replace("\n", " ")
        for name, what, digest in needed
    ]
    if not lines:
        return []
    head = (
        "## Code that it needs\n\nNot in this folder; stepcli executes only files that you trust:"
    )
    return [f"{head}\n", *lines, ""]


def _tokens_read(record: RunRecord) -> str:
    try:
        spec = spec_of_run(record)
    except UsageError as error:
        return f"Not known: {error}."
    tokens = ", ".join(segment.name for segment in spec.segments)
    return (
        f"{spec.frames} frames per clip, sampling `{spec.sampling}`, tokens {tokens} with "
        f"{spec.dim} channels; backbone weights sha256 `{spec.weights_digest}`."
    )
