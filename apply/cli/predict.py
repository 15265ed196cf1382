"""`stepcli predict`: ask trained probes about new videos."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stepcli.extract.cli.completion import complete_backbones
from stepcli.runtime.terminal import say, say_lines

if TYPE_CHECKING:
    from stepcli.apply.prediction.predict import Prediction
    from stepcli.apply.prediction.probes import Applied

Form = Literal["text", "json", "csv"]


def predict(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of trained probes, runs/<run>; one backbone pass.")
    ],
    video: Annotated[list[Path] | None, typer.Option(help="Video file; repeatable.")] = None,
    window: Annotated[
        str,
        typer.Option(help="Seconds of a sliding window; auto: as training clips; all: the video."),
    ] = "all",
    stride: Annotated[
        float | None, typer.Option(help="Seconds from window to window. Default: half a window.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes shown of each answer.")] = 5,
    risk: Annotated[
        float | None,
        typer.Option(
            help="Abstain above this share of wrong answers, e.g. 0.05 (stepcli calibrate)."
        ),
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="Of what is printed.")] = "text",
    out: Annotated[
        Path | None, typer.Option(help="Folder for JSON, subtitles (.srt) and picture (.svg).")
    ] = None,
    stream: Annotated[
        str | None, typer.Option(help="A camera or pipe instead: - or /dev/video0; JSON lines.")
    ] = None,
    stream_format: Annotated[
        str | None, typer.Option(help="FFmpeg's name of the stream's format, e.g. v4l2.")
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Where the backbone is now, e.g. /models/dinov2-base.",
            autocompletion=complete_backbones,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
) -> None:
    """Ask trained probes about new videos: the same frames, pixels and backbone as in training.

    Refuses a backbone with other weights than the probes were trained on.
    """
    from stepcli.apply.prediction.predict import as_json
    from stepcli.apply.prediction.predict import predict as ask
    from stepcli.apply.prediction.probes import Applied
    from stepcli.runtime.errors import UsageError

    if bool(video) == bool(stream):
        raise UsageError("nothing to look at: give --video FILE (repeatable), or --stream -")
    applied = Applied(runs, device, backbone)
    seconds = _window_seconds(window, applied)
    if stream:
        if out is not None or form == "csv":
            raise UsageError("--stream prints JSON lines as it goes; --out and csv need --video")
        _stream(applied, stream, stream_format, seconds, stride, top, risk)
        return
    if out is not None:
        _require_own_files(video or [], applied, out)
    done = []
    for path in video or []:
        done += ask(applied, path, window=seconds, stride=stride, risk=risk)
    if out is not None:
        _write(done, out, top)
    if form == "json":
        say_lines(as_json(done, top))
    elif form == "csv":
        _print_csv(done, top)
    else:
        for number, each in enumerate(done):
            for line in ([""] if number else []) + text_lines(each, top):
                say(line)


def _window_seconds(text: str, applied: "Applied") -> float | None:
    """What --window means: None for "all"."""
    from stepcli.probe.analysis.clip_length import training_seconds
    from stepcli.runtime.errors import UsageError

    if text == "all":
        return None
    if text == "auto":
        return training_seconds(applied.probes[0].record)
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--window {text}: expected seconds, auto or all") from None


def text_lines(found: "Prediction", top: int) -> list[str]:
    """A prediction for a terminal: one clip's likeliest classes, or a timeline."""
    from stepcli.apply.prediction.timeline import clock, stretches

    classes = found.probe.classes
    kept = found.probe.calibration
    how = "as trained" if kept is None else f"temperature {kept.temperature:.2f}"
    lines = [f"{found.video.name}: {found.probe.name} (probabilities {how})"]
    if len(found.answers) == 1:
        (only,) = found.answers
        lines += [
            f"  {100 * p:5.1f} %  {'#' * round(30 * p):<30}  {label}"
            for label, p in only.top(classes, top)
        ]
        return lines + ([f"  {only.said}"] if only.said not in classes else [])
    for each in stretches(found.answers, classes):
        share = f"{100 * each.probability:3.0f} %" if each.said in classes else "     "
        lines.append(f"  {clock(each.start)} - {clock(each.end)}  {share}  {each.said}")
    return lines


