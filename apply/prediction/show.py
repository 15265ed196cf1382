"""Predictions as text for a terminal, as CSV, and as files."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from stepcli.apply.prediction.predict import Prediction, as_json
from stepcli.apply.prediction.probes import TrainedProbe
from stepcli.apply.prediction.timeline import clock, picture, stretches, subtitles
from stepcli.probe.runs.cells import csv_text
from stepcli.probe.runs.labels import labels
from stepcli.runtime.files import disk_errors, replace_synced

CSV_HEADER = ["video", "run", "start_seconds", "end_seconds", "rank", "label", "probability"]


def headings(probes: Sequence[TrainedProbe]) -> dict[str, str]:
    """A line for each probe that a reader recognises it by, by name of the run.

    Method, task, seed and store; the name of the run only where these do not tell two apart.
    """
    names = labels([probe.record for probe in probes])
    heads = [_heading(probe, name) for probe, name in zip(probes, names, strict=True)]
    same = Counter(heads)
    return {
        probe.name: head if same[head] == 1 else f"{head}, run {probe.name}"
        for probe, head in zip(probes, heads, strict=True)
    }


def _heading(probe: TrainedProbe, name: str) -> str:
    record = probe.record
    store = Path(record.store).name or record.dataset
    where = f", store {store}" if store else ""
    return f"{name}, task {record.task}, seed {record.seed}{where}"


def text_lines(found: Prediction, heading: str, top: int) -> list[str]:
    """A prediction for a terminal: one clip's likeliest classes, or a timeline."""
    classes = found.probe.classes
    kept = found.probe.calibration
    how = "uncalibrated" if kept is None else f"calibrated, T = {kept.temperature:.2f}"
    lines = [f"  {heading} ({how})"]
    if len(found.answers) == 1:
        (only,) = found.answers
        lines += [
            f"    {100 * p:5.1f} %  {'#' * round(30 * p):<30}  {label}"
            for label, p in only.top(classes, top)
        ]
        return lines + ([f"    {only.said}"] if only.said not in classes else [])
    for each in stretches(found.answers, classes):
        share = f"{100 * each.probability:3.0f} %" if each.said in classes else "     "
        lines.append(f"    {clock(each.start)} - {clock(each.end)}  {share}  {each.said}")
    return lines


def csv_lines(done: Sequence[Prediction], top: int, *, header: bool) -> str:
    """One row for each window and class shown, with or without the header before them."""
    rows: list[Sequence[object]] = [CSV_HEADER] if header else []
    for found in done:
        for each in found.answers:
            for rank, (label, p) in enumerate(each.top(found.probe.classes, top), 1):
                place = (str(found.video), found.probe.name, f"{each.start:.3f}", f"{each.end:.3f}")
                rows.append((*place, rank, label, f"{p:.6f}"))
    return csv_text(rows)


def file_name(video: str, run: str) -> str:
    """Name of the files about one video and run, without an ending.

    Args:
        video: Its name below the folder that the user gave.
        run: Name of the run.
    """
    return str(Path(video).with_suffix("")) + f".{run}"


def write_files(done: Sequence[Prediction], video: str, out: Path, top: int) -> None:
    """Write JSON, subtitles and, for several windows, a picture of each probe's answers.

    Raises:
        StoreError: the folder cannot be written to.
    """
    with disk_errors(out):
        for found in done:
            classes = found.probe.classes
            place = out / file_name(video, found.probe.name)
            place.parent.mkdir(parents=True, exist_ok=True)
            contents = {
                "json": as_json([found], top).encode(),
                "srt": subtitles(stretches(found.answers, classes)).encode(),
            }
            if len(found.answers) > 1:
                contents["svg"] = picture(found.answers, classes, found.video.name)
            for ending, content in contents.items():
                replace_synced(place.with_name(f"{place.name}.{ending}"), content)
