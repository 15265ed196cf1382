"""`stepcli predict`: ask trained probes about new videos."""

from collections import Counter
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stepcli.extract.cli.completion import complete_backbones
from stepcli.probe.cli.options import DeviceOption, runs_folder, tune_early
from stepcli.runtime.terminal import say, say_lines, warn

if TYPE_CHECKING:
    from stepcli.apply.prediction.inputs import InputVideo
    from stepcli.apply.prediction.predict import Prediction
    from stepcli.apply.prediction.probes import Applied

Form = Literal["text", "json", "csv"]


def predict(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN... [VIDEO...]",
            help="Trained probes: folders or names of runs; all share one backbone pass per video. "
            "Videos may follow.",
        ),
    ],
    video: Annotated[
        list[str] | None,
        typer.Option(help="Video, folder of videos, or pattern such as 'clips/*.mp4'; repeatable."),
    ] = None,
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
    device: DeviceOption = "auto",
) -> None:
    """Recognise new videos with trained probes: frames, pixels and backbone as in training.

    Refuses a backbone with other weights than the probes were trained on. Exit code 3: some
    videos could not be read; all others were answered.
    """
    from stepcli.runtime.errors import UsageError

    if window not in ("all", "auto"):
        _seconds("--window", window, ", auto or all")
    if stride is not None:
        _seconds("--stride", str(stride))
    if risk is not None and not 0 < risk < 1:
        raise UsageError(f"--risk {risk:g}: expected a share above 0 and below 1, e.g. 0.05")
    tune_early()
    from stepcli.apply.prediction.inputs import find_videos, split_words

    folders, words = split_words(runs, runs_folder(None))
    if not folders:
        raise UsageError(f"no run given; start with one: stepcli predict runs/<run> {words[0]}")
    places = [*words, *(video or [])]
    if places and stream:
        raise UsageError(f"--stream {stream} and videos ({places[0]}) are two inputs: give one")
    if not places and not stream:
        raise UsageError("nothing to look at: give --video FILE (repeatable), or --stream -")
    if stream and stream_format is None and not _may_be_opened(stream):
        raise UsageError(f"--stream {stream}: there is no such file or device")
    if stream and (out is not None or form == "csv"):
        raise UsageError("--stream prints JSON lines as it goes; --out and csv need --video")
    videos, notes = find_videos(places)
    for note in notes:
        warn(f"note: {note}")
    from stepcli.apply.prediction.probes import Applied
    from stepcli.apply.prediction.recordings import rule_of
    from stepcli.probe.runs.find import without_slices

    final, note = without_slices(folders)
    if note:
        warn(note)
    applied = Applied(final, device, backbone)
    seconds = _window_seconds(window, applied)
    if stride is not None and seconds is None and rule_of(applied, seconds, stride) is None:
        raise UsageError(
            f"--stride {stride:g}: only windows slide; give --window SECONDS, or leave it out"
        )
    if stream:
        _stream(applied, stream, stream_format, seconds, stride, top, risk)
        return
    if out is not None:
        _require_own_files(videos, applied, out)
    _answer(applied, videos, window=seconds, stride=stride, risk=risk, top=top, form=form, out=out)


def _may_be_opened(place: str) -> bool:
    """Whether something can be there: standard input, an address or a file."""
    return place == "-" or ":" in place or Path(place).exists()


