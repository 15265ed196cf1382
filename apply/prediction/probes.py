"""Trained probes that share one backbone: their runs read and checked, and what they answer.

A frame's tokens are computed as extraction does, rounded as the store would have kept them, so that
a video gets the answer that extracting and evaluating it would have given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from stepcli.apply.prediction.backbone_place import backbone_of_runs
from stepcli.cache.schema.padding import frame_mask
from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.schema.quantize import decode_clips, encode_clip
from stepcli.cache.schema.spec import explain_difference
from stepcli.extract.backbones.token_selection import parse_tokens
from stepcli.extract.decode.preprocess import PixelPlan
from stepcli.extract.decode.sampling import Sampling, parse_sampling
from stepcli.extract.pipeline.backbone_runner import BackboneRunner
from stepcli.extract.pipeline.prepare import make_spec
from stepcli.probe.analysis.calibration import sigmoid, softmax
from stepcli.probe.analysis.dense_scores import read_scores
from stepcli.probe.analysis.frame_scores import Smoothing
from stepcli.probe.analysis.load_run import layout_of_run, load_probe, spec_of_run
from stepcli.probe.analysis.temperature import KeptCalibration, kept_calibration
from stepcli.probe.config import TaskConfig
from stepcli.probe.data.features import deepest_last, frames_first
from stepcli.probe.data.order_maps import order_map
from stepcli.probe.data.tasks import shown_crops
from stepcli.probe.data.tokens import SampleFacts, TokenBatch
from stepcli.probe.nn.bank import Probe
from stepcli.probe.runs.record import FILE, RunRecord, read_run
from stepcli.runtime.devices import resolve_device
from stepcli.runtime.errors import SpecMismatch, UsageError

BATCH = 32
"""Frames of one pass of the backbone."""

Tokens = NDArray[np.float32]


@dataclass(frozen=True)
class ClipTokens:
    """What the store would hold of one clip."""

    tokens: torch.Tensor
    """[T, (L,) S, D] on the host."""
    real: torch.Tensor
    """[T], False where a step is padding."""
    seconds: torch.Tensor
    """[T] float32: when each step is shown, since the video's first frame."""


@dataclass(frozen=True)
class TrainedProbe:
    """One run, ready to answer."""

    name: str
    """Of its folder."""
    record: RunRecord
    probe: Probe
    task: TaskConfig
    layer: int | None
    """Place of the one layer that it reads where several are stored; None: all of them."""
    calibration: KeptCalibration | None
    """Fitted by `stepcli calibrate`; without it probabilities are as trained."""

    smoothing: Smoothing | None = None
    """Of --task dense, chosen by `stepcli dense`: how frames are labelled."""

    @property
    def classes(self) -> list[str]:
        """Names by index."""
        return self.record.classes

    def probabilities(self, clip: ClipTokens, device: torch.device) -> NDArray[np.float64]:
        """Of one clip: [C], mean over the crops that a test would show; where clips have any number
        of labels, of each class by itself.
        """
        if self.record.several_labels:
            several: NDArray[np.float64] = sigmoid(self.logits(clip, device)).mean(axis=0)
            return several
        temperature = 1.0 if self.calibration is None else self.calibration.temperature
        mean: NDArray[np.float64] = softmax(self.logits(clip, device), temperature).mean(axis=0)
        return mean

    def logits(self, clip: ClipTokens, device: torch.device) -> NDArray[np.float32]:
        """Of each crop that a test would show of a clip: [crops, C]."""
        several = clip.tokens.ndim == 4 and self.layer is not None
        tokens = clip.tokens[:, self.layer] if several else clip.tokens
        crops, length = shown_crops(self.task, len(tokens), int(clip.real.sum()))
        rows = torch.from_numpy(crops.frames(length))
        real = crops.mask(length)
        mask = None if real is None else torch.from_numpy(real).to(device)
        facts = SampleFacts(clip.seconds[rows]).to(device)
        with torch.no_grad():
            logits = self.probe(TokenBatch(tokens[rows].to(device), mask, facts=lambda: facts))[0]
        found: NDArray[np.float32] = logits.float().cpu().numpy()
        return found


