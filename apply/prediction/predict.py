"""`stepcli predict`: trained probes on new videos."""

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NotRequired, TypedDict

from stepcli.apply.prediction.probes import Applied, TrainedProbe
from stepcli.apply.prediction.recordings import TASK, grid_windows, rule_of, step_answers
from stepcli.apply.prediction.timeline import Answer, answer, stretches
from stepcli.apply.prediction.windows import plan_windows, video_times, window_tokens
from stepcli.runtime.errors import UsageError, VideoError

NEVER = 2.0
"""A threshold that no probability reaches: where no answer is sure enough, all are withheld."""


class LabelJson(TypedDict):
    """A class and its probability."""

    label: str
    probability: float


class WindowJson(TypedDict):
    """The answer on one window."""

    start_seconds: float
    end_seconds: float
    action_start_seconds: NotRequired[float]
    """Of --task anticipate: when the predicted action would start, --horizon after the window's
    last frame."""
    said: str | None
    """None where the probe abstains."""
    top: list[LabelJson]


class StretchJson(TypedDict):
    """Windows that follow each other with one answer."""

    start_seconds: float
    end_seconds: float
    said: str | None
    probability: float


class PredictionJson(TypedDict):
    """What one probe says of one video, as `stepcli predict --format json` prints it."""

    video: str
    run: str
    method: str
    task: str
    seed: int
    store: str
    """Where the probe was trained; empty if not known."""
    temperature: float | None
    """None where the probe is not calibrated."""
    windows: list[WindowJson]
    timeline: list[StretchJson]


@dataclass(frozen=True)
class Prediction:
    """What one probe says of one video."""

    video: Path
    probe: TrainedProbe
    answers: tuple[Answer, ...]
    """One a window, in order."""

    def record(self, top: int) -> PredictionJson:
        """For a script."""
        classes = self.probe.classes
        kept = self.probe.calibration
        return {
            "video": str(self.video),
            "run": self.probe.name,
            "method": self.probe.record.method,
            "task": self.probe.record.task,
            "seed": self.probe.record.seed,
            "store": self.probe.record.store,
            "temperature": None if kept is None else kept.temperature,
            "windows": [
                {
                    "start_seconds": round(each.start, 3),
                    "end_seconds": round(each.end, 3),
                    **action_start(self.probe, each.last_frame),
                    "said": each.said,
                    "top": [
                        {"label": label, "probability": round(p, 6)}
                        for label, p in each.top(classes, top)
                    ],
                }
                for each in self.answers
            ],
            "timeline": [
                {
                    "start_seconds": round(each.start, 3),
                    "end_seconds": round(each.end, 3),
                    "said": each.said,
                    "probability": round(each.probability, 6),
                }
                for each in stretches(self.answers, classes)
            ],
        }


class ActionStart(TypedDict, total=False):
    """A field of a window's answer."""

    action_start_seconds: float


def action_start(probe: TrainedProbe, last_frame: float) -> ActionStart:
    """When the action that a probe foretells would start; {} of probes that foretell none.

    Args:
        probe: Who answers.
        last_frame: When the window's last frame was shown, seconds.
    """
    horizon = probe.task.horizon
    return {} if horizon is None else {"action_start_seconds": round(last_frame + horizon, 3)}


def predict(
    applied: Applied,
    video: Path,
    *,
    window: float | None = None,
    stride: float | None = None,
    risk: float | None = None,
) -> list[Prediction]:
    """Answers of every probe on one video; its frames pass the backbone once.

    Args:
        applied: The probes.
        video: A file.
        window: Length of windows, seconds; None: the whole video is one clip, or for probes of
            windows of recordings those windows.
        stride: From one window to the next, seconds; None: half a window.
        risk: Abstain so that at most this share of the answers was wrong on the slice on which
            the probe was calibrated.

    Raises:
        VideoError: the video cannot be read; says which.
        UsageError: abstention without a calibration, or a window that is not positive.
    """
    thresholds = [threshold_of(probe, risk) for probe in applied.probes]
    rule = rule_of(applied, window, stride)
    answers: list[list[Answer]] = [[] for _ in applied.probes]
    try:
        times = video_times(video)
        if rule is None:
            windows = plan_windows(times, applied, video.stem, window, stride)
        else:
            windows = grid_windows(times, rule, applied.spec.frames)
        with closing(window_tokens(video, windows, applied)) as found:
            for span, clip in found:
                for probe, threshold, mine in zip(applied.probes, thresholds, answers, strict=True):
                    chances = probe.probabilities(clip, applied.device)
                    said = answer(span.start, span.end, chances, probe.classes, threshold)
                    mine.append(replace(said, last_frame=span.seconds[-1]))
    except VideoError as error:
        raise VideoError(f"{video}: {error}") from error  # of several videos, which one
    for place, (probe, threshold) in enumerate(zip(applied.probes, thresholds, strict=True)):
        if rule is not None and probe.record.task == TASK:
            answers[place] = step_answers(
                answers[place], rule, applied.spec.frames, probe, threshold
            )
    return [
        Prediction(video, probe, tuple(mine))
        for probe, mine in zip(applied.probes, answers, strict=True)
    ]


def threshold_of(probe: TrainedProbe, risk: float | None) -> float:
    """The probability below which a probe says nothing, for a risk that is borne.

    Raises:
        UsageError: the probe is not calibrated, or not for this risk.
    """
    if risk is None:
        return 0.0
    if probe.calibration is None:
        raise UsageError(
            f"{probe.name} has no calibration, so there is no threshold to abstain by; run "
            "stepcli calibrate on its folder of runs first"
        )
    found = probe.calibration.threshold(risk)
    return NEVER if found is None else found


def as_json(predictions: Sequence[Prediction], top: int) -> str:
    """All predictions as one JSON list."""
    return json.dumps([each.record(top) for each in predictions], indent=1)