def _answer(
    applied: "Applied",
    videos: "list[InputVideo]",
    *,
    window: float | None,
    stride: float | None,
    risk: float | None,
    top: int,
    form: Form,
    out: Path | None,
) -> None:
    """Answer video by video; one that cannot be read costs its own answer alone.

    Raises:
        typer.Exit: code 3, some videos could not be read.
    """
    from stepcli.apply.prediction.predict import as_json
    from stepcli.apply.prediction.predict import predict as ask
    from stepcli.apply.prediction.show import csv_lines, headings, text_lines, write_files
    from stepcli.runtime.errors import VideoError

    heads = headings(applied.probes)
    done: list[Prediction] = []
    answered = 0
    for each in videos:
        try:
            found = ask(applied, each.path, window=window, stride=stride, risk=risk)
        except VideoError as error:
            say(f"error: {error}", err=True, colour=typer.colors.RED)
            continue
        if out is not None:
            write_files(found, each.name, out, top)
        if form == "json":
            done += found
        elif form == "csv":
            say_lines(csv_lines(found, top, header=not answered))
        else:
            for line in ([""] if answered else []) + [str(each.path)]:
                say(line)
            for one in found:
                for line in text_lines(one, heads[one.probe.name], top):
                    say(line)
        answered += 1
    if form == "json":
        say_lines(as_json(done, top))
    if failed := len(videos) - answered:
        if len(videos) > 1:
            said = (
                f"{failed:,} of {len(videos):,} videos could not be read; all others are answered"
            )
            say(said, err=True)
        raise typer.Exit(3)


def _window_seconds(text: str, applied: "Applied") -> float | None:
    """What --window means: None for "all"."""
    from stepcli.cache.schema.windows import window_rule
    from stepcli.probe.analysis.clip_length import training_seconds

    rule = window_rule(applied.spec.sampling)
    if text == "all":
        return None
    if text == "auto" and rule is not None:
        return None
    if text == "auto":
        return training_seconds(applied.probes[0].record)
    return _seconds("--window", text)


def _seconds(flag: str, text: str, words: str = "") -> float:
    """Seconds that an option gives; `words` are what it takes besides.

    Raises:
        UsageError: it is no number above 0.
    """
    from stepcli.runtime.errors import UsageError

    with suppress(ValueError):
        if 0 < (seconds := float(text)) < inf:
            return seconds
    raise UsageError(f"{flag} {text}: expected seconds above 0{words}")


def _require_own_files(videos: "list[InputVideo]", applied: "Applied", out: Path) -> None:
    """See that every answer can be written and none in place of another, before the work.

    Raises:
        UsageError: two videos, or two runs, of one name.
        StoreError: the folder cannot be written to.
    """
    from stepcli.apply.prediction.show import file_name
    from stepcli.runtime.errors import UsageError
    from stepcli.runtime.files import require_writable

    names = Counter(
        file_name(video.name, probe.name) for video in videos for probe in applied.probes
    )
    twice = sorted(name for name, count in names.items() if count > 1)
    if twice:
        raise UsageError(
            f"--out {out}: {twice[0]} would be written twice, files are named after video and run; "
            "give videos, or runs, of one name in calls of their own, with an --out each"
        )
    require_writable(out)


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

    from stepcli.apply.prediction.predict import action_start, threshold_of
    from stepcli.apply.prediction.recordings import rule_of
    from stepcli.apply.prediction.stream import (
        clip_windows,
        open_stream,
        recording_windows,
        require_frames,
    )
    from stepcli.apply.prediction.timeline import answer
    from stepcli.runtime.errors import UsageError

    rule = rule_of(applied, seconds, stride)
    if rule is None and seconds is None:
        raise UsageError("--stream needs the length of its window: --window 2.5, or --window auto")
    require_frames(applied)
    thresholds = [threshold_of(probe, risk) for probe in applied.probes]
    with open_stream(place, form) as frames:
        if rule is not None:
            windows = recording_windows(frames, applied, rule)
        else:
            assert seconds is not None
            half = seconds / 2
            windows = clip_windows(frames, applied, seconds, half if stride is None else stride)
        for window in windows:
            for probe, threshold in zip(applied.probes, thresholds, strict=True):
                chances = probe.probabilities(window.clip, applied.device)
                said = answer(window.start, window.end, chances, probe.classes, threshold)
                line = {
                    "run": probe.name,
                    "start_seconds": round(said.start, 3),
                    "end_seconds": round(said.end, 3),
                    **action_start(probe, window.last_frame),
                    "said": said.said,
                    "top": [[name, round(p, 6)] for name, p in said.top(probe.classes, top)],
                }
                say(json.dumps(line))
