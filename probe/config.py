"""What one run is: a method and its options, a task, a recipe and a seed."""

import hashlib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stepcli.cache.errors import UsageError
from stepcli.cache.spec import canonical_json

CODE_SCHEMA = 1
"""Raised whenever the same config would train another probe, so old runs are not taken for it."""

TaskName = Literal["classify", "arrow"]
Rate = Annotated[float, Field(ge=0, lt=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TaskConfig(_Frozen):
    """What is asked of a probe."""

    name: TaskName = "classify"
    """"arrow": each clip forward and backward; the backward clip takes the partner's label."""
    clip_frames: int | None = Field(default=None, ge=1)
    """Frames a probe sees; None: all that are stored."""
    temporal_crop: bool = False
    """Train on a fresh contiguous crop each time, test on the first, middle and last."""
    pairs: tuple[tuple[str, str], ...] | None = None
    """Nearly symmetric pairs of labels, in place of the store's own."""
    train_split: str = "train"
    test_split: str = "test"
    slice_seed: int | None = Field(default=None, ge=0)
    """Where given, the probe never sees the test split: a slice of the training clips, drawn by
    group with this seed, is held out and reported on, to choose hyper-parameters by."""
    slice_share: float = Field(default=0.1, gt=0, lt=1)
    """Share of each class's training clips that the slice takes."""

    train_share: float = Field(default=1.0, gt=0, le=1)
    """Share of each class's training clips that is used."""
    shots: int | None = Field(default=None, ge=1)
    """At most so many training clips of each class; None: all."""
    draw_seed: int | None = Field(default=None, ge=0)
    """Which clips a share or shots take; smaller draws of one seed are parts of larger ones."""

    @property
    def thinned(self) -> bool:
        """Whether not all training clips are used."""
        return self.train_share < 1 or self.shots is not None

    @property
    def reported_split(self) -> str:
        """What the numbers of a run are about."""
        return self.test_split if self.slice_seed is None else f"{self.train_split}-slice"

    @model_validator(mode="after")
    def _crop_has_a_length(self) -> "TaskConfig":
        if self.temporal_crop != (self.clip_frames is not None):
            raise UsageError(
                "--temporal-crop and --clip-frames belong together: give both, e.g. "
                "--clip-frames 8 --temporal-crop, or neither to use every stored frame"
            )
        return self


class Recipe(_Frozen):
    """How a probe is trained. All but the shared settings are a member's own in a bank."""

    lr: float = Field(default=5e-4, gt=0)
    """Peak learning rate of AdamW."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Decoupled; on matrices only."""
    beta1: Rate = 0.9
    beta2: Rate = 0.999
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of all steps in which the rate rises linearly; then it falls along a cosine to zero."""
    label_smoothing: Rate = 0.1
    clip_norm: float = Field(default=0.0, ge=0)
    """Longest gradient of one probe; 0: never cut."""


class Pass(_Frozen):
    """What all probes of one pass over the data share."""

    epochs: int = Field(default=60, ge=1)
    batch_size: int = Field(default=64, ge=1)
    """Clips a step."""
    data_seed: int = Field(default=0, ge=0)
    """Order of the clips, crops and directions."""


class RunConfig(_Frozen):
    """Everything that determines a run's result, given the store's tokens."""

    method: str
    options: dict[str, Any]
    """Every option of the method, defaults written out."""
    task: TaskConfig = TaskConfig()
    recipe: Recipe = Recipe()
    shared: Pass = Pass()
    seed: int = Field(default=0, ge=0)
    """Initial values of the probe."""

    def run_id(self, fingerprint: str) -> str:
        """Name of the run: its method, and a hash of config, tokens and code schema."""
        identity = {
            "config": self.model_dump(mode="json"),
            "fingerprint": fingerprint,
            "code_schema": CODE_SCHEMA,
        }
        digest = hashlib.sha256(canonical_json(identity).encode()).hexdigest()
        readable = "".join(c if c.isalnum() or c == "-" else "-" for c in self.method)
        return f"{readable}-{digest[:16]}"