class Applied:
    """Probes of one kind of tokens with the backbone that makes them."""

    def __init__(self, folders: Sequence[Path], device: str, backbone: str | None = None) -> None:
        """Load runs and the backbone that they were trained on.

        Args:
            folders: Of the runs.
            device: auto, cpu, cuda or cuda:1.
            backbone: Where it is now; None: by the name that the runs recorded.

        Raises:
            UsageError: a folder is no run with a probe, or it has no record of its tokens.
            SpecMismatch: the runs read different tokens, or the backbone is not theirs.
        """
        records = [_read(folder) for folder in folders]
        specs = [spec_of_run(record) for record in records]
        self.spec = specs[0]
        for folder, spec in zip(folders, specs, strict=True):
            if spec != self.spec:
                raise SpecMismatch(
                    f"{folder} reads other tokens than {folders[0]} "
                    f"({'; '.join(explain_difference(self.spec, spec))}); predict with them apart"
                )
        self.device = resolve_device(device)
        try:
            self.plan = PixelPlan.from_spec(self.spec.preprocessing)
        except TypeError as error:
            raise UsageError(
                f"{folders[0]} does not say how its videos were resized and cropped ({error}), so "
                "it cannot answer on new ones"
            ) from None
        self.sampling: Sampling = parse_sampling(self.spec.sampling)
        self._forward = self._load(backbone, records)
        self._token_layout = part_layout(self.spec)
        self.probes = [
            self._probe(folder, record) for folder, record in zip(folders, records, strict=True)
        ]

    def _load(self, name: str | None, records: Sequence[RunRecord]) -> BackboneRunner:
        spec = self.spec
        backbone = backbone_of_runs(name, spec, records)
        if self.plan.path == "fast":
            backbone.preprocess_fast()
        names = ",".join(segment.name for segment in spec.segments)
        whole = names.replace("prefix,patches", "full")
        selection = parse_tokens("full" if whole == "patches" else whole, backbone.facts)
        made = make_spec(
            backbone, selection, self.frames_shown, spec.sampling, spec.dtype, layers=spec.layers
        )
        # Views are what was cut of a clip beside its centre; a new video is shown as the centre.
        plain = spec.model_copy(update={"preprocessing": self.plan.to_spec()})
        differing = [
            line for line in explain_difference(plain, made) if not line.startswith("backbone:")
        ]
        if differing:
            raise SpecMismatch(
                f"backbone {backbone.facts.name} is not the one that the probes were trained on "
                f"({'; '.join(differing)}); give the right one with --backbone"
            )
        return BackboneRunner(
            backbone,
            selection,
            device=self.device,
            dtype=torch.float32,
            batch=BATCH,
            layers=spec.layers,
        )

    def _probe(self, folder: Path, record: RunRecord) -> TrainedProbe:
        task = record.settings.task
        if order_map(task.name) is not None:
            raise UsageError(
                f"{folder}: --task {task.name} shows frames in an order of its own, so its probes "
                "answer on no video; train with --task classify or arrow"
            )
        probe = load_probe(folder, record, layout_of_run(record, folder)).to(self.device)
        layer = None if task.layer is None else deepest_last(self.spec.layers).index(task.layer)
        calibration, dense = kept_calibration(folder), read_scores(folder)
        smoothing = None if dense is None else dense.smoothing
        return TrainedProbe(folder.name, record, probe, task, layer, calibration, smoothing)

    @property
    def by_frame(self) -> bool:
        """Whether a token depends on its own frame alone, so that windows can share frames."""
        return self.spec.token_scope == "frame"

    @property
    def frames_shown(self) -> int:
        """Frames of a clip that the backbone is shown: T, of tubelets twice as many."""
        return self.spec.frames * self.spec.frames_per_token

    def frame_tokens(self, pictures: NDArray[np.uint8]) -> Tokens:
        """Tokens of frames [n, height, width, 3], already resized and cropped: [n, (L,) S, D]."""
        return self._forward.frames(torch.from_numpy(np.ascontiguousarray(pictures)))

    def clip_tokens(self, pictures: NDArray[np.uint8]) -> Tokens:
        """Tokens of one clip of a video backbone, [T, (L,) S, D].

        Args:
            pictures: [frames shown, height, width, 3], already resized and cropped.
        """
        tokens: Tokens = self._forward.clips(torch.from_numpy(pictures)[None])[0]
        return tokens

    def clip(self, frames: Tokens, seconds: Sequence[float]) -> ClipTokens:
        """A clip as the store would give it back.

        Args:
            frames: Tokens of its T steps, [T, (L,) S, D].
            seconds: When each is shown; steps of one time show the same frames.
        """
        several = len(self.spec.layers) > 1
        clip = np.ascontiguousarray(frames.swapaxes(0, 1)) if several else frames
        arrays = encode_clip(clip, self._token_layout, "a new video")
        kept = decode_clips([array[None] for array in arrays], self._token_layout)
        real = frame_mask(self.spec.sampling, [len(set(seconds))], self.spec.frames)[0]
        return ClipTokens(
            frames_first(kept, self.spec.layers)[0],
            torch.from_numpy(real),
            torch.tensor(seconds, dtype=torch.float32),
        )


def _read(folder: Path) -> RunRecord:
    path = folder / FILE
    if not path.is_file():
        raise UsageError(f"{folder} is not a run's folder (no run.json); give runs/<name of a run>")
    return read_run(path)