def _print_csv(done: "list[Prediction]", top: int) -> None:
    import csv
    import io

    from stepcli.probe.runs.cells import csv_cell

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["video", "run", "start_seconds", "end_seconds", "rank", "label", "probability"]
    )
    for found in done:
        for each in found.answers:
            for rank, (label, p) in enumerate(each.top(found.probe.classes, top), 1):
                place = (str(found.video), found.probe.name, f"{each.start:.3f}", f"{each.end:.3f}")
                writer.writerow([csv_cell(cell) for cell in (*place, rank, label, f"{p:.6f}")])
    say_lines(out.getvalue().rstrip("\n"))


def _require_own_files(videos: list[Path], applied: "Applied", out: Path) -> None:
    """See that every answer can be written and none in place of another, before the work.

    Raises:
        UsageError: two videos, or two runs, of one name.
        StoreError: the folder cannot be written to.
    """
    from stepcli.runtime.errors import UsageError
    from stepcli.runtime.files import require_writable

    names = [_file_name(video, probe.name) for video in videos for probe in applied.probes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            f"--out {out}: {twice[0]} would be written twice, files are named after video and run; "
            "give videos, or runs, of one name in calls of their own, with an --out each"
        )
    require_writable(out)


def _file_name(video: Path, run: str) -> str:
    return f"{video.stem}.{run}"


def _write(done: "list[Prediction]", out: Path, top: int) -> None:
    """Write one set of files per video and probe."""
    from stepcli.apply.prediction.predict import as_json
    from stepcli.apply.prediction.timeline import picture, stretches, subtitles
    from stepcli.runtime.files import disk_errors, replace_synced

    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        for found in done:
            classes = found.probe.classes
            name = _file_name(found.video, found.probe.name)
            contents = {
                "json": as_json([found], top).encode(),
                "srt": subtitles(stretches(found.answers, classes)).encode(),
            }
            if len(found.answers) > 1:
                contents["svg"] = picture(found.answers, classes, found.video.name)
            for ending, content in contents.items():
                replace_synced(out / f"{name}.{ending}", content)


def _stream(
    applied: "Applied",
    place: str,
    form: str | None,
    seconds: float | None,
    stride: float | None,
    top: int,
    risk: float | None,
) -> None:
    """A JSON line a stride and probe, until the stream ends."""
    import json

    from stepcli.apply.prediction.predict import threshold_of
    from stepcli.apply.prediction.stream import RollingWindow, live_frames, open_stream
    from stepcli.apply.prediction.timeline import answer
    from stepcli.runtime.errors import UsageError

    if seconds is None:
        raise UsageError("--stream needs the length of its window: --window 2.5, or --window auto")
    window = RollingWindow(applied, seconds)
    thresholds = [threshold_of(probe, risk) for probe in applied.probes]
    following = 0.0
    with open_stream(place, form) as frames:
        for frame in live_frames(frames, window):
            full = window.push(frame.picture, frame.seconds)
            if not full or frame.seconds < following:
                continue
            following = frame.seconds + (seconds / 2 if stride is None else stride)
            clip = window.clip()
            for probe, threshold in zip(applied.probes, thresholds, strict=True):
                chances = probe.probabilities(clip, applied.device)
                said = answer(*window.span, chances, probe.classes, threshold)
                line = {
                    "run": probe.name,
                    "start_seconds": round(said.start, 3),
                    "end_seconds": round(said.end, 3),
                    "said": said.said,
                    "top": [[name, round(p, 6)] for name, p in said.top(probe.classes, top)],
                }
                say(json.dumps(line))
