"""What one run is: a method and its options, a task, a recipe and a seed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from stepcli.runtime.canonical_json import canonical_json
from stepcli.runtime.csv_tables import LARGEST
from stepcli.runtime.errors import DamagedStore, UsageError
from stepcli.runtime.files import read_regular

CODE_SCHEMA = 2
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
    """Frames a probe sees; None: all that are stored. Without a crop or jitter they are evenly
    spread over those that are stored."""
    temporal_crop: bool = False
    """Train on a fresh contiguous crop each time, test on the first, middle and last."""
    jitter: bool = False
    """Train on a fresh random frame of each of clip_frames equal stretches, test on the middle."""
    observed: float = Field(default=1.0, gt=0, le=1)
    """Early recognition: a probe sees only this first share of the stored frames."""
    layer: int | None = None
    """Which of the stored layers a probe reads, by its number in the store's spec; None: the
    deepest, and every one for methods that read several."""
    views: int | None = Field(default=None, ge=1)
    """At most so many of the stored training views of a clip; None: all."""
    test_views: bool = True
    """Average the probabilities over a clip's stored test views; otherwise its first one counts."""
    pairs: tuple[tuple[str, str], ...] | None = None
    """Nearly symmetric pairs of labels, in place of the store's own."""
    frame_order: Literal["natural", "shuffled"] = "natural"
    """"shuffled": train on a fresh permutation of each sample's frames; tests keep their order."""
    directions: Literal["both", "forward", "backward"] = "both"
    """Of the arrow task: which directions are trained on; tests always show both."""
    train_split: str = "train"
    test_split: str = "test"
    split_file: str | None = None
    """CSV with the columns clip,split in place of the store's own splits: an official split."""
    split_digest: str | None = None
    """SHA-256 of that file, filled in when it is read."""
    slice_seed: int | None = Field(default=None, ge=0)
    """Where given, the probe never sees the test split: a slice of the training clips, drawn by
    group with this seed, is held out and reported on, to choose hyper-parameters by."""
    slice_share: float = Field(default=0.1, gt=0, lt=1)
    """Share of each class's training clips that the slice takes."""

    folds: int | None = Field(default=None, ge=2)
    """Where given, the groups of the training clips are dealt to so many folds by slice_seed, and
    one fold is held out instead of a slice."""
    fold: int | None = Field(default=None, ge=0)
    """Which one."""

    train_share: float = Field(default=1.0, gt=0, le=1)
    """Share of each class's training clips that is used."""
    shots: int | None = Field(default=None, ge=1)
    """At most so many training clips of each class; None: all."""
    protocol: Literal["all", "base-to-novel"] = "all"
    """"base-to-novel": train on the first half of the classes, test the other half too, by their
    texts alone; each half among itself (arXiv 2203.05557)."""
    draw_seed: int | None = Field(default=None, ge=0)
    """Which clips a share or shots take; smaller draws of one seed are parts of larger ones."""

    @property
    def thinned(self) -> bool:
        """Whether not all training clips are used."""
        return self.train_share < 1 or self.shots is not None

    @property
    def reported_split(self) -> str:
        """What the numbers of a run are about."""
        if self.slice_seed is None:
            return self.test_split
        return f"{self.train_split}-{'slice' if self.folds is None else 'fold'}"

    @property
    def of_pass(self) -> "TaskConfig":
        """The task whose batches all folds share: the same, without a fold."""
        return self if self.fold is None else self.model_copy(update={"fold": None})

    @model_serializer(mode="wrap")
    def _folds_only_where_given(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without folds a config is written, and so named, as before there were any."""
        content: dict[str, Any] = plain(self)
        if self.folds is None:
            del content["folds"], content["fold"]
        return content

    @model_validator(mode="after")
    def _a_fold_is_one_of_them(self) -> "TaskConfig":
        given = (self.folds is not None, self.fold is not None)
        if any(given) and (not all(given) or self.slice_seed is None):
            raise UsageError("folds, fold and slice_seed belong together: give all or none")
        if self.folds is not None and self.fold is not None and self.fold >= self.folds:
            raise UsageError(f"fold {self.fold} of {self.folds}: they are numbered from 0")
        return self

    @model_validator(mode="after")
    def _split_file_is_known_by_its_content(self) -> "TaskConfig":
        if self.split_file is not None and self.split_digest is None:
            try:
                # A run or sweep of a stranger may name a device, which never ends.
                data = read_regular(Path(self.split_file).resolve(), LARGEST)
            except (OSError, ValueError, DamagedStore) as error:
                raise UsageError(
                    f"--split-file {self.split_file}: expected a CSV file, got: {error}"
                ) from None
            digest = hashlib.sha256(data).hexdigest()
            object.__setattr__(self, "split_digest", digest)
        return self

    @model_validator(mode="after")
    def _frames_are_chosen_one_way(self) -> "TaskConfig":
        if self.temporal_crop and self.jitter:
            raise UsageError("--temporal-crop and --jitter are two ways to choose frames: give one")
        if (self.temporal_crop or self.jitter) and self.clip_frames is None:
            flag = "--temporal-crop" if self.temporal_crop else "--jitter"
            raise UsageError(
                f"{flag} needs a length, --clip-frames belongs to it: e.g. --clip-frames 8 {flag}"
            )
        return self


class SliceMinimum(_Frozen):
    """The least that clips held out of train must be, to choose by them or to fit a temperature."""

    clips: int = Field(default=30, ge=1)
    """With 30 clips one clip is 3.3 points of top-1."""
    classes: int | None = Field(default=None, ge=1)
    """None: half of the classes that are trained on."""
    groups: int = Field(default=5, ge=1)


class OptimConfig(_Frozen):
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
    dropout: Rate = 0.0
    """Share of the classifier's inputs that is zeroed."""
    attention_dropout: Rate = 0.0
    """Share of the attention weights of a one-query read-out that is zeroed."""
    class_balance: Rate = 0.0
    """beta of class-balanced weights (1 - beta) / (1 - beta^n) (arXiv 1901.05555); 0: all alike."""
    logit_adjust: float = Field(default=0.0, ge=0)
    """tau of logit adjustment: train on logits + tau log prior (arXiv 2007.07314)."""


class DataConfig(_Frozen):
    """What all probes of one pass over the data share."""

    epochs: int = Field(default=60, ge=1)
    steps: int | None = Field(default=None, ge=1)
    """In place of epochs: as many whole ones as come nearest to so many steps, so that small and
    large draws of the training clips are trained equally long."""
    batch_size: int = Field(default=64, ge=1)
    """Clips a step."""
    data_seed: int = Field(default=0, ge=0)
    """Order of the clips, crops, views and directions; mixup and token dropout too."""
    mixup: float = Field(default=0.0, ge=0)
    """alpha of mixup between the tokens of two clips (arXiv 1710.09412); 0: off."""
    token_dropout: Rate = 0.0
    """Share of the tokens that is zeroed, others at every step."""
    accumulate: int = Field(default=1, ge=1)
    """Parts that a batch is worked on in, one after another: less memory, the same gradient."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of the products with tokens; weights, softmax and optimiser stay float32."""

    @model_validator(mode="after")
    def _parts_are_equal(self) -> "DataConfig":
        if self.batch_size % self.accumulate:
            raise UsageError(
                f"--accumulate {self.accumulate} does not divide --batch-size {self.batch_size}; "
                "take a divisor, e.g. 2"
            )
        return self

    def epochs_of(self, samples: int) -> int:
        """Epochs to train where one has so many samples."""
        if self.steps is None:
            return self.epochs
        return max(1, round(self.steps / self.steps_of(samples)))

    def steps_of(self, samples: int) -> int:
        """Steps of an epoch of so many samples."""
        return -(-samples // self.batch_size)


def without_paths(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's config, as JSON has it, with files named by their digests alone.

    The class of an own probe stays, since one file may hold several.
    """
    found = dict(config)
    options, task = found.get("options"), found.get("task")  # of a run that may come from anybody
    if isinstance(options, Mapping) and options.get("sha256"):
        found["method"] = str(found.get("method")).rpartition(":")[2]
    if isinstance(task, Mapping) and task.get("split_digest"):
        found["task"] = {**task, "split_file": None}
    return found


class RunConfig(_Frozen):
    """Everything that determines a run's result, given the store's tokens."""

    method: str
    options: dict[str, Any]
    """Every option of the method, defaults written out."""
    task: TaskConfig = TaskConfig()
    recipe: OptimConfig = OptimConfig()
    shared: DataConfig = DataConfig()
    seed: int = Field(default=0, ge=0)
    """Initial values of the probe."""

    def run_id(self, fingerprint: str) -> str:
        """Name of the run: its method, and a hash of config, tokens and code schema.

        Files are part of it by their digests, not by their paths: a split file or an own probe that
        was moved gives the same run.

        Args:
            fingerprint: Of the tokens, and of the texts where the method reads some.
        """
        return self._run_id(without_paths(self.model_dump(mode="json")), fingerprint)

    def earlier_run_id(self, fingerprint: str) -> str:
        """The name that versions gave which hashed paths too; `run_id`'s where there is no path."""
        return self._run_id(self.model_dump(mode="json"), fingerprint)

    def _run_id(self, config: dict[str, Any], fingerprint: str) -> str:
        identity = {
            "config": config,
            "fingerprint": fingerprint,
            "code_schema": CODE_SCHEMA,
        }
        digest = hashlib.sha256(canonical_json(identity).encode()).hexdigest()
        readable = "".join(c if c.isalnum() or c == "-" else "-" for c in config["method"])
        return f"{readable}-{digest[:16]}"
